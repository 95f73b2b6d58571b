"""The price of stale news: the row of a learner with fresh news, and what is said of it."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

import jaxdlb
from jaxdlb.evaluation import (
    Evaluation,
    Fresh,
    PolicyResult,
    compare,
    conclusion,
    from_json,
    seeds,
    to_csv,
    to_json,
    to_markdown,
    to_text,
)
from jaxdlb.evaluation.report import write_report
from jaxdlb.evaluation.results import BoundResult, Staleness
from jaxdlb.evaluation.roles import ROLES, role_of
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.sentences import limits, price_of_staleness
from jaxdlb.evaluation.statistics import Estimate, crossed, paired_difference
from jaxdlb.game import Verdict

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=9)
SIZES = {"num_episodes": 5, "num_rounds": 80, "warmup": 20}
KEY = jax.random.key(0)
COLUMNS = {"utility": ("utility", ""), "response_time": ("response time, rounds", "")}
STALE, NEW = (GAME.default_params(heartbeat_period=period) for period in (30, 1))


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A stand-in for a learned policy: acts as a rule does."""

    name: str
    teacher: object
    kind: str = "learned"

    def init(self, game):
        return self.teacher.init(game)

    def act(self, key, carry, observation, params):
        return self.teacher.act(key, carry, observation, params)


def stale(key):
    return STALE


def fresh(key):
    return NEW


RULES = [jaxdlb.heuristic("local"), jaxdlb.heuristic("random")]
BELIEVES, BLIND = jaxdlb.heuristic("shortest_expected_delay"), jaxdlb.heuristic("local")  # news, and to it
LEARNED = [Trained("mine(seed=0)", BELIEVES), Trained("mine(seed=1)", BLIND)]
NEWS = [Trained("news(seed=0)", BELIEVES), Trained("news(seed=1)", BLIND)]
SEEDS = {"mine": [each.name for each in LEARNED]}


@pytest.fixture(scope="module")
def compared():
    """A learner of two training seeds, and the same with fresh news."""
    news = Fresh(of="mine", policies=NEWS, sample_params=fresh, row="news")
    return compare(GAME, [*RULES, *LEARNED], stale, KEY, **SIZES, seeds=SEEDS, fresh=news)


@pytest.fixture(scope="module")
def without():
    """The same without the row."""
    return compare(GAME, [*RULES, *LEARNED], stale, KEY, **SIZES, seeds=SEEDS)


def rows(result):
    return {each.name: each for each in result.results}


def test_the_row_is_what_the_policies_do_where_news_is_fresh_and_the_price_the_paired_difference(compared):
    ours = evaluate_all(GAME, [*RULES, *LEARNED], stale, KEY, **SIZES)[-2:]
    theirs = evaluate_all(GAME, NEWS, fresh, KEY, **SIZES)
    assert compared.staleness.of == "mine" and compared.staleness.fresh == "news"
    assert list(compared.staleness.differences) == ["utility", "response_time"]
    for column, difference in compared.staleness.differences.items():
        tables = [np.stack([each[column] for each in side]) for side in (ours, theirs)]
        assert rows(compared)["news"].columns[column] == crossed(tables[1])
        assert difference == crossed(tables[0] - tables[1])
        alone = seeds.difference(ours[:1], theirs[:1], column)
        assert alone == paired_difference(ours[0][column], theirs[0][column])
    assert seeds.difference(ours[:1], theirs[:1], "utility").high < 0  # who believes old news herds


def test_who_is_blind_to_the_news_meets_the_same_episodes_and_loses_nothing(compared):
    for name, values in compared.samples["mine(seed=1)"].items():
        np.testing.assert_array_equal(values, compared.samples["news(seed=1)"][name])


def test_nobody_is_judged_by_the_row(compared, without):
    assert {name: each.kind for name, each in rows(compared).items() if name.startswith("news")} == {
        "news": "fresh",
        "news(seed=0)": "fresh",
        "news(seed=1)": "fresh",
    }
    others = [each for each in compared.results if each.kind != "fresh"]
    assert tuple(others) == without.results
    assert conclusion(compared) == conclusion(without)
    assert (compared.best_heuristic, compared.learned) == (without.best_heuristic, without.learned)
    assert role_of(rows(compared)["news"], compared) is ROLES["fresh"]
    bound = BoundResult(of="a limit", binds="", is_least=False, value=Estimate(1.0, 1.0, 1.0))
    told = [limits(dataclasses.replace(each, bounds={"utility": bound})) for each in (compared, without)]
    assert told[0] == told[1] and "; the nearest, mine(seed=0), has " in told[0]


