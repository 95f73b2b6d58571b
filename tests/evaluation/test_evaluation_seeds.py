"""The row over training seeds: its intervals against another implementation, and where it speaks for its seeds."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy import stats

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.drawing import layout
from jaxdlb.evaluation import compare, conclusion, from_json, plots, to_json, to_markdown, to_text
from jaxdlb.evaluation.report import write_report
from jaxdlb.evaluation.roles import ROLES, role_of
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.evaluation.seeds import over_seeds
from jaxdlb.evaluation.statistics import Estimate, crossed

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=9)
PARAMS = GAME.default_params()
SIZES = {"num_episodes": 5, "num_rounds": 80, "warmup": 20}
ROW, VARIANT = "pupil (3 seeds)", "pupil(other)"
MEMBERS = [f"pupil(seed={seed})" for seed in range(3)]


def one_cluster(key):
    return PARAMS


@dataclasses.dataclass(frozen=True, eq=False)
class Pupil:
    """A stand-in for a learned policy: acts as a heuristic does."""

    teacher: object
    name: str
    kind: str = "learned"

    def init(self, game):
        return self.teacher.init(game)

    def act(self, key, carry, observation, params):
        return self.teacher.act(key, carry, observation, params)


TEACHERS = [heuristic(name) for name in ("work_stealing", "power_of_d_stealing", "threshold_stealing")]
POLICIES = [
    heuristic("local"),
    heuristic("power_of_d"),
    *(Pupil(teacher, name) for teacher, name in zip(TEACHERS, MEMBERS, strict=True)),
    Pupil(heuristic("threshold"), VARIANT),
]
GROUPS = {"seeds": {ROW: MEMBERS}, "variants": {VARIANT: ROW}}


@pytest.fixture(scope="module")
def compared():
    return compare(GAME, POLICIES, one_cluster, jax.random.key(0), **SIZES, **GROUPS)


def row_of(evaluation, name):
    return next(each for each in evaluation.results if each.name == name)


def ends(estimate):
    return estimate.mean, estimate.low, estimate.high


def by_scipy(table):
    """The mean of [k, n], and the ends of its interval, whose half is √(that of seeds² + that of episodes²)."""
    means = table.mean(axis=1), table.mean(axis=0)
    halves = [stats.t.interval(0.95, len(each) - 1, scale=stats.sem(each))[1] for each in means]
    half = np.sqrt(np.square(halves).sum())
    return table.mean(), table.mean() - half, table.mean() + half


def test_the_row_over_seeds_has_an_interval_over_seeds_and_episodes(compared):
    played = evaluate_all(GAME, POLICIES, one_cluster, jax.random.key(0), **SIZES)
    samples = {policy.name: each for policy, each in zip(POLICIES, played, strict=True)}
    row = row_of(compared, ROW)
    assert (row.kind, row.num_seeds, row.part_of) == ("learned", 3, None)
    for column, estimate in row.columns.items():
        table = np.array([samples[name][column] for name in MEMBERS])
        assert ends(estimate) == pytest.approx(by_scipy(table))
    for column, estimate in row.differences.items():
        best = samples[compared.best_heuristic][column]
        table = np.array([samples[name][column] - best for name in MEMBERS])
        assert ends(estimate) == pytest.approx(by_scipy(table))


def test_the_row_over_seeds_has_interquartile_means(compared):
    row = row_of(compared, ROW)
    for column, estimate in row.interquartile.items():
        table = np.array([compared.samples[name][column] for name in MEMBERS])
        assert estimate.mean == pytest.approx(table.mean())  # of three seeds none is left out
        assert table.mean(axis=1).min() - np.ptp(table) <= estimate.low <= estimate.mean <= estimate.high
    assert set(row.interquartile) == set(row.columns)
    assert "Interquartile" not in to_text(compared)
    assert all(not each.interquartile for each in compared.results if each.name != ROW)


def test_from_four_seeds_on_a_sentence_tells_the_interquartile_mean(compared):
    four = dataclasses.replace(
        row_of(compared, ROW),
        num_seeds=4,
        interquartile={"utility": Estimate(-1.25, -1.5, -1.125), "imbalance": Estimate(1.0, 0.5, 2.0)},
    )
    others = [each for each in compared.results if each.name != ROW]
    told = dataclasses.replace(compared, results=(four, *others))
    sentence = f"Interquartile mean over the seeds, {ROW}: utility -1.25 [-1.5, -1.125]."
    assert sentence in " ".join(to_text(told).split()) and sentence in to_markdown(told)


def test_an_evaluation_written_before_there_were_interquartile_means_is_still_read(compared):
    told = to_json(compared)
    for result in told["results"]:
        del result["interquartile"]
    assert row_of(from_json(told), ROW).interquartile == {}


def test_the_interval_over_seeds_and_episodes_covers_the_mean_as_often_as_it_says():
    """2,000 tables of effects: 95% of the intervals, or a few more, hold the mean of 0."""
    rng = np.random.default_rng(0)
    for seeds, episodes, both in ((1.0, 0.3, 0.3), (0.1, 1.0, 1.0), (0.5, 2.0, 0.5)):
        shape = (2000, 5, 16)
        tables = (
            rng.normal(scale=seeds, size=(2000, 5, 1))
            + rng.normal(scale=episodes, size=(2000, 1, 16))
            + rng.normal(scale=both, size=shape)
        )
        found = [crossed(table) for table in tables]
        assert 0.94 < np.mean([each.low <= 0 <= each.high for each in found]) < 0.985


def test_the_rows_of_the_seeds_are_as_they_would_be_alone(compared):
    alone = compare(GAME, POLICIES, one_cluster, jax.random.key(0), **SIZES)
    assert not alone.is_over_seeds and compared.is_over_seeds
    for name in MEMBERS:
        own = row_of(compared, name)
        assert (own.num_seeds, own.part_of) == (1, ROW)
        assert dataclasses.replace(own, part_of=None) == row_of(alone, name)
    assert compared.best_heuristic == alone.best_heuristic


def test_what_is_left_of_the_episodes_in_a_difference_is_what_the_best_heuristic_does_not_share():
    """Two seeds that do alike in episodes that differ much, as the best heuristic does: paired, nothing is left."""
    episodes = np.random.default_rng(0).normal(0.0, 100.0, 20)
    best = {"utility": episodes - 10.0}
    row = over_seeds("both", "learned", [{"utility": episodes + x} for x in (1.0, 2.0)], best, ["utility"])
    assert row.differences["utility"].mean == pytest.approx(11.5)
    reach = stats.t.ppf(0.975, 1) * 0.5  # the standard error of 1 and 2 is a half
    own = stats.t.interval(0.95, 19, scale=stats.sem(episodes))[1]
    assert row.differences["utility"].half_width == pytest.approx(reach)
    assert row.columns["utility"].half_width == pytest.approx(np.hypot(reach, own))


def test_a_column_without_a_number_in_one_seed_has_none_in_the_row():
    samples = [{"utility": np.array([1.0, 2.0])}, {"utility": np.array([1.0, np.nan])}]
    row = over_seeds("both", "learned", samples, samples[0], ["utility"])
    assert np.isnan([*ends(row.columns["utility"]), *ends(row.differences["utility"])]).all()


def test_the_verdict_is_one_sentence_about_the_row_over_seeds(compared):
    told = conclusion(compared)
    assert told.startswith(f"{ROW} ") and told.count("the best heuristic,") == 1
    assert not any(name in told for name in (*MEMBERS, VARIANT))


def test_table_markdown_figure_and_report_have_the_row_beside_its_seeds(compared, tmp_path):
    text, markdown = to_text(compared), to_markdown(compared)
    marks = {line[2:].split("  ")[0]: line[:1] for line in text.splitlines()}
    assert {name: marks[name] for name in (ROW, *MEMBERS, VARIANT)} == {
        ROW: "»",
        **dict.fromkeys(MEMBERS, "›"),
        VARIANT: "›",
    }
    assert f"`{ROW}` (learned)" in markdown and f"`{MEMBERS[0]}` (one seed of it, or another way to act)" in markdown
    figure = plots.utilities(compared)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert layout.caption(ROW) in labels and not {*MEMBERS, VARIANT} & set(labels)  # one row speaks for all
    page = tmp_path / "report.html"
    write_report(page, title="t", evaluation=compared, figures={}, config_text="")
    assert page.read_text(encoding="utf-8").count('<tr class="part">') == 4
    for told in (" ".join(text.split()), markdown, page.read_text(encoding="utf-8")):
        assert "a row over several seeds covers both which seeds trained and which episodes were played." in told
    assert role_of(row_of(compared, ROW), compared) == ROLES["learned"]


def test_without_seeds_nothing_is_said_of_them():
    alone = compare(GAME, POLICIES[:2], one_cluster, jax.random.key(0), **SIZES)
    assert "seed" not in to_text(alone)


def test_json_keeps_rows_over_seeds(compared):
    told = json.loads(json.dumps(to_json(compared)))
    assert {each["name"]: (each["num_seeds"], each["part_of"]) for each in told["results"]} == {
        "local": (1, None),
        "power_of_d(d=2)": (1, None),
        ROW: (3, None),
        VARIANT: (1, ROW),
        **dict.fromkeys(MEMBERS, (1, ROW)),
    }
    assert from_json(told) == compared


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"seeds": {"local": MEMBERS}}, "seeds holds 'local'; it must be a name that no policy has"),
        ({"seeds": {ROW: MEMBERS[:1]}}, "must hold at least 2 policies, one for each seed"),
        ({"seeds": {ROW: [MEMBERS[0]] * 2}}, "must hold at least 2 policies, one for each seed"),
        ({"seeds": {ROW: [MEMBERS[0], "nobody"]}}, "holds 'nobody'; it must hold names of rows: local, "),
        ({"variants": {VARIANT: "nobody"}}, "variants holds 'nobody'; it must hold names of rows"),
        ({"variants": {"nobody": VARIANT}}, "variants holds 'nobody'; it must hold names of rows"),
    ],
)
def test_groups_of_nobody_are_refused(groups, message):
    with pytest.raises(ValueError) as error:
        compare(GAME, POLICIES, one_cluster, jax.random.key(0), **SIZES, **groups)
    assert message in str(error.value)
