"""Comparisons as one parameter is swept: what is refused before anything is played, and what is written after."""

import csv
import io
import json
import shutil

import jax
import numpy as np
import pytest
from command_line import TINY, files_of
from PIL import Image

import jaxdlb
from jaxdlb.evaluation import sweep_plot
from train import build, compose, sweep

SWEEP = (
    "evaluation.sweep.over=load",
    "evaluation.sweep.values=[0.3,0.6]",
    "evaluation.sweep.gain=queue_length",
    "evaluation.sweep.cost=response_time",
)
OVER, VALUES, GAIN, COST, UP_TO, BESIDE = (
    f"evaluation.sweep.{name}" for name in ("over", "values", "gain", "cost", "up_to", "beside")
)


def composed(*overrides):
    return compose.settings(compose.from_conf(overrides), overrides)


def scenarios(*overrides):
    """The parameters at each value, of a sweep that is found right."""
    settings = composed("game.num_nodes=3", *overrides)
    sweep.check(settings)
    return [each.params for each in sweep.scenarios("evaluation.sweep", settings.game, settings.evaluation.sweep)]


# What is refused

LAW = "game.params.arrival_modulation.kind=sinusoidal"
BAD = {
    f"{OVER}=laod": f"{OVER} is 'laod'; it must be one of load, arrival_prob, ",
    f"{OVER}=laod {VALUES}=[]": "; did you mean load?",
    f"{OVER}=arrival_modulation": f"{OVER} is 'arrival_modulation'; it must be one of load, arrival_prob, ",
    f"{OVER}=arrival_modulation.period": f"{OVER} is 'arrival_modulation.period'; it must be one of",
    f"{OVER}=completion_prob game.params.completion_prob=[0.2,0.3,0.4]": f"{OVER} is 'completion_prob'; it must be one "
    "number, and game.params.completion_prob is [0.2, 0.3, 0.4]",
    f"{VALUES}=[]": f"{VALUES} is []; it must hold at least one value, in ascending order",
    f"{VALUES}=[0.6,0.3]": f"{VALUES} is [0.6, 0.3]; it must hold at least one value, in ascending order",
    f"{VALUES}=[0.3,0.3]": f"{VALUES} is [0.3, 0.3]; it must hold at least one value, in ascending order",
    f"{VALUES}=[0.3,nan]": f"{VALUES}[1] is nan; it must be a finite number",
    f"{VALUES}=[0.3,-1,2]": "it must hold at least one value, in ascending order",
    f"{VALUES}=[-1,0.3]": f"{VALUES}[0] is -1; it must be a finite number",
    f"{VALUES}=0.3": f"{VALUES} is 0.3; it must be a list",
    f"{OVER}=heartbeat_period {VALUES}=[1,2.5]": f"{VALUES}[1] is 2.5; it must be an integer in [1, ",
    f"{LAW} {OVER}=arrival_modulation.period {VALUES}=[0,9]": f"{VALUES}[0] is 0; it must be",
    f"{UP_TO}=0.1": f"{UP_TO} is 0.1; it must be at least the first value, 0.3",
    f"{GAIN}=response_times": f"{GAIN} is 'response_times'; it must be one of utility, imbalance, response_time, ",
    f"{COST}=p99": f"{COST} is 'p99'; it must be one of utility, ",
    f"{COST}=null": f"{COST} is not given; it must be one of utility, ",
    f"{GAIN}=null {COST}=p99": f"{COST} is 'p99'; it must be one of utility, ",
    f"{BESIDE}=[nowhere]": f"{BESIDE}[0] is 'nowhere'; it must be the folder of a run, and no such folder exists",
    "game.params.arrival_prob=0.3": f"{OVER} is 'load' and game.params.arrival_prob is given too; give only one, since",
}


@pytest.mark.parametrize("given", BAD)
def test_a_sweep_that_cannot_be_played_is_refused_in_a_sentence_and_nothing_is_written(given, train, here):
    outcome = train(*TINY, *SWEEP, *given.split(" "))
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert BAD[given] in outcome.err
    assert list(here.iterdir()) == []


def test_a_name_that_is_nearly_right_is_suggested(train, here):
    assert train(*TINY, *SWEEP, f"{GAIN}=response_times").err.endswith("; did you mean 'response_time'?\n")
    assert train(*TINY, *SWEEP, f"{OVER}=transfer_dealy").err.endswith("; did you mean transfer_delay?\n")