def test_the_price_stands_below_the_table_in_markdown_and_in_the_report(compared, without, tmp_path):
    told = price_of_staleness(compared)
    assert told in " ".join(to_text(compared).split())
    assert ROLES["fresh"].meaning in to_text(compared) and "‡ news" in to_text(compared)
    assert told in to_markdown(compared)
    write_report(tmp_path / "report.html", title="t", evaluation=compared, figures={}, config_text="")
    assert told in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert price_of_staleness(without) == "" and "fresh news" not in to_text(without)


def test_json_keeps_the_price_and_csv_the_samples(compared, without):
    data = json.loads(json.dumps(to_json(compared), allow_nan=False))
    assert from_json(data) == compared
    assert {"news(seed=0)", "news(seed=1)"} <= {line.partition(",")[0] for line in to_csv(compared).splitlines()}
    old = {key: value for key, value in to_json(without).items() if key != "staleness"}
    assert from_json(old) == without


def about(mean, half):
    return Estimate(mean, mean - half, mean + half)


def priced(ours, theirs, half=0.1, others=None):
    """What is told of a learner with this utility, and that utility with fresh news; `others` are response times."""
    columns = {"utility": (ours, theirs), **({} if others is None else {"response_time": others})}
    results = [
        PolicyResult(name, kind, {column: about(values[place], half) for column, values in columns.items()}, {})
        for place, (name, kind) in enumerate((("mine", "learned"), ("news", "fresh")))
    ]
    differences = {column: about(values[0] - values[1], half) for column, values in columns.items()}
    told = Evaluation(tuple(results), None, COLUMNS, 2, 2, 0, {}, staleness=Staleness("mine", "news", differences))
    return price_of_staleness(dataclasses.replace(told, verdicts={"response_time": Verdict("faster", "slower")}))


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence"),
    [
        (-3.0, -2.0, "Stale news costs mine 1.00 ± 0.10 a round (50% further from 0): utility -3.00 ± 0.10 against"),
        (1.0, 2.0, "Stale news costs mine 1.00 ± 0.10 a round: utility 1.00 ± 0.10 against 2.00 ± 0.10 of news in"),
        (-2.0, -2.05, "What stale news costs mine, -0.05 ± 0.10 a round, cannot be told apart from nothing: utility"),
        (-2.0, -3.0, "mine ends above the same learner with fresh news, so that no price shows: utility -2.00"),
    ],
)
def test_what_is_said_of_the_price(ours, theirs, sentence):
    assert priced(ours, theirs).startswith(sentence)


def test_what_else_is_judged_is_told_with_the_price():
    told = "; response time 6.00 ± 0.10 against 5.00 ± 0.10 rounds, 20% slower, paired difference +1.00 ± 0.10."
    assert priced(-3.0, -2.0, others=(6.0, 5.0)).endswith(told)
    assert priced(-3.0, -2.0, others=(5.0, 5.0)).endswith("not to be told apart, paired difference +0.00 ± 0.10.")
    assert "response time" not in priced(-3.0, -2.0, others=(math.nan, 5.0))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"of": "yours"}, "fresh.of is 'yours'; it must be the name of a row: local, random, mine"),
        ({"policies": NEWS[:1], "row": None}, "fresh.policies holds 1; it must hold 2, as many as mine has training"),
        ({"row": None}, "fresh.policies holds 2; it must hold 2, as many as mine has training seeds, and several must"),
        ({"policies": LEARNED}, "policies holds 'mine\\(seed=0\\)' twice"),
    ],
)
def test_what_is_no_rival_of_a_row_is_refused(given, sentence):
    news = dataclasses.replace(Fresh(of="mine", policies=NEWS, sample_params=fresh, row="news"), **given)
    with pytest.raises(ValueError, match=sentence):
        compare(GAME, [*RULES, *LEARNED], stale, KEY, **SIZES, seeds=SEEDS, fresh=news)
