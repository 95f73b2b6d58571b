"""Games whose episodes end by themselves: everything that plays one plays it to its end."""

import json

import pytest
from PIL import Image

from jaxdlb import evaluation
from jaxdlb.game import Lengths
from train import build, comparison, compose, held_out

FARM = ("game=farm", "game.num_workers=2", "game.params.job=24", "evaluation.num_episodes=2")
RULES = "policy=[static,{name: self_scheduling, size: 3}]"


def composed(*given):
    return compose.settings(compose.from_conf(given), given)


def test_lengths_that_end_by_themselves_are_not_cut():
    assert Lengths(2000, warmup=200).up_to(400) == Lengths(400, warmup=100)
    assert Lengths(2000, warmup=200).up_to(5000) == Lengths(2000, warmup=200)
    assert Lengths(2000, ends=True).up_to(400) == Lengths(2000, ends=True)


@pytest.mark.parametrize(
    ("given", "held", "tuned"),
    [
        ((), 1_000_000, 1_000_000),
        (("evaluation.num_rounds=50",), 50, 50),
        (("evaluation.num_rounds=2000",), 1000, 800),
    ],
)
def test_episodes_held_out_and_those_that_tune_are_cut_only_if_that_is_asked_for(given, held, tuned, monkeypatch):
    settings, asked = composed(*FARM, *given), {}
    scenario = build.scenario(settings.game)
    assert held_out.HeldOut(scenario, None, True, 1, settings.evaluation).sizes["num_rounds"] == held
    monkeypatch.setattr(comparison.evaluation, "tune", lambda *given, **sizes: asked.update(sizes) or {})
    comparison.tuned(scenario, settings.evaluation, {})
    assert asked["num_rounds"] == tuned


def test_a_simulation_needs_no_duration_and_says_that_episodes_ended(train_launcher, here):
    outcome = train_launcher("train.simulate")(*FARM, RULES, "output=out")
    assert outcome.status == 0, outcome.err
    assert "Means of 2 episodes, each to its own end; ±" in " ".join(outcome.out.split())
    result = evaluation.from_json(json.loads((here / "out" / "evaluation.json").read_text(encoding="utf-8")))
    assert result.ended and not result.by_time
    assert json.loads((here / "out" / "provenance.json").read_text())["resolved"]["evaluation"]["duration"] is None
    assert {"gantt.png", "progress.png", "chunks.png", "timeline.png"} == {
        path.name for path in (here / "out" / "figures").iterdir()
    }
    steps = [line.split(",") for line in (here / "out" / "series.csv").read_text().splitlines()]
    assert (
        len([line for line in steps if line[0] == "self_scheduling(size=3)"]) == 8
    )  # the last of eight chunks ends the job


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("policy=static warmup=3", "duration is not given; it must be, as duration=… with warmup"),
        ("policy=static statistics=true", "duration is not given; it must be, as duration=… with statistics"),
        ("policy=static duration=0", "duration is 0; it must be a finite number > 0"),
    ],
)
def test_what_is_measured_in_time_asks_for_a_duration(given, sentence, train_launcher, here):
    outcome = train_launcher("train.simulate")(*FARM, *given.split())
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert sentence in outcome.err
    assert list(here.iterdir()) == []


def test_the_whole_of_an_episode_is_drawn(render_, here, monkeypatch):
    monkeypatch.setattr("jaxdlb.games.farm.viewer.MOST_FRAMES", 6)
    rule = "policy={name: self_scheduling, size: 3}"
    assert render_(*FARM, rule, "output=farm.gif").status == 0
    with Image.open(here / "farm.gif") as image:
        assert image.n_frames == 6
    late = render_(*FARM, rule, "output=late.gif", "first_round=9")
    assert (late.status, late.err.count("\n")) == (2, 1)
    assert "first_round is 9; it must be below 8, where an episode ends" in late.err
    assert not (here / "late.gif").exists()
