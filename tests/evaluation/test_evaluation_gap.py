"""The share of the gap between a baseline and the optimum: its value, its interval, and where it is shown."""

import csv
import dataclasses
import io
import json
import math

import jax
import numpy as np
import pytest

import jaxdlb
from jaxdlb import evaluation, heuristic
from jaxdlb.evaluation import comparison
from jaxdlb.evaluation.gap import closed
from jaxdlb.evaluation.report import write_report
from jaxdlb.games import GAMES
from jaxdlb.policies import make_heuristic

GAME = jaxdlb.make("dlb", num_nodes=3)
RANDOM = np.random.default_rng(0)
LOCAL = RANDOM.normal(0.7, 0.05, 12)
BEST = LOCAL + RANDOM.uniform(0.15, 0.25, 12)
SEEDS = np.stack([LOCAL + share * (BEST - LOCAL) + RANDOM.normal(0, 0.01, 12) for share in (0.8, 0.9, 0.95)])


def test_who_gains_the_same_share_in_every_episode_closes_that_share_for_certain():
    for share in (-0.5, 0.0, 0.7, 1.0):
        found = closed((LOCAL + share * (BEST - LOCAL))[None], LOCAL, BEST)
        assert (found.mean, found.low, found.high) == pytest.approx((100 * share,) * 3, abs=1e-9)


def plain_bootstrap(seeds, draws=4000):
    """The same interval once more, resample by resample, from other random numbers."""
    random, shares = np.random.default_rng(1), []
    for _ in range(draws):
        episodes = random.integers(12, size=12)
        drawn = [seeds[k][episodes].mean() for k in random.integers(len(seeds), size=len(seeds))]
        low, high = LOCAL[episodes].mean(), BEST[episodes].mean()
        shares.append(100 * (np.mean(drawn) - low) / (high - low))
    return np.quantile(shares, [0.025, 0.975])


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_intervals_are_those_of_a_plain_bootstrap(num_seeds):
    """Ends of 2,000 and of 4,000 resamples differ by less than a twelfth of the width (here, with these numbers)."""
    found, (low, high) = closed(SEEDS[:num_seeds], LOCAL, BEST), plain_bootstrap(SEEDS[:num_seeds])
    assert found.mean == pytest.approx(100 * (SEEDS[:num_seeds].mean() - LOCAL.mean()) / (BEST.mean() - LOCAL.mean()))
    assert found.low < found.mean < found.high
    assert (found.low, found.high) == pytest.approx((low, high), abs=(high - low) / 12)


def test_where_there_is_no_gap_no_share_is_told():
    crossing = LOCAL + np.linspace(-0.1, 0.1, 12)  # above the baseline in half of the episodes
    for ours, baseline, best in (
        (BEST, LOCAL, LOCAL),
        (BEST, LOCAL, LOCAL + 1e-9),
        (BEST, LOCAL, crossing),
        (np.append(BEST[:-1], np.nan), LOCAL, BEST),
        (BEST, LOCAL, np.append(BEST[:-1], np.nan)),
    ):
        assert math.isnan(closed(ours[None], baseline, best).mean)


class Named:
    """A policy that is never asked to act."""

    def __init__(self, name, kind):
        self.name, self.kind = name, kind

    def init(self, game):
        raise AssertionError(self.name)

    def act(self, key, carry, observation, params):
        raise AssertionError(self.name)


@pytest.fixture
def compared(monkeypatch):
    """The comparison of policies with these utilities, by a function of the baseline and the optimum's utilities."""

    def compare(baseline="local", best=BEST):
        utilities = {"local": LOCAL, "optimal": best, "worse": best - 0.1, "a": SEEDS[0], "b": SEEDS[1]}
        kinds = {"local": "heuristic", "optimal": "optimal", "worse": "optimal"}
        samples = {policy: {name: each for name in GAME.columns} for policy, each in utilities.items()}
        monkeypatch.setattr(comparison, "_played", lambda *given: (samples, False))
        monkeypatch.setattr(comparison, "bounds", lambda *given, **sizes: {})
        sizes = {"num_episodes": 12, "num_rounds": 2, "warmup": 0}
        policies = [Named(name, kinds.get(name, "learned")) for name in utilities]
        return evaluation.compare(
            GAME, policies, lambda key: None, jax.random.key(0), **sizes, seeds={"both": ["a", "b"]}, baseline=baseline
        )

    return compare


