"""The damped best response, against one that is found by handing out an input in crumbs."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb.games.edge.best_response import Memory, best_response
from jaxdlb.games.edge.views import Observation, Own, Peer

NODES, CRUMBS = 5, 4000
OPTIONS = {"headroom": 0.9, "width": 0.06, "price": 0.1, "step": 0.25}


def random_view(seed, age):
    """A graph with one-way edges and a lone node; another node has no input."""
    itself = np.eye(NODES, dtype=bool)
    adjacency = (np.random.default_rng(1).random((NODES, NODES)) < 0.6) & ~itself
    adjacency[3] = False
    visible = adjacency | itself
    rng = np.random.default_rng(seed)
    own, peers = np.zeros((NODES, len(Own))), np.zeros((NODES, NODES, len(Peer)))
    own[:, Own.INPUT] = rng.integers(10, 50, NODES) * (np.arange(NODES) != 1)
    load = rng.integers(20, 50, NODES)
    columns = {
        Peer.IS_SELF: itself,
        Peer.IS_NEIGHBOUR: adjacency,
        Peer.SENT: rng.integers(0, 20, (NODES, NODES)),
        Peer.HEARD_LOAD: np.broadcast_to(load, (NODES, NODES)),
        Peer.HEARD_AGE: np.where(itself, 0, age),
        Peer.CAPACITY: np.broadcast_to(rng.uniform(30, 60, NODES), (NODES, NODES)),
    }
    for column, values in columns.items():
        peers[..., column] = np.where(visible, values, 0)
    legal = np.concatenate([visible, np.ones((NODES, 1), bool)], axis=1)
    numbers = (jnp.asarray(each, jnp.float32) for each in (own, peers))
    return Observation(*numbers, jnp.asarray(legal), jnp.asarray(visible))


def in_crumbs(view, from_others, i):
    """Shares of the input of node i, handed out in crumbs, each to the node where it costs least."""
    near = [j for j in range(NODES) if view.visible[i, j]]
    amount, capacity = dict.fromkeys(near, 0.0), np.asarray(view.peers[i, :, Peer.CAPACITY], float)
    crumb = float(view.own[i, Own.INPUT]) / CRUMBS

    def cost(j):
        fill = (from_others[i, j] + amount[j]) / capacity[j]
        slope = 1 / (1 + math.exp(-(fill - OPTIONS["headroom"]) / OPTIONS["width"]))
        return slope + (OPTIONS["price"] if j != i else 0.0)

    costs = {j: cost(j) for j in near}
    for _ in range(CRUMBS):
        cheapest = min(costs, key=costs.__getitem__)
        amount[cheapest] += crumb
        costs[cheapest] = cost(cheapest)
    return np.array([amount.get(j, 0.0) / (crumb * CRUMBS) for j in range(NODES)])


def test_it_moves_towards_the_split_whose_last_request_costs_the_same_everywhere():
    act, memory = jax.jit(lambda *seen: best_response(*seen, **OPTIONS)), Memory.empty(NODES)
    share, from_others = np.eye(NODES), np.zeros((NODES, NODES))
    for seed, age in enumerate((0, 1, 2, 0, 0, 1)):
        view = random_view(seed, age)
        heard = np.maximum(view.peers[..., Peer.HEARD_LOAD] - view.peers[..., Peer.SENT], 0)
        is_new = (age == 0) | np.eye(NODES, dtype=bool)
        from_others = np.where(is_new, heard, from_others)
        memory, (inputs, weights) = act(memory, view)
        assert inputs.tolist() == view.own[:, Own.INPUT].tolist()
        for i in np.flatnonzero(inputs):
            best = in_crumbs(view, from_others, i)
            share[i] += OPTIONS["step"] * (best - share[i])
            np.testing.assert_allclose(weights[i], share[i], atol=3e-3)
        share[1] = weights[1]  # where nothing comes, any shares are as good
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_with_room_at_home_nothing_is_sent_and_beyond_all_room_something_is():
    view = random_view(2, 0)
    act = jax.jit(lambda view: best_response(Memory.empty(NODES), view, **(OPTIONS | {"step": 1.0}))[1][1])
    little, much = (view.replace(own=view.own.at[:, Own.INPUT].set(inputs)) for inputs in (0.5, 5000.0))
    idle = little.replace(peers=little.peers.at[..., Peer.HEARD_LOAD].set(0.0))
    np.testing.assert_allclose(act(idle), np.eye(NODES), atol=1e-4)
    has_neighbours = np.asarray(view.visible).sum(axis=1) > 1
    assert np.all(np.diagonal(act(much))[has_neighbours] < 0.9)
    assert np.isfinite(act(much)).all()
