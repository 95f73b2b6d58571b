"""The distribution of response times against a scalar reference and closed forms, and percentiles in evaluations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import edge as reference
from test_edge_reference import GAMES, as_plain, played

from jaxdlb import evaluation
from jaxdlb.evaluation.rollouts import utilities
from jaxdlb.games.edge import responses
from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.heuristics import HEURISTICS
from jaxdlb.games.edge.replay import took_at_most
from jaxdlb.policies import make_heuristic
from jaxdlb.recording import record

KEY = jax.random.key(0)

SIZES = {"num_episodes": 2, "num_rounds": 12, "warmup": 0}


@pytest.mark.filterwarnings("ignore:idle_time")
@pytest.mark.parametrize("game", GAMES[1:], ids=lambda game: f"{game.num_nodes}-{game.service_times}")
def test_response_times_are_those_of_the_scalar_reference(game):
    params, _, states, _ = played(game)
    times = responses.TIMES[::7].astype(np.float32)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    lasts = jax.tree.map(lambda leaf: leaf[:, -1], states)
    counts = jax.jit(jax.vmap(game.response_cdf, (0, 0, None)))(lasts, stacked, times)
    for which, each in enumerate(params):
        rules = as_plain(each) | {"service_times": game.service_times}
        after = as_plain(jax.tree.map(lambda leaf, which=which: leaf[which], lasts))
        exact = np.array(reference.took_at_most(rules, after, times.tolist()))
        served = np.sum(after["flow"]) - np.sum(after["rejected"])
        wrong = np.abs(counts[which] - exact) > 2e-6 * served + 1e-6
        assert not np.any(wrong), (which, times[wrong], counts[which][wrong], exact[wrong])


def test_ways_far_longer_than_services_neither_overflow_nor_count_too_early():
    """Services of 0.1 ms at the end of ways of 2 and 20 s: all is over within the grid's next times."""
    served, ways = jnp.full((3, 3), 4.0), jnp.array([[0.0, 2.0, 20.0], [2.0, 0.0, 2.0], [20.0, 2.0, 0.0]])
    params = Edge(num_nodes=3).default_params(warm_time=1e-4, cold_time=2e-4)
    counts = responses.cumulative("exponential", served, ways, jnp.full(3, 0.5), params, jnp.float32(responses.TIMES))
    assert np.all(np.isfinite(counts))
    for time, expected in ((1.9, 12), (2.2, 28), (19.0, 28), (21.5, 36)):
        assert counts[np.searchsorted(responses.TIMES, time)] == pytest.approx(expected, rel=1e-6)


def test_percentiles_of_a_node_that_is_always_warm_are_those_of_the_exponential_law():
    """An instance that is idle for 10⁶ s stays, and 20 of them at a load of 5 reject nothing."""
    game = Edge(num_nodes=1, max_instances=20)
    fields = {"warm_time": 0.5, "cold_time": 0.5, "idle_time": 1e6, "instances": 20, "inputs": {"kind": "constant"}}
    params = game.default_params(**fields, mean_input_limit=0)
    (samples,) = evaluation.evaluate_all(game, [make_heuristic(HEURISTICS, "local")], lambda key: params, KEY, **SIZES)
    for percent in (50, 95, 99):
        exact = -0.5 * math.log(1 - percent / 100)
        assert samples[f"p{percent}"] == pytest.approx(np.full(2, exact), rel=1e-3)


def test_an_evaluation_sums_what_every_counted_step_measures():
    game = Edge(num_nodes=3)
    params = game.default_params(bandwidth={"kind": "wave"}, link_bandwidth=0.5)
    policies = [make_heuristic(HEURISTICS, name) for name in ("local", "spread")]
    summed = evaluation.sums(game, policies, lambda key: params, KEY, **SIZES)
    samples = evaluation.evaluate_all(game, policies, lambda key: params, KEY, **SIZES)
    for each, columns in zip(summed, samples, strict=True):
        assert each["took_at_most"].shape == (2, 512)
        np.testing.assert_allclose(each["took_at_most"][:, -1], each["served"], rtol=1e-5)
        assert (np.diff(each["took_at_most"]) >= -1e-3).all()
        mean = np.sum(np.diff(each["took_at_most"], prepend=0) * responses.TIMES, axis=1) / each["served"]
        np.testing.assert_allclose(mean, columns["response_time"], rtol=0.02)  # each up to its cell's end, 3% wide
        assert (columns["p50"] < columns["p95"]).all() and (columns["p95"] < columns["p99"]).all()


def test_what_is_measured_is_what_the_figure_of_responses_shows():
    game = Edge(num_nodes=3)
    params = game.default_params(bandwidth={"kind": "wave"}, link_bandwidth=0.5)
    recorded = record(game, make_heuristic(HEURISTICS, "spread"), params, KEY, 12)
    states = jax.tree.map(lambda leaf: leaf[1:], recorded.states)
    each = jax.jit(jax.vmap(game.measured, (0, None)))(states, params)["took_at_most"]
    np.testing.assert_allclose(np.sum(each, axis=0), took_at_most(recorded, responses.TIMES), rtol=1e-5, atol=1e-3)


def test_neither_training_nor_tuning_measures_response_times(monkeypatch):
    """A step that measures would fail here, and so would an evaluation; a search of options does not."""
    game = Edge(num_nodes=2)
    monkeypatch.setattr(Edge, "measured", lambda self, state, params: 1 / 0)
    params = game.default_params()
    (scores,) = utilities(game, [make_heuristic(HEURISTICS, "local")], lambda key: params, KEY, **SIZES)
    assert scores.shape == (2,)
    with pytest.raises(ZeroDivisionError):
        evaluation.evaluate_all(game, [make_heuristic(HEURISTICS, "local")], lambda key: params, KEY, **SIZES)
