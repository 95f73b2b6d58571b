"""The reference cluster, clusters given field by field, and random ones."""

import dataclasses
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.dlb import DLB, Params
from jaxdlb.mechanics.arrivals import Constant, Sinusoidal

REFERENCE = {
    "migration_cost": 0.1,
    "steal_cost": 0.1,
    "imbalance_weight": 1,
    "holding_weight": 0,
    "drop_cost": 10,
    "transfer_delay": 1,
    "heartbeat_period": 10,
    "heartbeat_phase": [0] * 8,
    "heartbeat_delay": 0,
    "heartbeat_loss": 0,
    "failure_prob": [0] * 8,
    "repair_prob": [0] * 8,
    "selfishness": 0,
    "horizon": 500,
    "initial_load": [0] * 8,
    "completion_prob": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    "arrival_prob": [0.9 * 0.55] * 8,
}


def test_the_defaults_are_the_reference_cluster():
    game = DLB()
    assert (game.num_nodes, game.capacity, game.max_delay) == (8, 64, 4)
    assert (game.imbalance, game.heartbeats) == ("variance", "shared")
    params = game.default_params()
    game.validate(params)
    assert {field.name for field in dataclasses.fields(Params)} == REFERENCE.keys() | {"arrival_modulation"}
    for name, expected in REFERENCE.items():
        np.testing.assert_allclose(getattr(params, name), expected, rtol=1e-6, err_msg=name)
    assert isinstance(params.arrival_modulation, Constant)


@pytest.mark.parametrize("num_nodes", [1, 2, 64])
def test_the_reference_cluster_at_other_sizes(num_nodes):
    game = DLB(num_nodes)
    params = game.default_params()
    game.validate(params)
    np.testing.assert_allclose(params.completion_prob, np.linspace(0.2, 0.9, num_nodes), rtol=1e-6)
    np.testing.assert_allclose(jnp.sum(params.arrival_prob), 0.9 * jnp.sum(params.completion_prob), rtol=1e-5)


def test_load_sets_the_arrivals_of_every_node_by_the_mean_speed():
    params = DLB(2).default_params(load=0.5, completion_prob=[0.2, 1.0])
    np.testing.assert_allclose(params.arrival_prob, [0.3, 0.3], rtol=1e-6)


def test_one_number_stands_for_all_nodes_and_none_for_the_default():
    params = DLB(3).default_params(failure_prob=0.25, heartbeat_phase=[0, 1, 2], horizon=None, repair_prob=None)
    assert params.failure_prob.tolist() == [0.25] * 3
    assert params.heartbeat_phase.tolist() == [0, 1, 2]
    assert params.horizon == 500
    assert params.repair_prob.tolist() == [0] * 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"load": 0.5, "arrival_prob": 0.5}, "load is 0.5 and arrival_prob is given too"),
        ({"load": 1.9}, r"load is 1.9; it must be a finite number in \[0, 1.818"),
        ({"load": -0.1}, r"load is -0.1; it must be a finite number in \[0, "),
        ({"load": float("nan")}, "load is nan"),
        ({"speed": 1}, "speed is not a parameter of dlb; the parameters are load, arrival_prob, "),
    ],
)
def test_default_params_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        DLB().default_params(**fields)


RANGES = dict(
    load=(0.3, 0.8),
    completion_prob=(0.25, 0.75),
    heartbeat_period=(2, 5),
    heartbeat_delay=(0, 2),
    transfer_delay=(1, 3),
    migration_cost=(0.0, 0.5),
    steal_cost=(0.2, 0.3),
    heartbeat_loss=(0.0, 0.4),
    imbalance_weight=(0.5, 1.5),
    holding_weight=(0.0, 0.1),
    drop_cost=(1, 20),
    heartbeat_phase=(3, 9),
    failure_prob=(0.0, 0.01),
    repair_prob=(0.5, 1.0),
    selfishness=(0.0, 1.0),
    horizon=(50, 53),
    initial_load=(0, 4),
    arrival_modulation={"period": (10.0, 30.0), "amplitude": (0.1, 0.9)},
)
OF_THE_LAW = {f"arrival_modulation.{name}": bounds for name, bounds in RANGES["arrival_modulation"].items()}
FLAT = {name: bounds for name, bounds in RANGES.items() if name not in ("load", "arrival_modulation")} | OF_THE_LAW
GAME = DLB(4, max_delay=3, heartbeats="per_link")
BASE = GAME.default_params(horizon=77, selfishness=0.5, arrival_modulation=Sinusoidal(period=20.0))


def draw_many(ranges, size=2000):
    return jax.jit(jax.vmap(jaxdlb.randomised(GAME, BASE, **ranges)))(jax.random.split(jax.random.key(31), size))


@pytest.fixture(scope="module")
def many():
    return draw_many(RANGES)


