"""The comparison and its table: who is best, what it says, and that JSON keeps all of it."""

import csv
import dataclasses
import io
import json
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.evaluation import tables
from jaxdlb.evaluation.bounds import NOBODY, bounds
from jaxdlb.evaluation.comparison import compare
from jaxdlb.evaluation.results import BoundResult, Evaluation, PolicyResult, from_json, to_csv, to_json, to_table_csv
from jaxdlb.evaluation.roles import ROLES, present, role_of
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.sentences import limits
from jaxdlb.evaluation.statistics import Estimate, estimate, paired_difference
from jaxdlb.evaluation.tables import conclusion, to_markdown, to_text
from jaxdlb.game import Verdict
from jaxdlb.policies.policy import KINDS

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=9)
PARAMS = GAME.default_params()
COLUMNS = {name: (column.header, column.meaning) for name, column in GAME.columns.items()}
SIZES = {"num_episodes": 5, "num_rounds": 80, "warmup": 20}
POLICIES = [heuristic(name) for name in ("local", "power_of_d_stealing", "oracle_shortest_expected_delay", "threshold")]


def one_cluster(key):
    return PARAMS


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A stand-in for a learned policy: acts as a heuristic does."""

    teacher: object
    name: str = "mappo"
    kind: str = "learned"

    def init(self, game):
        return self.teacher.init(game)

    def act(self, key, carry, observation, params):
        return self.teacher.act(key, carry, observation, params)


EVERYONE = [*POLICIES, Trained(heuristic("work_stealing"))]


@pytest.fixture(scope="module")
def compared():
    return compare(GAME, EVERYONE, one_cluster, jax.random.key(0), **SIZES, settings={"note": "x"})


def about(mean, half=0.1):
    return Estimate(mean, mean - half, mean + half)


def result(name, utility, kind="heuristic", difference=0.0, half=0.1):
    return PolicyResult(name, kind, {"utility": about(utility)}, {"utility": about(difference, half)})


def evaluation(*results, best="rule"):
    return Evaluation(results, best, COLUMNS, num_episodes=64, num_rounds=2000, warmup=200, settings={})


def timed(name, utility, response_time, kind="heuristic", half=0.1):
    """A policy of `against_rule`; `half` is of the intervals of its differences."""
    columns = {"utility": about(utility), "response_time": about(response_time)}
    differences = {"utility": about(utility - RULE[0], half), "response_time": about(response_time - RULE[1], half)}
    return PolicyResult(name, kind, columns, differences)


RULE = -12.0, 6.0


def against_rule(*results):
    """An evaluation in which the best heuristic, `rule`, has the utility and the response time of `RULE`."""
    verdicts = {"response_time": GAME.columns["response_time"].verdict}
    return dataclasses.replace(evaluation(*results, timed("rule", *RULE, half=0.0)), verdicts=verdicts)


# Comparison


def test_the_comparison_holds_the_estimates_of_the_samples(compared):
    samples = evaluate_all(GAME, EVERYONE, one_cluster, jax.random.key(0), **SIZES)
    by_name = {policy.name: each for policy, each in zip(EVERYONE, samples, strict=True)}
    assert {each.name for each in compared.results} == set(by_name)
    for each in compared.results:
        assert set(each.columns) == set(COLUMNS)
        for column, value in each.columns.items():
            assert value == estimate(by_name[each.name][column])
        assert list(each.differences) == ["utility", "response_time"]
        for column, value in each.differences.items():
            best = by_name[compared.best_heuristic][column]
            assert value == paired_difference(by_name[each.name][column], best)
    assert compared.verdicts == {"response_time": Verdict("faster", "slower")}


def test_the_best_heuristic_is_neither_an_oracle_nor_learned(compared):
    kinds = {each.name: each.kind for each in compared.results}
    assert kinds == {
        "local": "heuristic",
        "power_of_d_stealing(d=2)": "heuristic",
        "threshold(margin=4)": "heuristic",
        "oracle_shortest_expected_delay": "oracle",
        "mappo": "learned",
    }
    utilities = {each.name: each.columns["utility"].mean for each in compared.results if each.kind == "heuristic"}
    assert compared.best_heuristic == max(utilities, key=utilities.get)
    assert set(compared.best.differences.values()) == {Estimate(0.0, 0.0, 0.0)}
    assert compared.settings == {"game": "dlb", **dataclasses.asdict(GAME), "note": "x"}


def test_results_stand_in_the_order_of_their_utility(compared):
    utilities = [each.columns["utility"].mean for each in compared.results]
    assert utilities == sorted(utilities, reverse=True)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ([POLICIES[2]], "policies holds no heuristic; there must be one"),
        ([POLICIES[0], POLICIES[0]], "policies holds 'local' twice; every policy must have a name of its own"),
        ([], "policies holds no heuristic"),
    ],
)
def test_comparisons_without_a_meaning_are_refused(policies, message):
    with pytest.raises(ValueError, match=message):
        compare(GAME, policies, one_cluster, jax.random.key(0), **SIZES)


# Bounds


def test_a_comparison_holds_the_bounds_that_say_something(compared):
    """Where holding costs nothing, the tasks present bound the response time and not the utility."""
    pooled = GAME.columns["response_time"].bound
    (samples,) = evaluate_all(pooled.game, [NOBODY], one_cluster, jax.random.key(0), **SIZES)
    bound = BoundResult(pooled.of, pooled.binds, is_least=True, value=estimate(samples["response_time"]))
    assert compared.bounds == {"response_time": bound}
    costly = GAME.default_params(holding_weight=2.0)
    found = bounds(GAME, lambda key: costly, jax.random.key(0), **SIZES)
    assert list(found) == ["utility", "response_time"]
    present = np.mean(samples["present"])
    assert found["utility"].value.mean == pytest.approx(-2.0 * present / GAME.num_nodes, rel=1e-5)


def bounded(name="response_time", is_least=True, value=4.0, binds="that drops no task"):
    bound = BoundResult("one queue", binds, is_least=is_least, value=about(value))
    return dataclasses.replace(against_rule(timed("mappo", -3.0, 5.0, "learned")), bounds={name: bound})


def test_a_bound_is_told_with_what_comes_nearest_to_it():
    assert limits(bounded()) == (
        "Response time: no policy that drops no task has a mean below 4.00 ± 0.10 rounds, that of one queue; "
        "the nearest, mappo, has 1.25 times as much."
    )
    assert limits(bounded("utility", is_least=False, value=-2.0, binds="")) == (
        "Utility: no policy has a mean above -2.00 ± 0.10, that of one queue; "
        "the nearest, mappo, has 1.50 times as much."
    )
    assert limits(bounded("utility", is_least=False, value=0.5)).endswith("the nearest, mappo, has -3.")
    assert limits(bounded("queue_length")).endswith("that of one queue.")


def test_a_bound_stands_below_the_table_and_before_the_conclusion():
    for text in (to_text(bounded()), to_markdown(bounded())):
        told = " ".join(text.split())
        assert told.index("the same episodes.") < told.index(limits(bounded())) < told.index(conclusion(bounded()))
    assert limits(against_rule()) == ""


# What to know besides


def lossy(mappo, rule=0.0):
    """An evaluation in which losses ought to be 0, and of which no class of tasks but the first has a number."""
    nan = Estimate(math.nan, math.nan, math.nan)
    rows = timed("mappo", -3.0, 5.0, "learned"), timed("rule", *RULE)
    lost = {"mappo": about(mappo), "rule": about(rule)}
    further = {row.name: {"lost": lost[row.name], "first": about(1.0), "second": nan, "third": nan} for row in rows}
    found = against_rule()
    return dataclasses.replace(
        found,
        results=tuple(dataclasses.replace(row, columns={**row.columns, **further[row.name]}) for row in rows),
        columns={
            **{name: COLUMNS[name] for name in ("utility", "response_time")},
            "lost": ("tasks lost, a round", "for want of room"),
            **{name: (f"of the {name} class", "…") for name in ("first", "second", "third")},
        },
        warnings={"lost": "Tasks were lost"},
    )


LEFT_OUT = "Left out, since some episodes leave nothing to divide by: “of the second class”, “of the third class”."


@pytest.mark.parametrize("write", [to_text, to_markdown])
def test_a_table_leaves_out_what_warns_and_what_has_no_number_and_says_so_below(write):
    warning = "Tasks were lost: tasks lost up to 0.25 a round, with mappo."
    for lost, expected in ((0.25, [LEFT_OUT, warning]), (0.0, [LEFT_OUT])):
        table, _, below = " ".join(write(lossy(lost)).split()).partition("All policies play the same episodes. ")
        assert below.startswith(" ".join([*expected, "mappo beats the best heuristic"]))
        assert "first" in table and not any(word in table for word in ("lost", "second", "third"))
        assert table.count(" – ") == 1  # how far the best heuristic is above itself


def test_what_warns_names_who_has_most_of_it_and_the_utility_is_always_shown():
    assert "tasks lost up to 0.5 a round, with rule." in to_text(lossy(0.25, rule=0.5))
    nobody = evaluation(result("rule", math.nan, half=math.nan))
    assert nobody.shown == ["utility"] and nobody.left_out == []


def test_json_and_csv_keep_what_the_table_leaves_out():
    data = json.loads(json.dumps(to_json(lossy(0.25))))
    assert data["warnings"] == {"lost": "Tasks were lost"}
    assert (
        data["results"][0]["columns"]["lost"]["mean"] == 0.25 and data["results"][0]["columns"]["third"]["low"] is None
    )
    assert to_text(from_json(data)) == to_text(lossy(0.25))
    del data["warnings"]  # as evaluations that were written before there were any
    assert from_json(data).shown == ["utility", "response_time", "lost", "first"]
    assert to_table_csv(lossy(0.25)).splitlines()[0].endswith("third,third_low,third_high")


# Conclusion


def test_a_learned_policy_that_wins_in_all_is_said_to_win_with_the_numbers():
    assert conclusion(against_rule(timed("mappo", -3.0, 4.0, "learned"))) == (
        "mappo beats the best heuristic, rule: utility -3.00 ± 0.10 against -12.00 ± 0.10, 4.0 times closer to 0, "
        "paired difference +9.00 ± 0.10; response time 4.00 ± 0.10 against 6.00 ± 0.10 rounds, 33% faster, "
        "paired difference -2.00 ± 0.10."
    )


def test_a_policy_that_loses_is_said_to_be_beaten():
    lost = evaluation(result("rule", -5.0), result("mappo", -20.0, "learned", difference=-15.0))
    assert conclusion(lost) == (
        "mappo is beaten by the best heuristic, rule: utility -20.00 ± 0.10 against -5.00 ± 0.10, 4.0 times further "
        "from 0, paired difference -15.00 ± 0.10."
    )


@pytest.mark.parametrize(
    ("utility", "response_time", "told"),
    [
        (-3.0, 7.08, "mappo is better in utility than the best heuristic, rule, but is 18% slower: utility -3.00"),
        (-20.0, 5.4, "mappo is worse in utility than the best heuristic, rule, but is 10% faster: utility"),
        (-12.05, 6.3, "mappo cannot be told apart in utility from the best heuristic, rule, but is 5% slower: utility"),
    ],
)
def test_utility_and_response_time_that_disagree_are_said_to(utility, response_time, told):
    assert conclusion(against_rule(timed("mappo", utility, response_time, "learned"))).startswith(told)


@pytest.mark.parametrize(
    ("utility", "standing"), [(-3.0, "beats"), (-20.0, "is beaten by"), (-12.05, "cannot be told apart from")]
)
def test_a_difference_whose_interval_holds_0_decides_nothing(utility, standing):
    """Neither of the response time nor of the utility."""
    told = conclusion(against_rule(timed("mappo", utility, 6.05, "learned")))
    assert told.startswith(f"mappo {standing} the best heuristic, rule: utility")
    assert "response time 6.05 ± 0.10 against 6.00 ± 0.10 rounds, not to be told apart, paired" in told
    assert ("closer" in told, "further" in told) == (utility == -3.0, utility == -20.0)
    assert "faster" not in told and "slower" not in told


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (6.3, 6.0, "5% slower"),
        (5.95, 6.0, "0.83% faster"),
        (5.999, 6.0, "less than 0.1% faster"),
        (90.0, 6.0, "1,400% slower"),
        (0.0, 6.0, "faster"),
        (3.0, 0.0, "slower"),
    ],
)
def test_percents_are_by_the_ratio_of_the_means_where_there_is_one(ours, theirs, words):
    different = about(ours - theirs, half=0.0)
    mappo, rule = (
        PolicyResult(name, kind, {"utility": about(-1.0), "response_time": about(time)}, differences)
        for name, kind, time, differences in (
            ("mappo", "learned", ours, {"utility": about(0.0), "response_time": different}),
            ("rule", "heuristic", theirs, {}),
        )
    )
    both = dataclasses.replace(evaluation(mappo, rule), verdicts={"response_time": Verdict("faster", "slower")})
    assert f", but is {words}: utility" in conclusion(both)


def test_a_column_may_be_the_better_the_higher_and_speaks_in_the_games_own_words():
    more = {"response_time": Verdict("more thorough", "less thorough", lower_is_better=False)}
    won = dataclasses.replace(against_rule(timed("mappo", -3.0, 9.0, "learned")), verdicts=more)
    assert conclusion(won).startswith("mappo beats") and ", 50% more thorough, " in conclusion(won)


def test_a_column_without_a_number_is_left_out():
    nothing = Estimate(math.nan, math.nan, math.nan)
    mappo = timed("mappo", -3.0, 4.0, "learned")
    silent = dataclasses.replace(mappo, differences=mappo.differences | {"response_time": nothing})
    assert "response time" not in conclusion(against_rule(silent))


def test_without_a_learned_policy_the_best_heuristic_is_named_with_its_numbers():
    assert conclusion(evaluation(result("rule", -5.0))) == "The best heuristic is rule: utility -5.00 ± 0.10."
    assert conclusion(against_rule()) == (
        "The best heuristic is rule: utility -12.00 ± 0.10, response time 6.00 ± 0.10 rounds."
    )


def test_every_learned_policy_has_a_sentence():
    told = conclusion(against_rule(timed("a", -1.0, 4.0, "learned"), timed("b", -19.0, 8.0, "learned")))
    assert "a beats the best heuristic" in told and "b is beaten by the best heuristic, rule" in told


@pytest.mark.parametrize("others", [(), ("mappo",)])
def test_the_fastest_heuristic_is_told_of_where_the_best_one_is_another(others):
    rows = [timed("quick", -13.0, 5.0), timed("quickest", -14.0, 4.5), timed("slow", -15.0, 9.0)]
    told = conclusion(against_rule(*rows, *(timed(name, -3.0, 4.0, "learned") for name in others)))
    assert "quickest is worse in utility than the best heuristic, rule, but is 25% faster: utility -14.00" in told
    assert "quick is" not in told and "slow" not in told


# Text and Markdown


def test_the_text_has_a_row_for_each_policy_with_its_mark_the_best_first(compared):
    lines = to_text(compared).splitlines()
    rules = [k for k, line in enumerate(lines) if set(line) == {"─"}]
    rows = lines[rules[1] + 1 : rules[2]]
    assert [row[2:].split("  ")[0] for row in rows] == [each.name for each in compared.results]
    marks = {row[2:].split("  ")[0]: row[0] for row in rows}
    assert marks["mappo"] == "»" and marks["oracle_shortest_expected_delay"] == "†"
    assert marks[compared.best_heuristic] == "*"
    assert sum(mark == " " for mark in marks.values()) == 2
    head = " ".join(" ".join(lines[rules[0] + 1 : rules[1]]).split())
    assert all(word in head for header, _ in COLUMNS.values() for word in header.split())
    assert "» learned   * the best heuristic   † an oracle: sees the true state" in lines
    assert compared.columns == COLUMNS
    assert "5 episodes of 80 rounds, the first 20 left out" in to_text(compared)
    assert " ".join(lines).endswith(conclusion(compared))


def test_every_kind_of_policy_has_a_role_and_the_best_heuristic_one_of_its_own():
    assert set(ROLES) == {*KINDS, "best", "part"}
    everyone = evaluation(*(result(kind, -float(place), kind) for place, kind in enumerate(KINDS)), best="heuristic")
    roles = {each.kind: role_of(each, everyone) for each in everyone.results}
    assert roles == {kind: ROLES["best" if kind == "heuristic" else kind] for kind in KINDS}
    assert present(everyone) == [role for name, role in ROLES.items() if name not in ("heuristic", "part")]
    assert len({role.mark for role in ROLES.values()}) == len(ROLES)
    assert all(len(role.mark) == 1 for role in ROLES.values())
    assert any(line.startswith("= optimal ") for line in to_text(everyone).splitlines())


def test_cells_show_half_of_the_interval_with_the_digits_it_is_good_for():
    row = evaluation(
        PolicyResult(
            name="rule",
            kind="heuristic",
            columns={
                "utility": Estimate(-13.6412, -13.6412 - 0.158, -13.6412 + 0.158),
                "imbalance": about(1234.56, 34.2),
                "queue_length": about(2.0, 0.0),
                "drops": about(0.0, 0.0),
                "response_time": Estimate(math.nan, math.nan, math.nan),
                "migrations_per_arrival": about(0.70071, 0.00083),
                "steal_requests_per_completion": about(0.25, 1e-9),
            },
            differences={"utility": about(0.0, 0.0)},
        ),
        timed("of whom response times are known", -20.0, 9.0),
    )
    (line,) = [line for line in to_text(row).splitlines() if line.startswith("* rule")]
    assert line.split() == [
        "*",
        "rule",
        "-13.64",
        "±0.16",
        "1235",
        "±34",
        "–",
        "2.00",
        "0.7007",
        "±0.0008",
        "0.2500",
        "±0.0001",
        "0",
        "–",
    ]


def test_the_markdown_table_has_the_same_cells(compared):
    table = [line for line in to_markdown(compared).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {len(row) for row in cells} == {len(COLUMNS) + 2}
    assert cells[0][1:-1] == [header for header, _ in COLUMNS.values()]
    assert [row[0].split("`")[1] for row in cells[2:]] == [each.name for each in compared.results]
    assert any(row[0].endswith("(the best heuristic)") for row in cells[2:])
    assert to_markdown(compared).endswith(conclusion(compared) + "\n")


estimates = st.builds(about, st.floats(-1e7, 1e7), st.sampled_from([0.0, 1e-5, 0.004, 0.3, 17.0, 1e5]))
names = st.text("abcdefghij_(=, 1)", min_size=1, max_size=60).filter(lambda name: name.strip() == name)


@given(st.lists(st.tuples(names, st.lists(estimates, min_size=8, max_size=8)), min_size=1, max_size=6))
def test_no_line_of_the_text_is_longer_than_the_terminal(rows):
    results = [
        PolicyResult(name, "heuristic", dict(zip(COLUMNS, values, strict=False)), {"utility": values[-1]})
        for name, values in rows
    ]
    best = max(results, key=lambda each: each.columns["utility"].mean).name
    lines = to_text(evaluation(*results, best=best)).splitlines()
    assert max(map(len, lines)) <= tables.MAX_WIDTH
    assert len({len(line) for line in lines if set(line) == {"─"}}) == 1


# JSON and CSV


def test_every_estimate_can_be_made_from_the_samples_in_csv(compared):
    rows = list(csv.DictReader(io.StringIO(to_csv(compared))))
    assert list(rows[0]) == ["policy", "episode", *COLUMNS]
    assert [row["policy"] for row in rows[:: SIZES["num_episodes"]]] == [each.name for each in compared.results]
    for each in compared.results:
        own = [row for row in rows if row["policy"] == each.name]
        assert [row["episode"] for row in own] == ["0", "1", "2", "3", "4"]
        for column, value in each.columns.items():
            assert estimate([float(row[column]) for row in own]) == value


def test_a_sample_that_there_is_not_is_empty_in_csv_and_what_was_read_from_json_has_none(compared):
    samples = {"local": {name: np.array([1.5, math.nan]) for name in COLUMNS}}
    lines = to_csv(dataclasses.replace(compared, samples=samples)).splitlines()
    assert lines[1:] == ["local,0" + ",1.5" * len(COLUMNS), "local,1" + "," * len(COLUMNS)]
    assert to_csv(from_json(to_json(compared))).splitlines() == [f"policy,episode,{','.join(COLUMNS)}"]


def test_json_keeps_everything(compared):
    empty = Estimate(math.nan, math.nan, math.nan)
    first = dataclasses.replace(compared.results[0], columns={**compared.results[0].columns, "response_time": empty})
    changed = dataclasses.replace(compared, results=(first, *compared.results[1:]))
    text = json.dumps(to_json(changed), allow_nan=False)
    restored = from_json(json.loads(text))
    assert np.isnan(restored.results[0].columns["response_time"].mean)
    assert restored.results[1:] == compared.results[1:]
    assert from_json(json.loads(json.dumps(to_json(compared)))) == compared
    assert to_text(restored) == to_text(changed)


@pytest.mark.parametrize("data", [{}, {"results": 3}, {"results": [{"name": "x"}]}, {"results": [], "colour": 1}])
def test_json_of_something_else_is_refused(data):
    with pytest.raises(ValueError, match="evaluation is not what to_json writes"):
        from_json(data)