def test_another_run_that_does_not_fit_or_is_none_is_refused(mlp_run, train, here):
    shutil.copytree(mlp_run, here / "run")
    (here / "empty").mkdir()
    before = files_of(here)
    for given, sentence in {
        "game.num_nodes=4 evaluation.sweep.beside=[run]": f"{BESIDE}[0] is 'run': the policy 'learned' does not fit",
        "evaluation.sweep.beside=[run,empty]": f"{BESIDE}[1] is 'empty'; it must be the folder of a run, and",
        "evaluation.sweep.beside=[run,run]": f"{BESIDE}[1] is 'run'; it must be listed once",
    }.items():
        outcome = train(*TINY, *SWEEP, *given.split(" "))
        assert (outcome.status, outcome.err.count("\n")) == (2, 1), outcome.err
        assert sentence in outcome.err
    assert files_of(here) == before


# What is swept


def test_without_a_parameter_to_sweep_nothing_else_is_asked():
    sweep.check(composed(f"{VALUES}=[3,1]"))


def test_the_swept_parameter_is_drawn_no_longer_and_all_others_still_are():
    given = [*SWEEP, "game.randomise.load=[0.1,0.9]", "game.randomise.migration_cost=[0,1]"]
    settings = composed("game.num_nodes=3", *given)
    sweep.check(settings)
    for value, scenario in zip(
        (0.3, 0.6), sweep.scenarios("evaluation.sweep", settings.game, settings.evaluation.sweep), strict=True
    ):
        first, second = (scenario.test(jax.random.key(seed)) for seed in (0, 1))
        alone = jaxdlb.make("dlb", num_nodes=3).default_params(load=value)
        np.testing.assert_allclose(first.arrival_prob, alone.arrival_prob, rtol=1e-6)
        assert first.migration_cost != second.migration_cost
    assert settings.game.randomise.load == [0.1, 0.9]  # the comparison itself is of what was asked for


@pytest.mark.parametrize("drawn", ["game.randomise.load=[0.1,0.9]", "game.params.load=0.5", ""])
def test_sweeping_what_the_load_sets_puts_the_load_aside(drawn):
    values = [f"{OVER}=arrival_prob", f"{VALUES}=[0.1,0.2]"]
    for value, params in zip((0.1, 0.2), scenarios(*SWEEP, *values, *drawn.split()), strict=True):
        np.testing.assert_allclose(params.arrival_prob, value)


def test_sweeping_the_load_puts_ranges_of_what_it_sets_aside():
    at = scenarios(*SWEEP, "game.randomise.arrival_prob=[0.1,0.2]")
    np.testing.assert_allclose(at[1].arrival_prob, 2 * at[0].arrival_prob, rtol=1e-6)


def test_the_field_of_a_law_and_what_is_drawn_from_a_range_can_be_swept():
    period = [LAW, f"{OVER}=arrival_modulation.period", f"{VALUES}=[10,20]"]
    assert [float(each.arrival_modulation.period) for each in scenarios(*SWEEP, *period)] == [10, 20]
    speeds = ["game.params.completion_prob=[0.2,0.3,0.4]", "game.randomise.completion_prob=[0.2,0.8]"]
    swept = scenarios(*SWEEP, *speeds, f"{OVER}=completion_prob", f"{VALUES}=[0.5]")
    assert swept[0].completion_prob.tolist() == [0.5] * 3


def test_rules_are_tuned_anew_for_each_value(monkeypatch):
    settings = composed("game.num_nodes=3", *SWEEP, "evaluation.num_episodes=2", "evaluation.num_rounds=20")
    settings.evaluation.warmup = 0
    tuned = []

    def tune(scenario, asked, families):
        tuned.append(scenario.params.arrival_prob.sum() / scenario.params.completion_prob.sum())
        return {"threshold": jaxdlb.heuristic("threshold", margin=float(len(tuned)))}

    monkeypatch.setattr(sweep.comparison, "tuned", tune)
    played, told = sweep._play(settings, {})
    assert told == []
    np.testing.assert_allclose(tuned, [0.3, 0.6], rtol=1e-5)
    (line,) = played.lines
    assert (line.name, line.members) == ("threshold", ("threshold(margin=1)", "threshold(margin=2)"))
    assert line.gain.shape == line.cost.shape == (2, 1, 2)


# What is written


def test_a_sweep_writes_a_figure_a_table_and_a_conclusion(mlp_run, pointer_run, evaluate_, here):
    beside = f"{BESIDE}=[{pointer_run}]"
    outcome = evaluate_(f"checkpoint={mlp_run}", "output=swept", *SWEEP, beside)
    assert outcome.status == 0, outcome.err
    assert "load 0.3\n" in outcome.err and "load 0.6\n" in outcome.err
    rows = list(csv.DictReader(io.StringIO((here / "swept" / "sweep.csv").read_text(encoding="utf-8"))))
    labels = ["mappo", f"mappo of {pointer_run}", "local", "power_of_d(d=2, weighted)"]
    assert [(row["policy"], float(row["load"])) for row in rows] == [(each, v) for each in labels for v in (0.3, 0.6)]
    for row in rows:
        assert float(row["low"]) <= float(row["response time, rounds"]) <= float(row["high"])
    text = (here / "swept" / "sweep.txt").read_text(encoding="utf-8")
    assert text.count("as load is swept (2 values from 0.3 to 0.6):") == 2
    assert "at load ≤ 0.6" in text  # the one in the middle, where nothing else is asked
    assert text.strip() in outcome.out
    with Image.open(here / "swept" / "figures" / "sweep.png") as picture:
        assert min(picture.size) > 200