def test_every_parameter_is_drawn_above_but_the_arrivals_which_follow_from_the_load():
    assert {field.name for field in dataclasses.fields(Params)} == RANGES.keys() - {"load"} | {"arrival_prob"}


@pytest.mark.parametrize("name", FLAT)
def test_random_clusters_fill_their_range_evenly(many, name):
    low, high = FLAT[name]
    values = np.asarray(operator.attrgetter(name)(many)).ravel()
    assert low <= values.min()
    assert values.max() <= high
    if values.dtype == np.int32:
        counts = np.bincount(values - low, minlength=high - low + 1) / values.size
        np.testing.assert_allclose(counts, 1 / (high - low + 1), atol=0.05)
    else:
        quartiles = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
        np.testing.assert_allclose((quartiles - low) / (high - low), [0, 0.25, 0.5, 0.75, 1], atol=0.05)


def test_random_clusters_have_a_load_within_its_range(many):
    load = np.asarray(many.arrival_prob / many.completion_prob.mean(axis=1, keepdims=True))
    assert np.all(load == load[:, :1])
    quartiles = np.quantile(load, [0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(quartiles, [0.3, 0.425, 0.55, 0.675, 0.8], atol=0.025)


def test_random_clusters_differ_by_key_and_in_every_drawn_field(many):
    for name in [*FLAT, "arrival_prob"]:
        values = np.asarray(operator.attrgetter(name)(many))
        assert len(np.unique(values.reshape(len(values), -1), axis=0)) > 1, name
    speeds = np.asarray(many.completion_prob)
    assert len(np.unique(speeds)) > 0.99 * speeds.size
    assert abs(np.corrcoef(many.migration_cost, many.steal_cost)[0, 1]) < 0.1


def test_a_key_gives_the_same_cluster_alone_as_in_a_batch(many):
    draw = jaxdlb.randomised(GAME, BASE, **RANGES)
    for i in (0, 7):
        alone = draw(jax.random.split(jax.random.key(31), 2000)[i])
        for one, batch in zip(jax.tree.leaves(alone), jax.tree.leaves(many), strict=True):
            np.testing.assert_allclose(one, batch[i], rtol=1e-6)


def test_every_random_cluster_is_valid(many):
    for i in range(50):
        GAME.validate(jax.tree.map(lambda leaf, i=i: leaf[i], many))


@pytest.mark.parametrize("ranges", [{}, {"steal_cost": (0.2, 0.3)}])
def test_what_has_no_range_stays_as_in_the_base_cluster(ranges):
    drawn = draw_many(ranges, size=3)
    for name in REFERENCE.keys() - ranges.keys():
        expected = getattr(BASE, name)
        np.testing.assert_array_equal(getattr(drawn, name), np.broadcast_to(expected, (3, *expected.shape)), name)
    np.testing.assert_array_equal(drawn.arrival_modulation.period, [20.0] * 3)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"steal_cost": (0.3, 0.2)}, "steal_cost has the range 0.3 to 0.2; its low end must not exceed its high end"),
        ({"steal_cost": (-1.0, 0.2)}, r"steal_cost\[0\] is -1; it must be a finite number in \[0, 1000000\]"),
        ({"load": (-1.0, 0.2)}, r"load\[0\] is -1; it must be"),
        ({"load": (0.2, float("inf"))}, r"load\[1\] is inf; it must be"),
        ({"completion_prob": (0.0, 0.5)}, r"completion_prob\[0\] is 0; it must be a finite number in \[1e-06, 1\]"),
        ({"heartbeat_period": (0, 4)}, r"heartbeat_period\[0\] is 0; it must be an integer"),
        ({"heartbeat_period": (1.5, 4)}, r"heartbeat_period\[0\] is 1.5; it must be an integer"),
        ({"transfer_delay": (0, 4)}, r"transfer_delay is 4; it must be an integer in \[0, 3\]"),
        ({"heartbeat_delay": (0, 9)}, r"heartbeat_delay is 9; it must be an integer in \[0, 3\]"),
        ({"heartbeat_loss": (0.0, 1.0)}, r"heartbeat_loss\[1\] is 1; it must be a finite number in \[0, 1\)"),
        ({"heartbeat_loss": (0.0, float("nan"))}, r"heartbeat_loss\[1\] is nan"),
        ({"migration_cost": (1, 2, 3)}, r"migration_cost has shape \(3,\); it must have shape \(2,\)"),
        ({"migration_cost": 1}, r"migration_cost has shape \(\); it must have shape \(2,\)"),
    ],
)
def test_ranges_are_refused(ranges, message):
    with pytest.raises(ValueError, match=message):
        jaxdlb.randomised(GAME, BASE, **ranges)


def test_a_range_of_losses_needs_heartbeats_per_link():
    game = DLB(4)
    with pytest.raises(ValueError, match=r"heartbeat_loss is 0\.4; it must be 0 with heartbeats=shared"):
        jaxdlb.randomised(game, heartbeat_loss=(0.0, 0.4))
