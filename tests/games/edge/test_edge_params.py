"""The reference network, what is refused of others, and random ones."""

import dataclasses
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb import ranges
from jaxdlb.games.edge.dynamics import whole_inputs
from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.generator import SHORTHANDS

GAME = Edge(num_nodes=3)


def test_the_reference_network():
    params = Edge().default_params()
    assert params.instances.tolist() == [16, 48, 21, 43, 25, 39, 30, 34]
    assert np.flatnonzero(params.adjacency[0]).tolist() == [1, 2, 6, 7]
    assert (params.adjacency == params.adjacency.T).all()
    capacity = np.sum(np.asarray(params.instances) / np.asarray(params.warm_time))
    assert 8 * 52 / capacity == pytest.approx(0.81, abs=0.005)
    assert Edge(num_nodes=1).default_params().adjacency.tolist() == [[False]]


LOOP = np.eye(3, dtype=bool)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"adjacency": LOOP}, "adjacency[0, 0] is True; it must be False, since a node keeps by itself"),
        ({"adjacency": [[0, 0.5, 0], [0, 0, 0], [0, 0, 0]]}, "adjacency[0, 1] is 0.5; it must be true or false"),
        ({"adjacency": np.zeros((2, 2))}, "adjacency has shape (2, 2); it must have shape (3, 3)"),
        ({"cold_time": [1.25, 0.4, 1]}, "cold_time[1] is 0.4; it must be at least warm_time[1], which is 0.5"),
        ({"warm_time": [0.5, 0, 1]}, "warm_time[1] is 0; it must be a finite number in [1e-12, 1e+12]"),
        ({"idle_time": np.inf}, "idle_time is inf; it must be a finite number in [1e-12, 1e+12]"),
        ({"instances": [1, -1, 2]}, "instances[1] is -1; it must be an integer in [0, 48]"),
        ({"instances": [1, 1.5, 2]}, "instances[1] is 1.5; it must be an integer in [0, 48]"),
        ({"instances": 49}, "instances is 49; it must be an integer in [0, 48]"),
        ({"input_max": 30_000}, "input_max is 30000; it must be at most 26754 with 3 nodes (N · max² < 2³¹)"),
        ({"input_min": 200}, "input_min is 200; it must be at most input_max, which is 150"),
        (
            {"input_min": 5, "mean_input_limit": 4},
            "mean_input_limit is 4; it must be 0, for none, or at least input_min, which is 5",
        ),
        ({"forwarding_cost": -0.1}, "forwarding_cost is -0.1; it must be a finite number in [0, 1000000]"),
        ({"link_sharing": 1.1}, "link_sharing is 1.1; it must be a finite number in [0, 1]"),
        ({"selfishness": 2}, "selfishness is 2; it must be a finite number in [0, 1]"),
        ({"heartbeat_delay": 3}, "heartbeat_delay is 3; it must be an integer in [0, 2]"),
        ({"cycles": 5}, "cycles is 5; it must be an integer in [1, 4]"),
        ({"cold_ratio": 0.5}, "cold_ratio is 0.5; it must be a finite number in [1, 1000000]"),
        ({"load": 0}, "load is 0; it must be a finite number in (0, 1000]"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(fields, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        GAME.default_params(**fields)


@pytest.mark.parametrize("sizes", [{"rejections": "floored"}, {"service_times": "normal"}, {"num_nodes": 0}])
def test_unknown_choices_and_sizes_are_refused(sizes):
    (name,) = sizes
    with pytest.raises(ValueError, match=f"^{name} is "):
        Edge(**sizes)


def test_unusual_networks_are_accepted():
    nobody = np.zeros((3, 3), bool)
    one_way = np.triu(np.ones((3, 3), bool), 1)
    for fields in ({"adjacency": nobody}, {"instances": 0}, {"input_max": 1, "input_min": 0}, {"adjacency": one_way}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GAME.default_params(**fields)


def test_where_the_service_model_is_not_trusted_a_warning_names_the_node():
    with pytest.warns(UserWarning, match=re.escape("idle_time[1] is 9; the service model is exact enough from 10 on")):
        GAME.default_params(idle_time=[60, 9, 60])


def test_inputs_are_whole_and_within_their_bounds_and_their_mean_within_its_limit():
    params = GAME.default_params(input_min=2, input_max=90, mean_input_limit=30)
    assert whole_inputs(jnp.array([0.5, 2.5, 3.5]), params).tolist() == [2, 2, 4]  # half to even
    assert whole_inputs(jnp.array([-5.0, 1e30, -jnp.inf]), params).tolist() == [2, 86, 2]
    above_all = GAME.default_params(input_max=90, mean_input_limit=2**31 - 1)
    assert whole_inputs(jnp.array([80.0, 90.0, 70.0]), above_all).tolist() == [80, 90, 70]
    free = GAME.default_params(input_max=90, mean_input_limit=0)
    assert whole_inputs(jnp.array([80.0, 1e30, 90.4]), free).tolist() == [80, 90, 90]


def test_a_limit_that_was_drawn_below_the_least_is_the_least():
    params = GAME.default_params(input_max=90, mean_input_limit=50)
    drawn = dataclasses.replace(params, input_min=jnp.int32(60))
    assert jax.jit(whole_inputs)(jnp.array([80.0, 70.0, 0.0]), drawn).tolist() == [60, 60, 60]


def test_random_graphs_are_unions_of_cycles():
    game = Edge(num_nodes=9)
    draw = ranges.sampler(game.default_params(), {"cycles": (1, 3)}, SHORTHANDS, validate=game.validate)
    adjacency = np.asarray(jax.vmap(lambda key: draw(key).adjacency)(jax.random.split(jax.random.key(0), 40)))
    degrees = adjacency.sum(-1)
    assert (adjacency == adjacency.swapaxes(1, 2)).all() and not np.diagonal(adjacency, axis1=1, axis2=2).any()
    assert degrees.min() == 2 and degrees.max() <= 6
    assert {2, 4, 6} >= {int(each.max()) for each in degrees if each.min() == each.max()}
    for each in adjacency:
        assert (np.linalg.matrix_power(each.astype(int) + np.eye(9, dtype=int), 9) > 0).all()  # connected
    assert len({each.tobytes() for each in adjacency}) == 40


def test_links_are_drawn_alike_in_both_directions_and_idle_times_once():
    game = Edge(num_nodes=5)
    bounds = {"access_delay": (0.0, 1.0), "idle_time": (30, 90), "cold_ratio": (1, 5)}
    params = ranges.sampler(game.default_params(), bounds, SHORTHANDS, validate=game.validate)(jax.random.key(3))
    delay, ratio = np.asarray(params.access_delay), np.asarray(params.cold_time / params.warm_time)
    assert (delay == delay.T).all() and len(np.unique(delay)) == 15
    assert len(np.unique(params.idle_time)) == 1
    assert len(np.unique(ratio)) == 5 and (ratio >= 1).all() and (ratio <= 5).all()


def test_the_load_scales_inputs_and_their_limits():
    game = Edge()
    params, reference = game.default_params(load=0.4), game.default_params()
    capacity = float(np.mean(np.asarray(params.instances) / np.asarray(params.warm_time)))
    assert int(params.mean_input_limit) == int(0.4 * capacity)
    factor = int(params.mean_input_limit) / 52
    np.testing.assert_allclose(params.inputs.mean, reference.inputs.mean * factor, rtol=1e-6)
    assert int(params.input_max) == np.ceil(150 * factor)
    most = int(game.default_params(load=1000).input_max)
    assert 8 * most**2 < 2**31 <= 8 * (most + 1) ** 2