def test_every_row_has_its_share_from_the_baseline_to_the_best_optimum(compared):
    gap = compared().gap
    assert (gap.baseline, gap.optimum) == ("local", "optimal")
    assert set(gap.closed) == {"local", "optimal", "worse", "a", "b", "both"}
    assert [gap.closed[name].mean for name in ("local", "optimal")] == [0.0, pytest.approx(100)]
    assert gap.closed["both"] == closed(SEEDS[:2], LOCAL, BEST) and gap.closed["a"] == closed(SEEDS[:1], LOCAL, BEST)


def test_tables_reports_and_json_show_it(compared, tmp_path):
    result = compared()
    share = f"{result.gap.closed['a'].mean:.1f}"
    text = evaluation.to_text(result)
    assert "gap" in text and share in text
    assert "The gap is that in utility from local, 0%, to optimal, 100%." in text.replace("\n", " ")
    assert "| gap closed, % |" in evaluation.to_markdown(result) and share in evaluation.to_markdown(result)
    write_report(tmp_path / "report.html", title="", evaluation=result, figures={}, config_text="")
    assert ">gap closed, %</th>" in (tmp_path / "report.html").read_text()
    lines = {line["policy"]: line for line in csv.DictReader(io.StringIO(evaluation.to_table_csv(result)))}
    assert float(lines["a"]["gap_closed_low"]) == result.gap.closed["a"].low
    assert evaluation.from_json(json.loads(json.dumps(evaluation.to_json(result)))) == result


def test_a_table_of_too_many_columns_for_their_digits_goes_on_below(compared):
    result = compared()
    several = {f"column {k}": (f"column {k}", "") for k in range(12)}
    rows = [
        dataclasses.replace(each, columns={name: each.columns["utility"] for name in ("utility", *several)})
        for each in result.results
    ]
    wide = dataclasses.replace(
        result, results=tuple(rows), columns={"utility": ("utility", ""), **several}, verdicts={}
    )
    lines = evaluation.to_text(wide).splitlines()
    assert max(map(len, lines)) <= 140
    told = [line for line in lines if line.startswith("  local") or line.startswith("* local")]
    mean = f"{result.best.columns['utility'].mean:.3f}"
    assert len(told) == 2 and sum(line.count(mean) for line in told) == 13
    assert sum("gap" in line for line in lines) >= 1 and "column 11" in " ".join(lines)


def test_an_optimum_that_is_no_better_leaves_dashes(compared):
    result = compared(best=LOCAL)
    assert all(math.isnan(each.mean) for each in result.gap.closed.values())
    assert "–" in evaluation.to_text(result)
    assert evaluation.to_json(result)["gap"]["closed"]["a"]["mean"] is None


@pytest.mark.parametrize("baseline", [None, "spread"])
def test_without_a_baseline_there_is_no_gap(compared, baseline):
    result = compared(baseline)
    assert result.gap is None and evaluation.to_json(result)["gap"] is None
    assert "gap" not in evaluation.to_text(result) and "gap_closed" not in evaluation.to_table_csv(result)


def test_the_baselines_of_games_are_rules_that_tuning_leaves_as_they_are():
    for entry in GAMES.values():
        if entry.baseline is not None:
            assert make_heuristic(entry.heuristics, entry.baseline).name == entry.baseline
            assert entry.heuristics[entry.baseline].box is None and not entry.heuristics[entry.baseline].grid
    assert heuristic("local").name == GAMES.find("dlb").baseline == GAMES.find("edge").baseline
