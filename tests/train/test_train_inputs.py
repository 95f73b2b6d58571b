"""The launchers that write an episode's inputs and print the service model of one node."""

import csv
import json

import jax
import numpy as np
import pytest
from command_line import assert_refused

from jaxdlb.policies import make_heuristic
from train import build, comparison, compose

ROUNDS = "evaluation.num_rounds=6"


@pytest.fixture
def inputs(train_launcher):
    return train_launcher("train.inputs")


@pytest.fixture
def service(train_launcher):
    return train_launcher("train.service")


def test_inputs_are_those_of_the_episode_that_figures_show(inputs, here):
    assert inputs("game=edge_two", ROUNDS, "output=a.csv").status == 0
    assert inputs("game=edge_two", ROUNDS, "output=a.json").status == 0
    with (here / "a.csv").open() as file:
        header, *lines = csv.reader(file)
    assert header == ["step", "agent_0", "agent_1"] and [line[0] for line in lines] == [*"012345"]
    rates = [[int(rate) for rate in line[1:]] for line in lines]
    assert json.loads((here / "a.json").read_text()) == {"inputs": rates}
    scenario = build.scenario(compose.settings(compose.from_conf(["game=edge_two"]), []).game)
    away = make_heuristic(scenario.entry.heuristics, "spread")  # another policy than the launcher's
    recorded = jax.device_get(comparison.record(scenario, away, 1, 6))
    np.testing.assert_array_equal(recorded.states.previous_input[1:], rates)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["game=edge_two"], "output is not given; it must be"),
        (["output=a.txt"], "output is 'a.txt'; it must be a file named ….csv or ….json in a folder that exists"),
        (["output=none/a.csv"], "output is 'none/a.csv'; it must be a file named"),
        (["game=dlb", "output=a.csv"], "game.name is 'dlb'; it must be a game that tells its inputs (edge)"),
    ],
)
def test_wrong_inputs_are_refused_and_write_nothing(inputs, here, given, sentence):
    assert_refused(inputs(*given), sentence)
    assert list(here.iterdir()) == []


def test_the_service_model_of_a_node_is_printed(service):
    """The fixed points of `tests/games/edge/test_edge_service.py`, as `pacsltk` computes them."""
    done = service("rate=60", "warm_time=0.5", "cold_time=1.25", "idle_time=60", "instances=30")
    numbers = {line.split()[0]: float(line.split()[1]) for line in done.out.splitlines()}
    assert done.status == 0 and done.err == ""
    assert numbers == {
        "reject_prob": pytest.approx(7.947587 / 60, abs=2e-6),
        "cold_prob": 0,
        "pool_size": pytest.approx(30, abs=1e-4),
        "service_time": 0.5,
        "rejections": pytest.approx(7.947587, rel=1e-5),
    }


def test_a_node_that_the_model_does_not_hold_for_is_warned_of(service):
    with pytest.warns(UserWarning, match=r"^idle_time is 2; the service model is exact enough from 6 on, 8 times cold"):
        done = service("rate=36", "warm_time=0.25", "cold_time=0.75", "idle_time=2", "instances=12")
    assert done.status == 0 and "0.265733" in done.out and "2.304491" in done.out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("rate=-1", "rate is -1; it must be a finite number in [0, 1e+12]"),
        ("instances=1.5", "instances is 1.5; it must be an integer"),
        ("cold_time=0.1", "cold_time is 0.1; it must be at least warm_time, which is 0.5"),
        ("raet=1", "raet is no known key"),
        ("rate", "rate is no key with its value; it must be one, as in rate=60"),
    ],
)
def test_wrong_numbers_of_a_node_are_refused(service, given, sentence):
    assert_refused(service(given), sentence)


def test_nodes_at_the_ends_of_what_is_allowed_have_numbers(service):
    for given in (["rate=0"], ["instances=0"], ["rate=1e12", "instances=3"], ["rate=1e-9", "instances=1000"]):
        done = service(*given)
        assert done.status == 0 and "nan" not in done.out and "inf" not in done.out, done
