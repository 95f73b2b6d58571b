"""What holds in every step of every cluster, whatever is played and however extreme its parameters are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.pods_episodes import CLUSTERS, Played, hostile_actions, play_all

from jaxdlb import parameters, ranges
from jaxdlb.games.pods import Pods, dynamics

HARSH = (  # each with parameters at both ends of what is allowed, and between them
    Pods(3, "instant", None, "cyclic", "cost", queue_capacity=4, max_arrivals=6, history=1, percentiles=True),
    Pods(3, "levels", None, "priority", "marlise_2", queue_capacity=4, max_arrivals=6, history=1),
)


def harsh_cluster(game, draws):
    """Parameters of which about half are drawn from all that is allowed, its ends above all, as far as they agree."""
    params = game.default_params(join_prob=0.5)
    for path, _, _, declaration, value in parameters.walk(params):
        if declaration.laws is not None or not jnp.issubdtype(value.dtype, jnp.floating) or draws.random() < 0.5:
            continue
        allowed = declaration.within(game)
        low, high = max(allowed.low, 1e-30 if allowed.low_open else 0.0), allowed.high
        between = np.exp(draws.uniform(np.log(max(low, 1e-6)), np.log(high), value.shape))
        entries = np.where(draws.random(value.shape) < 0.5, draws.choice([low, high], value.shape), between)
        other = ranges.replaced(params, path, jnp.asarray(entries, jnp.float32))
        try:
            game.validate(other)
        except ValueError:  # another parameter forbids that
            continue
        params = other
    return params


@functools.cache
def of(game) -> Played:
    draws = np.random.default_rng(HARSH.index(game))
    clusters = [harsh_cluster(game, draws) for _ in range(CLUSTERS // 2)]
    return play_all(game, clusters * 2, hostile_actions(game, draws))


def each(made, name):
    """A parameter of all clusters, with an axis for steps."""
    return np.stack([np.asarray(getattr(params, name)) for params in made.params])[:, None]


every_game = pytest.mark.parametrize("game", HARSH, ids=lambda game: f"{game.action}-{game.reward}")


@every_game
def test_every_request_is_accounted_for(game):
    metrics = of(game).timestep.metrics
    came, *gone = (metrics[name].astype(int) for name in ("arrivals", "completions", "drops", "evictions"))
    np.testing.assert_array_equal(np.cumsum(came - sum(gone), axis=1), metrics["held"])
    np.testing.assert_array_equal(of(game).after.held.sum(-1), metrics["held"])
    for name in ("arrivals", "violations"):
        np.testing.assert_array_equal(metrics[f"class_{name}"].sum(-1), metrics[name])
    if game.percentiles:
        np.testing.assert_array_equal(metrics["response_histogram"].sum(-1), metrics["completions"])


@every_game
def test_no_request_violates_twice(game):
    metrics = of(game).timestep.metrics
    assert (np.cumsum(metrics["violations"], axis=1) <= np.cumsum(metrics["arrivals"], axis=1)).all()


@every_game
def test_limits_keep_the_budget_and_their_bounds(game):
    made = of(game)
    budget, present = each(made, "budget") * (1 + 1e-6), made.after.present
    for limits in (made.before.limit, made.after.limit):
        assert (limits.sum(-1, dtype=np.float64) <= budget).all()
    assert (made.timestep.metrics["provisioned"] <= budget).all()
    limit = made.after.limit
    assert (limit >= each(made, "min_limit") * (1 - 1e-6))[present].all()
    assert (limit <= each(made, "max_limit") * (1 + 1e-6))[present].all()


@every_game
def test_no_pod_works_faster_than_it_can_nor_longer_than_its_tokens_last(game):
    made = of(game)
    usage, bucket = made.after.usage, each(made, "burst")[..., None] * made.after.limit
    assert (usage <= each(made, "max_usage") * (1 + 1e-6)).all()
    assert (made.after.tokens >= 0).all() and (made.after.tokens <= bucket * (1 + 1e-6)).all()


@every_game
def test_what_is_held_stands_in_order_and_nothing_behind_it(game):
    state = of(game).after
    behind = np.arange(game.queue_capacity) >= state.held[..., None]
    assert (state.held <= game.queue_capacity).all()
    assert not state.age[behind].any() and not state.work[behind].any()
    assert (np.diff(state.age, axis=-1) <= 0).all()
    assert (state.age[~behind] > 0).all() and (state.work >= 0).all()


@every_game
def test_an_absent_pod_has_nothing_and_sees_nothing(game):
    made = of(game)
    absent, seen = ~made.after.present, made.timestep.observation
    for name in ("limit", "held", "age", "work", "tokens", "usage", "percent", "history"):
        assert not getattr(made.after, name)[absent].any(), name
    assert not seen.own[absent].any()
    if game.choices:
        keeps = np.arange(game.choices) == game.choices // 2
        assert (seen.legal[absent] == keeps).all() and seen.legal[~absent].all()
    else:
        np.testing.assert_array_equal(seen.legal, made.after.present)


@every_game
def test_all_numbers_are_finite(game):
    made = of(game)
    for path, leaf in jax.tree_util.tree_leaves_with_path((made.after, made.timestep)):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


def test_every_policy_meets_the_same_requests_under_the_same_key():
    """Without feedback. Their work is what is done and what is still held, up to float32's rounding."""
    game = Pods(3, queue_capacity=64, max_arrivals=32)
    params = game.default_params(rate=8, work_shape=2, budget=1e6, min_limit=300, initial_limit=500, step_size=200)
    step, start = jax.jit(game.step), game.reset(jax.random.key(0), params)[0]
    met = []
    for ask in (-1.0, 0.0, 1.0):
        state, counts, done = start, [], 0.0
        for key in jax.random.split(jax.random.key(1), 20):
            state, timestep = step(key, state, jnp.full((3, 1), ask), params)
            counts.append(int(timestep.metrics["arrivals"]))
            done += float(timestep.metrics["usage"])
        met.append((counts, done + float(state.work.sum())))
        assert int(timestep.metrics["drops"]) == 0
    assert met[0][0] == met[1][0] == met[2][0]
    np.testing.assert_allclose([work for _, work in met], met[0][1], rtol=1e-5)