def test_what_stops_a_sweep_leaves_none_of_its_files(tmp_path, monkeypatch):
    def broken(swept):
        raise RuntimeError("no room to draw")

    monkeypatch.setattr(sweep_plot, "frontier", broken)
    monkeypatch.setattr(sweep, "_samples", nothing)
    settings = composed("game.num_nodes=3", *SWEEP, "evaluation.heuristics=[local]")
    with pytest.raises(RuntimeError, match="no room to draw"):
        sweep.execute(settings, {"drawn": [jaxdlb.heuristic("random")]}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def nothing(scenario, settings, groups):
    """What `_samples` gives, without playing."""
    return {label: dict.fromkeys(scenario.game.columns, np.ones((1, 4))) for label in groups}


@pytest.mark.parametrize("name", ["rack_headline", "rack_headline_quick"])
def test_the_headline_experiments_sweep_the_load_of_the_rack(name):
    settings = composed(f"experiment={name}")
    build.check(settings)
    sweep.check(settings)
    rates = [
        float(each.params.arrival_rate)
        for each in sweep.scenarios("evaluation.sweep", settings.game, settings.evaluation.sweep)
    ]
    capacity = 8 * np.linspace(0.5, 2.0, 16).sum() / 0.01
    np.testing.assert_allclose(rates, capacity * np.array(settings.evaluation.sweep.values), rtol=1e-5)


# Without training


ALONE = ("game.num_nodes=3", "evaluation.num_episodes=2", "evaluation.num_rounds=20", "evaluation.warmup=0")


@pytest.fixture
def sweep_(train_launcher):
    return train_launcher("train.sweep")


def test_rules_alone_are_drawn_over_the_parameter(sweep_, here):
    given = ("over=load", "values=[0.2,0.8]", "evaluation.heuristics=[local,threshold]", "output=out")
    outcome = sweep_(*ALONE, *given)
    assert outcome.status == 0, outcome.err
    assert {path.relative_to(here / "out").as_posix() for path in (here / "out").rglob("*") if path.is_file()} == {
        *("config.yaml", "provenance.json", "sweep.csv", "sweep.txt", "figures/sweep.png")
    }
    assert outcome.out == (here / "out" / "sweep.txt").read_text(encoding="utf-8") + "written to out\n"
    rows = list(csv.DictReader(io.StringIO((here / "out" / "sweep.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["policy", "options", "load", "response time, rounds", "low", "high"]
    names = ("local", "threshold(margin=4)", "one queue that all nodes serve, the fastest first")  # the last bounds
    assert [(row["policy"], float(row["load"])) for row in rows] == [(name, v) for name in names for v in (0.2, 0.8)]
    command = json.loads((here / "out" / "provenance.json").read_text())["launches"][0]["command"]
    assert command.startswith("python -m train.sweep game.num_nodes=3 ")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("values=[1,2]", "over is not given; it must be, as over=…"),
        ("over=load", "values is not given; it must be, as values=…"),
        ("over=laod values=[0.1,0.2]", "over is 'laod'; it must be one of load, arrival_prob, "),
        ("over=load values=[0.2,0.1]", "values is [0.2, 0.1]; it must hold at least one value, in ascending order"),
        ("over=load values=[0.2,-1]", "values is [0.2, -1.0]; it must hold"),
        ("over=load values=[0.2] cost=p99", "cost is 'p99'; it must be one of utility, "),
        ("over=load values=[0.2] gain=p99", "gain is 'p99'; it must be one of utility, "),
        ("over=heartbeat_period values=[1.5]", "values[0] is 1.5; it must be an integer in [1, "),
        ("over=load values=[0.2] output=full", "output is 'full'; it must be a new or empty folder"),
    ],
)
def test_a_sweep_alone_is_refused_in_a_sentence(given, sentence, sweep_, here):
    (here / "full").mkdir()
    (here / "full" / "file").write_text("")
    outcome = sweep_(*ALONE, *given.split())
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert outcome.err.startswith(sentence) or sentence in outcome.err
    assert [path.name for path in here.rglob("*")] == ["full", "file"]
