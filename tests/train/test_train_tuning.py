"""Tuning by the launchers: what was found is kept by cluster, and how long it takes is shown."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest

from jaxdlb.evaluation import tuning
from jaxdlb.policies import Family
from train import build, comparison, compose, countdown, tuning_cache
from train.countdown import Countdown

SIZES = (
    "game.num_nodes=3",
    "evaluation.tuning_episodes=2",
    "evaluation.tuning_rounds=20",
    "evaluation.tuning_candidates=4",
    "evaluation.tuning_generations=2",
)
NAMES = ("proportional", "power_of_d", "local")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_cache, "user_cache", lambda: tmp_path)
    return tmp_path / "tuned"


@pytest.fixture
def evaluations(monkeypatch):
    """How many policies each evaluation played; the one with the largest margin, or d, wins."""
    played = []

    def utilities(game, policies, sample_params, key, *, num_episodes, **rounds):
        played.append(len(policies))
        merits = [getattr(each.dispatch, "margin", getattr(each.dispatch, "d", 0)) for each in policies]
        return [np.full(num_episodes, float(merit)) for merit in merits]

    monkeypatch.setattr(tuning, "utilities", utilities)
    return played


def tune(*given, names=NAMES, changed=None):
    settings = compose.settings(compose.from_conf([*SIZES, *given]), [*SIZES, *given])
    scenario = build.scenario(settings.game)
    families = {name: scenario.entry.heuristics[name] for name in names} | (changed or {})
    return comparison.tuned(scenario, settings.evaluation, families)


def test_what_was_tuned_is_not_tuned_again(folder, evaluations):
    first = tune()
    assert list(first) == list(NAMES) and len(evaluations) == 2 + 1
    assert len(list(folder.iterdir())) == 2  # nothing is to be tuned of `local`
    evaluations.clear()
    assert tune() == first and evaluations == []
    assert first["power_of_d"].dispatch.d == 2
    more = tune(names=("fading", *NAMES))
    assert {name: more[name] for name in NAMES} == first and evaluations == [4, 4, 6 + 2]


@pytest.mark.parametrize(
    "given",
    [
        ["game.num_nodes=4"],
        ["game.params.load=0.5"],
        ["game.params.migration_cost=0.2"],
        ["game.randomise.load=[0.5,0.9]"],
        ["evaluation.seed=2"],
        ["evaluation.tuning_episodes=3"],
        ["evaluation.tuning_rounds=21"],
        ["evaluation.tuning_candidates=5"],
        ["evaluation.tuning_generations=3"],
    ],
)
def test_another_cluster_or_another_tuning_is_tuned_anew(given, folder, evaluations):
    tune(names=NAMES[:1])
    evaluations.clear()
    tune(*given, names=NAMES[:1])
    assert evaluations and len(list(folder.iterdir())) == 2


def test_other_ranges_are_other_clusters(folder, evaluations):
    for high in (0.8, 0.9):
        tune(f"game.randomise.load=[0.5,{high}]", names=NAMES[:1])
    assert len(list(folder.iterdir())) == 2


def test_another_box_or_another_code_is_tuned_anew(folder, evaluations, monkeypatch, tmp_path):
    tune(names=NAMES[1:2])
    make = build.GAMES["dlb"].heuristics["power_of_d"].make
    tune(names=NAMES[1:2], changed={"power_of_d": Family(make, grid=lambda game: {"d": (1, 2)})})
    assert len(list(folder.iterdir())) == 2
    source = tmp_path / "source.py"
    monkeypatch.setattr(tuning_cache, "_library", lambda: [source])
    for text in ("before", "after"):
        source.write_text(text)
        tune(names=NAMES[1:2])
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "{", json.dumps({"options": {"margins": 1}}), json.dumps({"options": {"margin": 3}})]
)
def test_a_file_that_holds_something_else_is_not_believed(text, folder, evaluations):
    first = tune(names=NAMES[:1])
    (file,) = folder.iterdir()
    whole = json.loads(file.read_text())
    assert whole["options"] == {"margin": first["proportional"].dispatch.margin}
    file.write_text(text)
    evaluations.clear()
    assert tune(names=NAMES[:1]) == first and evaluations
    assert json.loads(file.read_text()) | {"seconds": 0} == whole | {"seconds": 0}


def test_a_folder_that_cannot_be_written_is_no_hindrance(folder, evaluations):
    folder.write_text("")
    assert tune(names=NAMES[:1])


def test_all_that_was_found_comes_back(tmp_path):
    family = build.GAMES["dlb"].heuristics["power_of_d"]
    options = {"d": 3, "weighted": True, "width": 4}
    found = tuning.Tuned(family.make(**options), options, -1 / 3, 10, 5000, 0.1)
    place = tmp_path / "new" / "place.json"
    tuning_cache.keep(place, found)
    assert tuning_cache.read(place, family) == found
    assert tuning_cache.read(tmp_path / "none.json", family) is None
    assert jax.tree.structure(tuning_cache.read(place, family).policy) == jax.tree.structure(found.policy)
    tuning_cache.keep(tmp_path / "unplayed.json", dataclasses.replace(found, agent_rounds=0))
    assert not (tmp_path / "unplayed.json").exists()


def test_what_tuning_took_is_told(folder, evaluations, capfd):
    tune()
    told = capfd.readouterr().err
    candidates = 2 * 4 + 6 + 2 + 4  # of the search, of its contest, and of the grid
    agent_rounds = (2 * 4 * 21 + (6 + 2) * 2 + 4 * 2) * 20 * 3
    assert f"heuristics tuned: 2, by {candidates} candidates in {agent_rounds / 1e3:.3g}k agent-rounds, 0 s" in told
    tune()
    assert capfd.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_how_long_it_takes_in_one_line(monkeypatch):
    times = iter((100.0, 110.0, 120.0))
    monkeypatch.setattr(countdown.time, "monotonic", lambda: next(times))
    stream = Terminal()
    progress = Countdown("tuning", stream)
    progress(1, 10)
    progress(2, 10)
    progress.ended("tuned")
    assert stream.getvalue().split(countdown._AGAIN) == [
        "",
        "tuning: 10%, 1:30 left",
        "tuning: 20%, 1:20 left",
        "tuned\n",
    ]


def test_elsewhere_it_is_a_line_every_ten_seconds(monkeypatch):
    times = iter((100.0, 104.0, 110.0, 115.0, 121.0))
    monkeypatch.setattr(countdown.time, "monotonic", lambda: next(times))
    stream = io.StringIO()
    progress = Countdown("tuning", stream)
    for done in (1, 2, 3, 4):
        progress(done, 4)
    progress.ended("tuned")
    assert stream.getvalue().splitlines() == ["tuning: 50%, 0:10 left", "tuning: 100%, 0:00 left", "tuned"]