def test_what_comes_to_a_pod_does_not_depend_on_how_many_there_are():
    of_two = []
    for pods in (2, 5):
        game = Pods(pods, max_arrivals=32, queue_capacity=8)
        params = game.default_params(rate=8, demand="constant", budget=1000)
        state, _ = game.reset(jax.random.key(0), params)
        outcome = jax.jit(dynamics.serve, static_argnums=4)(jax.random.key(1), state, state.limit, params, 32)
        of_two.append([leaf[..., :2] for leaf in jax.tree.leaves((outcome.response, outcome.done, outcome.arrivals))])
    for one, other in zip(*of_two, strict=True):
        np.testing.assert_array_equal(one, other)
    arrivals = one
    assert arrivals[0] != arrivals[1]


def test_derivatives_by_actions_and_parameters_are_numbers():
    """Of all that a step makes, with pods that are idle, unbounded, absent, at their bounds or denied what they ask."""
    game = Pods(4, queue_capacity=4, max_arrivals=16)
    params = game.default_params(
        rate=[0, 4, 4, 4], max_limit=[1000, 100, 1000, 1000], joins_at=[0, 0, 0, 5], selfishness=1, violation_cost=0
    )
    state, _ = game.reset(jax.random.key(0), params)

    @jax.jit
    @jax.grad
    def slopes(given, budget, of_all, of_rewards):
        action, work_mean, max_usage, burst = given
        changed = params.replace(work_mean=work_mean, max_usage=max_usage, burst=burst, budget=budget)
        after, timestep = game.step(jax.random.key(1), state, action, changed)
        made = jax.tree.leaves((after, timestep.observation, timestep.metrics, timestep.reward))
        total = sum(jnp.sum(leaf) for leaf in made if jnp.issubdtype(leaf.dtype, jnp.floating))
        return of_all * total + of_rewards @ timestep.reward

    for ask in (-1.0, -0.3, 0.0, 0.3):
        for budget in (200.0, 330.0, 1e6):
            given = jnp.full((4, 1), ask), params.work_mean, params.max_usage, params.burst
            for leaf in jax.tree.leaves(slopes(given, budget, 1.0, jnp.zeros(4))):
                assert jnp.isfinite(leaf).all(), (ask, budget)
    by_action = [slopes(given, 1e6, 0.0, reward)[0][:, 0] for reward in jnp.eye(4)]
    expected = np.diag([-0.05, 0, -0.05, 0])  # 50 mc are 0.05 core-seconds; one is at its greatest limit, one absent
    np.testing.assert_allclose(by_action, expected, atol=1e-6)
