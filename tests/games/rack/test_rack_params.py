"""Parameters of racks: what nodes are expected to complete, the offered load, and what is refused or warned of."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.rack.generator import capacity, expected_performance
from jaxdlb.mechanics.distributions import Constant, Exponential, Uniform

SIZES = {"num_nodes": 3, "max_cores": 4, "max_io_cores": 3, "max_tasks": 64, "max_arrivals": 8}
GAME = jaxdlb.make("rack", **SIZES)
UNEVEN = {
    "cores": [4, 1, 2],
    "core_perf": [1.0, 0.5, 2.0],
    "io_cores": [1, 3, 2],
    "io_perf": [2.0, 0.5, 1.0],
    "overhead": [0.0, 1.0, 0.5],
    "runtime": {"kind": "uniform", "low": 1.0, "high": 3.0},  # ms, the mean 2
    "io_time": {"kind": "constant", "value": 0.5},
    "dt": 0.1,
    "heartbeat_period": 1.0,
}


def refusal(call, *arguments, **keywords):
    with pytest.raises(ValueError, match=r" (is|are|has) ") as raised:
        call(*arguments, **keywords)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Closed forms


def test_the_expected_performance_is_the_less_of_cores_and_io_in_tasks_a_slice():
    performance = expected_performance(GAME.default_params(**UNEVEN))
    slower = [min(4 * 1.0, 1 * 2.0), min(1 * 0.5, 3 * 0.5), min(2 * 2.0, 2 * 1.0)]  # cores · speed, I/O cores · speed
    np.testing.assert_allclose(performance, np.array(slower) * 0.1 / 2, rtol=1e-6)


def test_the_capacity_is_what_the_slower_of_cores_and_io_lets_pass_at_every_node():
    on_cores = [4 / (0 + 2 / 1.0), 1 / (1 + 2 / 0.5), 2 / (0.5 + 2 / 2.0)]  # tasks a ms
    in_io = [1 * 2.0 / 0.5, 3 * 0.5 / 0.5, 2 * 1.0 / 0.5]
    both = sum(map(min, on_cores, in_io))
    assert float(capacity(GAME.default_params(**UNEVEN))) == pytest.approx(both, rel=1e-6)
    slow_io = UNEVEN | {"io_time": {"kind": "constant", "value": 4.0}}
    in_io = [each * 0.5 / 4 for each in in_io]
    assert float(capacity(GAME.default_params(**slow_io))) == pytest.approx(sum(map(min, on_cores, in_io)), rel=1e-6)


def test_without_io_the_cores_alone_limit_a_rack():
    without = UNEVEN | {"io_time": {"kind": "constant", "value": 0.0}}
    assert float(capacity(GAME.default_params(**without))) == pytest.approx(2 + 1 / 5 + 2 / 1.5, rel=1e-6)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.98])
def test_the_load_is_the_arrival_rate_as_a_share_of_the_capacity(load):
    params = GAME.default_params(load=load, **UNEVEN)
    assert float(params.arrival_rate) == pytest.approx(load * (2 + 1 / 5 + 2 / 1.5), rel=1e-6)


def test_the_load_is_08_unless_it_or_the_arrival_rate_is_given():
    params = GAME.default_params()
    assert float(params.arrival_rate) == pytest.approx(0.8 * float(capacity(params)), rel=1e-6)
    assert float(GAME.default_params(arrival_rate=3.0).arrival_rate) == 3.0
    assert refusal(GAME.default_params, arrival_rate=3.0, load=0.5).startswith("load is 0.5 and arrival_rate is given")


def test_the_load_may_be_drawn_for_every_episode():
    draw = jaxdlb.randomised(GAME, load=[0.2, 0.6])
    drawn = jax.vmap(draw)(jax.random.split(jax.random.key(0), 64))
    loads = drawn.arrival_rate / capacity(GAME.default_params())
    assert 0.2 <= loads.min() < 0.3 and 0.5 < loads.max() <= 0.6


# Defaults that are laws


def test_what_is_not_given_of_the_defaults_kind_is_as_in_the_default():
    for given in (None, "exponential", {"kind": "exponential"}, {}):
        runtime = GAME.default_params(runtime=given).runtime
        assert isinstance(runtime, Exponential) and float(runtime.average) == pytest.approx(0.01)
    assert float(GAME.default_params(runtime={"average": 0.5}).runtime.average) == 0.5
    assert isinstance(GAME.default_params(runtime="uniform").runtime, Uniform)
    assert float(GAME.default_params(io_time="constant").io_time.value) == 0.0
    assert float(GAME.default_params(payload=Constant(3.0)).payload.value) == 3.0


# Refusals

TOO_MUCH = (
    "arrival_rate is 9000, 9 tasks a slice; it must be at most max_arrivals / dt, 8000 (27 leaves room for bursts)"
)
BAD = {
    "an interval whose ends are out of order": (
        {"runtime": {"kind": "uniform", "low": 2.0, "high": 1.0}},
        "runtime.low is 2; it must be at most runtime.high, 1",
    ),
    "a link slower than heartbeats can be": (
        {"latency": [0.0, 0.009, 0.0]},
        "latency[1] is 0.009; it must be at most max_delay slices of dt, 0.008 ms, so that heartbeats arrive",
    ),
    "weights of nobody": (
        {"dealing": {"kind": "weighted", "weights": [0.0, 0.0, 0.0]}},
        "dealing.weights are all 0; at least one must be above 0",
    ),
    "heartbeats that all share and some miss": (
        {"heartbeat_loss": 0.1},
        "heartbeat_loss is 0.1; it must be 0 with heartbeats=shared, where all receivers hear the same heartbeats (use "
        "heartbeats=per_link)",
    ),
    "more arrivals than there is room for": ({"arrival_rate": 9000.0}, TOO_MUCH),
    "more cores than the most": ({"cores": 5}, "cores is 5; it must be an integer in [1, 4]"),
    "more I/O than the most": ({"io_cores": [3, 4, 1]}, "io_cores[1] is 4; it must be an integer in [1, 3]"),
    "tasks without work": (
        {"runtime": {"kind": "constant", "value": 0.0}},
        "runtime has the mean 0; it must be above 0, since nodes tell their speeds by it",
    ),
    "no time": ({"dt": 0.0}, "dt is 0; it must be a finite number in [1e-12, 1e+12]"),
    "a speed of nothing": (
        {"core_perf": [1.0, 0.0, 1.0]},
        "core_perf[1] is 0; it must be a finite number in [1e-06, 1000000]",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_played_is_refused_in_a_sentence(what):
    fields, sentence = BAD[what]
    assert refusal(GAME.default_params, **fields) == sentence


@pytest.mark.parametrize("what", ["weights of nobody", "more arrivals than there is room for"])
def test_validate_refuses_what_the_defaults_refuse(what):
    fields, sentence = BAD[what]
    law = {"dealing": {"kind": "weighted", "weights": [1.0, 0.0, 0.0]}} if "dealing" in fields else {}
    params = GAME.default_params(**law)
    weights = jnp.zeros(3)
    bad = (
        params.replace(dealing=params.dealing.replace(weights=weights))
        if law
        else params.replace(arrival_rate=jnp.float32(9000.0))
    )
    assert refusal(GAME.validate, bad) == sentence


def test_heartbeats_may_be_lost_link_by_link():
    per_link = jaxdlb.make("rack", **SIZES, heartbeats="per_link")
    assert float(per_link.default_params(heartbeat_loss=0.1).heartbeat_loss) == pytest.approx(0.1)


def test_sizes_are_refused_in_a_sentence():
    assert refusal(jaxdlb.make, "rack", max_tasks=0) == "max_tasks is 0; it must be an integer ≥ 1"
    assert refusal(jaxdlb.make, "rack", heartbeats="all").startswith("heartbeats is 'all'; it must be one of shared, ")


# More tasks than can be completed


def test_a_rack_below_its_capacity_is_warned_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GAME.default_params(load=0.99)


def test_a_rack_beyond_its_capacity_is_warned_of_and_plays():
    with pytest.warns(
        UserWarning, match=r"^the offered load is 1\.5: more tasks arrive than the rack can complete, so"
    ):
        params = GAME.default_params(load=1.5)

    @jax.jit
    def play(key):
        state, timestep = GAME.reset(key, params)
        keep = heuristic.act(key, heuristic.init(GAME), timestep.observation, params)[1]

        def slice(state, key):
            state, timestep = GAME.step(key, state, keep, params)
            return state, timestep.metrics

        return jax.lax.scan(slice, state, jax.random.split(key, 60))[1]

    heuristic = jaxdlb.heuristic("local")
    metrics = play(jax.random.key(0))
    assert metrics["total_load"][-1] > metrics["total_load"][5] > 0
    assert np.isfinite(metrics["utility"]).all()
