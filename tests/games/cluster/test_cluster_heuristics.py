"""The rules of the cluster against plain readings of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.games.cluster import Cluster
from jaxdlb.games.cluster.heuristics import HEURISTICS
from jaxdlb.games.cluster.views import Own, Peer

GAME = Cluster(12, 4, 6, 3)
PARAMS = GAME.default_params(arrival_rate=6, memory=40, sleep_after=3, weights=(0.4, 0.3, 0.2, 0.1))
OPTIONS = {"cheapest_in_time": {"margin": 0.8}, "least_cost": {"energy": 2.0, "crowd": 1.5}}


@functools.cache
def observed():
    """Observations in the course of an episode, in which choices are uniform."""

    def advance(carry, key):
        state, timestep = carry
        action = GAME.action_space.sample(key, timestep.observation.legal)
        return GAME.step(key, state, action, PARAMS), timestep.observation

    def play(key):
        start, *keys = jax.random.split(key, 151)
        return jax.lax.scan(advance, GAME.reset(start, PARAMS), jnp.stack(keys))[1]

    return jax.jit(play)(jax.random.key(1))


def choices(name, seeds=1, **options):
    """Of every observation what is chosen, for some keys: [seeds, T, M]."""
    policy = HEURISTICS[name].make(**OPTIONS.get(name, {}) | options)
    return np.asarray(chosen_by(policy, observed(), jax.random.split(jax.random.key(3), seeds)))


@jax.jit
def chosen_by(policy, observations, keys):
    def act(key):
        each = jax.random.split(key, 150)
        return jax.vmap(lambda key, seen: policy.act(key, (), seen, PARAMS)[1])(each, observations)

    return jax.vmap(act)(keys)


def plain_score(name, own, row, weights, class_weight, margin=0.8, energy=2.0, crowd=1.5):
    """The score of a candidate, and whether it is preferred; None where preference plays no part."""
    in_use = row[Peer.RUNNING_CORES] + row[Peer.WAITING_CORES]
    memory_in_use = row[Peer.RUNNING_MEMORY] + row[Peer.WAITING_MEMORY]
    is_free = in_use + row[Peer.TASK_CORES] <= 1 + 1e-6 and row[Peer.FITS]
    size = row[Peer.CORES] / float(PARAMS.cores.max()) * (1 - abs(row[Peer.TASK_CORES] - 0.5))
    rank = int(np.argmax(own[Own.PRODUCTION : Own.BEST_EFFORT + 1]))
    cost = weights[0] * class_weight[rank] * (row[Peer.COMPLETION] > own[Own.DUE])
    cost += weights[1] / 20 * (row[Peer.COMPLETION] + crowd * own[Own.RUN_TIME] * in_use)
    cost += energy * weights[2] * row[Peer.ENERGY] / 3.6 / 0.15
    return {
        "least_loaded": (row[Peer.WORK], None),
        "priority_min_min": (in_use, is_free),
        "capacity_score": (-0.3 * (1 - in_use) - 0.2 * (1 - memory_in_use) - 0.15 * size, is_free),
        "best_fit": (row[Peer.MEMORY] * (1 - memory_in_use), row[Peer.FITS] and not row[Peer.ASLEEP]),
        "earliest_completion": (row[Peer.COMPLETION], None),
        "cheapest_in_time": (row[Peer.ENERGY], row[Peer.COMPLETION] <= margin * own[Own.DUE]),
        "least_cost": (cost, None),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "least_loaded",
        "priority_min_min",
        "capacity_score",
        "best_fit",
        "earliest_completion",
        "cheapest_in_time",
        "least_cost",
    ],
)
def test_the_least_score_among_the_legal_is_chosen(name):
    seen, (chosen,) = observed(), choices(name)
    own, peers, legal = (np.asarray(each, np.float64) for each in (seen.own, seen.peers, seen.legal))
    weights, class_weight = (np.asarray(each, np.float64) for each in (PARAMS.weights, PARAMS.class_weight))
    kinds = {"fallback": 0, "among": 0}
    for t, m in np.argwhere(own[:, :, Own.HAS_TASK] > 0):
        among = np.flatnonzero(legal[t, m])
        told = {k: plain_score(name, own[t, m], peers[t, m, k], weights, class_weight) for k in among}
        preferred = [k for k in among if told[k][1]]
        scores = {k: told[k][0] for k in preferred or among}
        if not preferred and told[among[0]][1] is not None:
            scores = {k: peers[t, m, k, Peer.COMPLETION] for k in among}
        kinds["among" if preferred else "fallback"] += 1
        least, mine = min(scores.values()), scores[chosen[t, m]]
        assert mine == pytest.approx(least, rel=1e-4, abs=1e-5)
    prefers = told[among[0]][1] is not None
    assert min(kinds.values()) > 5 if prefers else kinds["among"] == 0


def test_random_chooses_evenly_among_the_legal():
    legal, drawn = np.asarray(observed().legal), choices("random", seeds=200)
    t, m = next((t, m) for t, m in np.argwhere(legal.sum(-1) == 4))
    counts = np.bincount(drawn[:, t, m], minlength=GAME.num_candidates)
    assert not counts[~legal[t, m]].any()
    assert (np.abs(counts[legal[t, m]] - 50) < 4.5 * 50**0.5).all()


def test_the_best_of_so_many_candidates():
    seen = observed()
    legal, estimate = np.asarray(seen.legal), np.asarray(seen.peers[..., Peer.COMPLETION])
    t, m = next((t, m) for t, m in np.argwhere(legal.all(-1)) if len(set(estimate[t, m])) == 6)
    place = np.argsort(np.argsort(estimate[t, m]))
    for d, shares in {1: [1 / 6] * 6, 2: [5 / 15, 4 / 15, 3 / 15, 2 / 15, 1 / 15, 0], 8: [1, 0, 0, 0, 0, 0]}.items():
        counts = np.bincount(place[choices("power_of_d", seeds=300, d=d)[:, t, m]], minlength=6)
        error = 4.5 * np.sqrt(300 * np.array(shares) * (1 - np.array(shares)))
        assert (np.abs(counts - 300 * np.array(shares)) <= error).all()


def test_nodes_take_turns_in_proportion_to_their_capacity():
    """With all nodes as candidates, and as long as all are able, nobody is more than two turns off."""
    game = Cluster(5, 2, 5, 64)
    params, shapes = game.default_params(memory=64), game.observation_shapes
    policy = HEURISTICS["weighted_round_robin"].make()

    def advance(credit, at):
        key, has = at
        seen = jax.tree.map(lambda each: jnp.ones(each.shape, each.dtype), shapes)
        seen = seen.replace(own=seen.own * has[:, None], candidates=seen.candidates * jnp.arange(5))
        credit, action = policy.act(key, credit, seen, params)
        return credit, jnp.where(has, action, -1)

    has = jax.random.bernoulli(jax.random.key(0), 0.7, (60, 2))
    credit, nodes = jax.lax.scan(advance, policy.init(game), (jax.random.split(jax.random.key(1), 60), has))
    assert has.any(axis=1).mean() < 1 and (np.asarray(nodes) >= 0).sum() == has.sum()
    counts = np.bincount(np.asarray(nodes)[has], minlength=5)
    capacity = np.asarray(params.speed * params.cores)
    assert (np.abs(counts - counts.sum() * capacity / capacity.sum()) <= 2).all()
    np.testing.assert_allclose(credit, counts.sum() * capacity / capacity.sum() - counts, atol=1e-4)


def test_names_tell_options_and_impossible_ones_are_refused():
    assert HEURISTICS["least_cost"].make(crowd=2).name == "least_cost(crowd=2, energy=1)"
    assert HEURISTICS["power_of_d"].make().name == "power_of_d(d=4)"
    for name, options in {
        "power_of_d": {"d": 0},
        "least_cost": {"crowd": -1},
        "cheapest_in_time": {"margin": 0},
    }.items():
        (option,) = options
        with pytest.raises(ValueError, match=rf"^{option} is {options[option]}"):
            HEURISTICS[name].make(**options)
