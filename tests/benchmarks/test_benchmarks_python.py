"""The plain rack is the game's rack: the same tasks, times and packets, as far as chance allows to tell."""

import dataclasses
import time
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks import against_python, games, timing
from benchmarks.reference import rack as reference
from benchmarks.reference.rack import Plain
from jaxdlb.games.rack import Rack

GAME = Rack(3, max_cores=2, max_io_cores=2, max_tasks=96, max_arrivals=12)
PARAMS = GAME.default_params(  # tasks wait for cores, for I/O and for the interface; thieves are refused, too
    load=0.7, bandwidth=4e9, io_time={"kind": "exponential", "average": 0.006}, core_perf=[1.0, 1.0, 2.0]
)
PRESET = Path(__file__).resolve().parents[2] / "conf" / "game" / "rack_heterogeneous.yaml"


def test_both_play_the_same_rack_at_random():
    """Within five standard errors of 64 episodes; and these are small: means of response times are known to 3%."""
    against_python.check(GAME, PARAMS, "random", seed=3, slices=300)
    found = against_python.in_python(GAME, PARAMS, "random", 3, 64, 300)
    response = found["mean response time"]
    assert response.std() / 64**0.5 < 0.03 * response.mean()
    assert found["steals"].mean() > 5


def test_a_rack_that_is_another_is_noticed(monkeypatch):
    slower = dataclasses.replace(PARAMS, latency=PARAMS.latency + 0.002)
    honest = Plain.__init__
    monkeypatch.setattr(Plain, "__init__", lambda self, game, _, policy, seed: honest(self, game, slower, policy, seed))
    with pytest.raises(against_python.DisagreementError, match=r"response time|steal"):
        against_python.check(GAME, PARAMS, "random", seed=3, slices=300)


def test_one_node_alone_is_the_queue_that_it_should_be():
    """M/M/1 at a load of 0.5: a mean response time of twice the run time, within a tenth over some 4,000 tasks."""
    game = Rack(1, max_cores=1, max_io_cores=1, max_tasks=512, max_arrivals=12)
    plain = Plain(game, game.default_params(load=0.5, core_perf=1.0), "noop", seed=1)
    plain.play(80_000)
    assert len(plain.responses) > 3500
    assert np.mean(plain.responses) == pytest.approx(0.02, rel=0.1)
    assert plain.nodes[0].busy == pytest.approx(0.5 * 80, rel=0.1)


def test_tasks_without_a_slot_are_dropped():
    game = Rack(1, max_cores=1, max_io_cores=1, max_tasks=2, max_arrivals=12)
    with pytest.warns(UserWarning, match="offered load"):
        params = game.default_params(load=4.0, core_perf=1.0)
    plain = Plain(game, params, "noop", seed=1)
    plain.play(2000)
    assert plain.num_dropped > 200
    assert len(plain.responses) + plain.num_dropped <= plain.num_dealt <= len(plain.responses) + plain.num_dropped + 4


def test_what_the_plain_rack_leaves_out_is_refused():
    for changed, named in (({"failure_prob": 0.1}, "failure_prob"), ({"dealing": "at_random"}, "dealing")):
        with pytest.raises(ValueError, match=named):
            Plain(GAME, GAME.default_params(**changed), "random", seed=0)
    with pytest.raises(ValueError, match="Uniform"):
        Plain(GAME, GAME.default_params(runtime={"kind": "uniform"}), "random", seed=0)


def test_the_sizes_that_are_raced_are_those_of_the_preset():
    sizes = dict(games._parser().parse_args(["--size", *against_python.SIZES]).size)
    preset = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    assert sizes == {name: value for name, value in preset.items() if name != "defaults"}
    assert reference.POLICIES.keys() == games.POLICIES.keys()


def test_a_race_gives_the_ratio_of_node_slices_in_the_same_time(monkeypatch):
    """With a program in the game's place that plays a known number of slices in at least a known time."""

    def prepare(game, variant, num_envs, num_rounds, seed, params):
        def advance(carry):
            time.sleep(0.01)
            return types.SimpleNamespace(round=carry.round + num_rounds, metrics=carry.metrics)

        start = types.SimpleNamespace(round=0, metrics={"total_load": np.zeros(num_envs)})
        return timing.Program(advance, 0.0, None), timing.Chain(advance, start)

    monkeypatch.setattr(games, "prepare", prepare)
    words = ["--repeats", "3", "--min-seconds", "0.02", "--warmup", "2"]
    result = against_python.race(GAME, PARAMS, "random", 2, against_python._parser().parse_args(words))
    slices = against_python.NODE_ROUNDS_A_CALL // 6 * 6
    assert result["jax_node_rounds_per_second"].high <= slices / 0.01
    jax_rate, python_rate = (result[f"{name}_node_rounds_per_second"] for name in ("jax", "python"))
    assert jax_rate.low / python_rate.high <= result["jax_over_python"].median <= jax_rate.high / python_rate.low
    assert "JAX over Python" in against_python.to_text([result])
