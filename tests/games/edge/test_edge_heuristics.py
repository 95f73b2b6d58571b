"""The heuristics of the edge: worked by hand, and against the same rules in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb import spaces
from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.heuristics import HEURISTICS
from jaxdlb.games.edge.views import Observation, Own, Peer
from jaxdlb.policies import make_heuristic
from jaxdlb.testing.claims import claim_alike

NODES, STEPS = 5, 6
GAME = Edge(num_nodes=NODES, max_instances=14)
PARAMS = GAME.default_params(instances=8)
ELSEWHERE = ("random", "best_response", "oracle_optimal")  # these are tested
DETERMINISTIC = [name for name in HEURISTICS if name not in ELSEWHERE]
OPTIONS = {
    "local_first": {"headroom": 0.4},
    "spare_capacity": {"headroom": 0.8},
    "oracle_spare_capacity": {"headroom": 0.8},
    "aimd": {"headroom": 0.6, "increase": 10.0, "decrease": 0.9, "tolerance": 0.05},
    "best_response": {"headroom": 0.9, "width": 0.03, "price": 0.08, "step": 0.2},
}
KEY = jax.random.key(0)


def seen(adjacency, inputs, capacity, heard, sent=0.0, rejected=0.0):
    """What agents see, of all that a heuristic looks at."""
    adjacency = np.array(adjacency, bool)
    num_nodes = len(adjacency)
    itself = np.eye(num_nodes, dtype=bool)
    own = np.zeros((num_nodes, len(Own)), np.float32)
    own[:, Own.INPUT], own[:, Own.CAPACITY] = inputs, capacity
    peers = np.zeros((num_nodes, num_nodes, len(Peer)), np.float32)
    peers[..., Peer.IS_SELF], peers[..., Peer.IS_NEIGHBOUR] = itself, adjacency
    peers[..., Peer.SENT], peers[..., Peer.REJECTED] = sent, rejected
    peers[..., Peer.HEARD_INPUT] = np.where(itself, inputs, heard)
    peers[..., Peer.CAPACITY] = capacity
    visible = itself | adjacency
    peers[~visible] = 0
    legal = np.concatenate([visible, np.ones((num_nodes, 1), bool)], axis=1)
    return Observation(*(jnp.asarray(each) for each in (own, peers, legal, visible)))


PATH = seen(
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]],
    inputs=[100, 20, 0],
    capacity=[50, 100, 30],
    heard=[90, 40, 12],
    sent=[[60, 40, 0], [0, 20, 0], [0, 0, 0]],
    rejected=[[9, 4, 0], [0, 1, 0], [0, 0, 0]],
)
BY_HAND = {  # what nodes 0 and 1 do with their requests; nothing comes to node 2
    "local": ([100, 0, 0], [0, 20, 0]),
    "spread": ([50, 50, 0], [20 / 3, 20 / 3, 20 / 3]),
    "proportional": ([100 / 3, 200 / 3, 0], [50 / 9, 100 / 9, 30 / 9]),
    "local_first": ([20 + 80 / 3, 160 / 3, 0], [0, 20, 0]),
    "spare_capacity": ([40, 60, 0], [0, 20, 0]),
    "water_level": ([50 * 14 / 15, 100 - 50 * 14 / 15, 0], [0, 20, 0]),  # node 0 stands at (100 + 40) / (50 + 100)
    "aimd": ([91, 9, 0], [0, 20, 0]),  # 4 of 40 rejected is more than 0.05: the limit falls from 10 to 9
}


@pytest.mark.parametrize("name", BY_HAND)
def test_shares_worked_by_hand(name):
    policy = make_heuristic(HEURISTICS, name)
    _, share = jax.jit(policy.act)(KEY, policy.init(Edge(num_nodes=3)), PATH, None)
    first, second = BY_HAND[name]
    expected = [[each / 100 for each in first] + [0], [each / 20 for each in second] + [0], [0, 0, 1, 0]]
    if name in ("spread", "proportional"):
        np.testing.assert_allclose(share[:2], expected[:2], atol=1e-6)
        assert float(share[2].sum()) == pytest.approx(1) and float(share[2, 3]) == 0
    else:
        np.testing.assert_allclose(share, expected, atol=1e-6)


def claims_of(name, i, view, limits, headroom=0.0):
    """What node i would keep, and what others and itself claim of the rest, as the rules say in words."""
    n, q = float(view.own[i, Own.INPUT]), float(view.own[i, Own.CAPACITY])
    near = [j for j in range(NODES) if view.peers[i, j, Peer.IS_NEIGHBOUR]]
    heard = {j: float(view.peers[i, j, Peer.HEARD_INPUT]) for j in near}
    others = {j: float(view.peers[i, j, Peer.CAPACITY]) for j in near}
    capacity = q + sum(others.values())
    level = (n + sum(heard.values())) / capacity if capacity else 0.0
    return {
        "local": (n, {}),
        "spread": (0.0, dict.fromkeys([i, *near], 1.0)),
        "proportional": (0.0, {i: q} | others),
        "local_first": (headroom * q, {i: q} | others),
        "spare_capacity": (headroom * q, {j: max(headroom * others[j] - heard[j], 0) for j in near}),
        "water_level": (level * q, {j: max(level * others[j] - heard[j], 0) for j in near}),
        "aimd": (headroom * q, {j: limits[i][j] for j in near}),
    }[name.removeprefix("oracle_")]


def answer(view, limits, increase, decrease, tolerance):
    """The limits of `aimd` after what the last step answered."""
    for i, j in np.argwhere(view.peers[..., Peer.IS_NEIGHBOUR]):
        sent, rejected = float(view.peers[i, j, Peer.SENT]), float(view.peers[i, j, Peer.REJECTED])
        if sent > 0:
            limits[i][j] = limits[i][j] * decrease if rejected > tolerance * sent else limits[i][j] + increase


def plain(name, view, limits, headroom=0.0, **steps):
    """The requests that each node sends to each, and refuses; `limits` are changed."""
    if name == "aimd":
        answer(view, limits, **steps)
    amounts = np.zeros((NODES, NODES + 1))
    for i, n in enumerate(np.asarray(view.own[:, Own.INPUT], float)):
        keep, claims = claims_of(name, i, view, limits, headroom)
        whole = sum(claims.values())
        goes = min(max(n - keep, 0), whole) if name == "aimd" else max(n - keep, 0)
        for j, claim in claims.items():
            amounts[i, j] = goes * claim / whole if whole else 0.0
        amounts[i, i] += n - amounts[i].sum()
    return amounts


def random_view(step):
    """Graphs with one-way edges and lone nodes; nodes without capacity, without input; news that is right or wrong."""
    rng = np.random.default_rng(step)
    adjacency = (rng.random((NODES, NODES)) < 0.5) & ~np.eye(NODES, dtype=bool)
    adjacency[step % NODES] &= step % 2 == 0
    sent = rng.integers(0, 30, (NODES, NODES)) * (rng.random((NODES, NODES)) < 0.7)
    return seen(
        adjacency,
        inputs=rng.integers(0, 60, NODES) * (rng.random(NODES) < 0.8),
        capacity=rng.uniform(0, 60, NODES) * (rng.random(NODES) < 0.8),
        heard=rng.integers(0, 60, NODES),
        sent=sent,
        rejected=sent * rng.choice([0.0, 0.02, 0.3], (NODES, NODES)),
    )


VIEWS = [random_view(step) for step in range(STEPS)]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_shares_are_those_of_the_rule_in_plain_python(name):
    policy = make_heuristic(HEURISTICS, name, **OPTIONS.get(name, {}))
    act, carry = jax.jit(policy.act), policy.init(GAME)
    limits = [[10.0] * NODES for _ in range(NODES)]
    for view in VIEWS:
        carry, share = act(KEY, carry, view, None)
        amounts, inputs = plain(name, view, limits, **OPTIONS.get(name, {})), np.asarray(view.own[:, Own.INPUT])
        np.testing.assert_allclose(share * inputs[:, None], amounts, atol=1e-4)
        assert bool(spaces.contains(GAME.action_space, share, view.legal).all())
        assert not share[:, -1].any()
    assert name != "aimd" or np.allclose(carry, limits)


@pytest.mark.parametrize("name", HEURISTICS)
def test_memories_keep_their_shapes_and_types(name):
    policy = make_heuristic(HEURISTICS, name)
    before = jax.eval_shape(lambda: policy.init(GAME))
    after, share = jax.eval_shape(policy.act, KEY, before, VIEWS[0], PARAMS)
    claim_alike(before, after, "memories at the start and after a step must match")
    assert (share.shape, share.dtype, share.weak_type) == ((NODES, NODES + 1), jnp.float32, False)


def test_defaults_are_those_of_the_table():
    for name in HEURISTICS:
        made = make_heuristic(HEURISTICS, name)
        assert getattr(made, "options", {}) == pytest.approx(OPTIONS.get(name, {}))


def test_kinds_and_names():
    kinds = {name: make_heuristic(HEURISTICS, name).kind for name in HEURISTICS}
    unusual = {name: kind for name, kind in kinds.items() if kind != "heuristic"}
    assert unusual == {"oracle_spare_capacity": "oracle", "oracle_optimal": "optimal"}
    assert make_heuristic(HEURISTICS, "local").name == "local"
    assert make_heuristic(HEURISTICS, "local_first", headroom=0.2).name == "local_first(headroom=0.2)"
    assert [len(HEURISTICS[name].members(GAME)) for name in ("local_first", "spare_capacity", "aimd")] == [6, 5, 18]


def test_random_shares_are_uniform_on_the_legal_simplex():
    """Of Dirichlet(1, …, 1) over A entries: means 1/A, variances (A − 1)/(A²(A + 1)); within 5 standard errors."""
    policy, draws = make_heuristic(HEURISTICS, "random"), 4000
    keys = jax.random.split(jax.random.key(1), draws)
    _, share = jax.jit(jax.vmap(policy.act, (0, None, None, None)))(keys, (), VIEWS[0], None)
    legal = np.asarray(VIEWS[0].legal)
    count = legal.sum(axis=1, keepdims=True)
    variance = legal * (count - 1) / (count**2 * (count + 1))
    assert not np.asarray(share)[:, ~legal].any()
    np.testing.assert_allclose(share.sum(axis=-1), 1, atol=1e-5)
    assert np.all(np.abs(share.mean(axis=0) - legal / count) <= 5 * np.sqrt(variance / draws) + 1e-6)
    np.testing.assert_allclose(share.var(axis=0), variance, rtol=0.15, atol=1e-6)


def test_random_draws_do_not_depend_on_how_many_nodes_there_are():
    """All see all: shares are the same draws over another sum, so ratios to refusal's are equal."""
    policy = make_heuristic(HEURISTICS, "random")
    few, many = (
        jax.jit(policy.act)(KEY, (), seen(1 - np.eye(size, dtype=int), np.ones(size), np.ones(size), 0), None)[1]
        for size in (3, NODES)
    )
    np.testing.assert_allclose(few[:, :3] / few[:, -1:], many[:3, :3] / many[:3, -1:], rtol=1e-5)


@pytest.mark.parametrize("name", ["local_first", "spare_capacity", "oracle_spare_capacity", "aimd"])
def test_options_that_are_not_allowed_are_refused_in_a_sentence(name):
    with pytest.raises(ValueError, match=r"^headroom is -0.1; it must be a finite number in \[0, "):
        make_heuristic(HEURISTICS, name, headroom=-0.1)
    with pytest.raises(ValueError, match="tolerance"):
        make_heuristic(HEURISTICS, "aimd", tolerance=1.5)
