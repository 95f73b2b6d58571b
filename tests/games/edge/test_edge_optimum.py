"""The optimum of a step against linear programmes, and above whatever anybody plays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import edge as reference
from scipy.optimize import linprog

from jaxdlb.games.edge import dynamics
from jaxdlb.games.edge.game import Edge
from jaxdlb.games.edge.heuristics import HEURISTICS
from jaxdlb.games.edge.optimum import LossTable, optimum, pooled_bound, shares_of
from jaxdlb.games.edge.views import Observation, Own, Peer
from jaxdlb.policies import make_heuristic

NODES, INSTANCES, CASES = 4, 14, 24
GAME = Edge(num_nodes=NODES, max_instances=INSTANCES)
DEFAULTS = jax.device_get(GAME.default_params(instances=8))
RNG = np.random.default_rng(12)


def network(rng=RNG, **fields):
    """Random nodes on a random graph, with one-way edges, lone nodes and nodes without instances, at random costs."""
    warm = rng.uniform(0.1, 0.6, NODES)
    cold = warm * rng.uniform(1, 3, NODES)
    drawn = {
        "adjacency": (rng.random((NODES, NODES)) < 0.5) & ~np.eye(NODES, dtype=bool),
        "warm_time": warm,
        "cold_time": cold,
        "idle_time": cold * rng.uniform(8, 60, NODES),
        "instances": rng.integers(0, INSTANCES + 1, NODES),
        "refusal_cost": rng.choice([0.0, 0.3, 1.0]),
        "loss_cost": rng.choice([0.0, 0.5, 3.0]),
        "forwarding_cost": rng.choice([0.0, 0.05, 0.3]),
    } | fields
    arrays = {name: np.asarray(value, getattr(DEFAULTS, name).dtype) for name, value in drawn.items()}
    return dataclasses.replace(DEFAULTS, **arrays)


@jax.jit
@jax.vmap
def solve(inputs, params, table):
    """The optimum and the table that it rests on, what the game makes of its shares, and the pooled bound."""
    table = table.fitted(params)
    best = optimum(inputs, table, params)
    weights = dynamics.weigh(shares_of(best), params.adjacency)
    return best, table, *dynamics.share_out(inputs, weights), pooled_bound(inputs, params, INSTANCES)


def stacked(cases):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *cases)


def lost_at(params, j, load):
    """The mean rejections of node j, in double precision."""
    times = (float(each[j]) for each in (params.warm_time, params.cold_time, params.idle_time))
    return load * reference.service(load, *times, int(params.instances[j]))[0]


def allowed(params):
    """Where requests of node i may go: to itself and its neighbours."""
    return params.adjacency | np.eye(NODES, dtype=bool)


def by_linear_programme(n, params):
    """The highest utility per request: one variable for each request more at a node, each at the cost that it adds."""
    total = int(n.sum())
    lost = np.array([[lost_at(params, j, y) for y in range(total + 1)] for j in range(NODES)])
    steps = (1 + params.loss_cost) * np.diff(lost, axis=1)  # [N, total]
    arcs = np.argwhere(np.concatenate([allowed(params), np.ones((NODES, 1))], axis=1))
    price = [(1 + params.refusal_cost) if j == NODES else params.forwarding_cost * (i != j) for i, j in arcs]
    conserved = np.zeros((2 * NODES, len(arcs) + steps.size))
    for column, (i, j) in enumerate(arcs):
        conserved[i, column] = 1
        if j < NODES:
            conserved[NODES + j, column] = 1
    for j in range(NODES):
        start = len(arcs) + j * total
        conserved[NODES + j, start : start + total] = -1
    bounds = [(0, None)] * len(arcs) + [(0, 1)] * steps.size
    right = np.concatenate([n, np.zeros(NODES)])
    found = linprog(np.concatenate([price, steps.ravel()]), A_eq=conserved, b_eq=right, bounds=bounds)
    assert found.success
    return (total - found.fun) / max(total, 1), lost


CLUSTERS = [network() for _ in range(CASES)]
INPUTS = RNG.integers(0, 41, (CASES, NODES)) * (RNG.random((CASES, NODES)) < 0.9)
FEW = {"warm_time": 0.02, "cold_time": 0.05, "idle_time": 60.0}
SPECIAL = {  # by what is special about them: fields, and inputs
    "no instances": ({"instances": 0}, [10, 0, 3, 40]),
    "no neighbours": ({"adjacency": False}, [40, 30, 20, 10]),
    "no requests": ({}, [0, 0, 0, 0]),
    "loads beyond the table": (
        {name: np.full(NODES, value) for name, value in FEW.items()}
        | {"adjacency": [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], "instances": [14, 8, 14, 0]}
        | {"refusal_cost": 1.0, "loss_cost": 0.0, "forwarding_cost": 0.05},
        [820, 560, 530, 0],
    ),
}
for fields, inputs in SPECIAL.values():
    whole = {name: np.broadcast_to(value, getattr(DEFAULTS, name).shape) for name, value in fields.items()}
    CLUSTERS.append(network(**whole))
    INPUTS = np.concatenate([INPUTS, [inputs]])


NO_TABLES = stacked([LossTable.empty(NODES, INSTANCES)] * len(CLUSTERS))


def solve_all(inputs=INPUTS, clusters=CLUSTERS, tables=NO_TABLES):
    return jax.device_get(solve(jnp.asarray(inputs, jnp.int32), stacked(clusters), tables))


@pytest.fixture(scope="module")
def solved():
    return solve_all()


def cost_of(flow, refused, lost, params):
    forwarded = flow.sum() - np.trace(flow)
    at_nodes = sum(lost[j][load] for j, load in enumerate(flow.sum(axis=0)))
    return (
        (1 + float(params.loss_cost)) * at_nodes
        + float(params.forwarding_cost) * forwarded
        + (1 + float(params.refusal_cost)) * refused.sum()
    )


def test_the_optimum_is_that_of_a_linear_programme(solved):
    """Utilities within 10⁻⁵, as float32 has it; and the flow is one that is allowed, and has this utility."""
    best, *_ = solved
    for case, (n, params) in enumerate(zip(INPUTS, CLUSTERS, strict=True)):
        utility, lost = by_linear_programme(n, params)
        flow, refused = best.flow[case], best.refused[case]
        assert flow.min() >= 0 and refused.min() >= 0
        assert not flow[~allowed(params)].any()
        np.testing.assert_array_equal(flow.sum(axis=1) + refused, n)
        assert best.utility[case] == pytest.approx(utility, abs=1e-5)
        exactly = (n.sum() - cost_of(flow, refused, lost, params)) / max(n.sum(), 1)
        assert exactly == pytest.approx(utility, abs=1e-5)
        assert best.is_bound[case]
    assert 5 <= (best.refused[:CASES].sum(axis=1) > 0).sum() <= CASES - 5
    assert (best.flow[:CASES].sum(axis=(1, 2)) > np.trace(best.flow[:CASES], axis1=1, axis2=2)).sum() >= 10
    assert best.flow[-1].sum(axis=0).max() > 512


@pytest.mark.parametrize("price", [3e-8, 1e6])
def test_so_it_is_where_forwarding_costs_hardly_anything_or_more_than_all_else(price):
    """At the lower price, float32 tells paths of different lengths apart at some loads and not at others."""
    rng, price = np.random.default_rng(5), np.float32(price)
    clusters = [network(rng, forwarding_cost=price) for _ in CLUSTERS]
    inputs = rng.integers(0, 60, INPUTS.shape)
    utilities = [by_linear_programme(n, params)[0] for n, params in zip(inputs, clusters, strict=True)]
    np.testing.assert_allclose(solve_all(inputs, clusters)[0].utility, utilities, atol=1e-5)


def test_its_shares_give_back_just_its_flow(solved):
    best, _, flow, refused, _ = solved
    np.testing.assert_array_equal(flow, best.flow)
    np.testing.assert_array_equal(refused, best.refused)


def test_shares_give_back_any_flow_of_so_few_requests_that_weights_tell_them_apart():
    """Up to 2¹⁵ divided by one more than the places that they go to: here, the five of four nodes and refusal."""
    amounts = RNG.multinomial(2**15 // (NODES + 2) - 1, RNG.dirichlet(np.full(NODES + 1, 0.3), (500, NODES)))
    amounts[::2] = RNG.multinomial(150, RNG.dirichlet(np.ones(NODES + 1), (250, NODES)))
    everywhere = ~jnp.eye(NODES, dtype=bool)

    @jax.jit
    @jax.vmap
    def played(amount):
        best = dynamics.weigh(amount / jnp.sum(amount, axis=1, keepdims=True), everywhere)
        return dynamics.share_out(jnp.sum(amount, axis=1), best)

    flow, refused = played(jnp.asarray(amounts, jnp.int32))
    np.testing.assert_array_equal(jnp.concatenate([flow, refused[..., None]], axis=-1), amounts)


def test_a_pool_of_all_instances_bounds_the_optimum_where_times_are_equal(solved):
    best, *_, pooled = solved
    equal = np.array([len({float(each) for each in params.warm_time}) == 1 for params in CLUSTERS])
    assert equal.any() and np.array_equal(np.isnan(pooled), ~equal)
    assert np.all(pooled[equal] >= best.utility[equal] - 1e-6)


def test_of_one_node_the_pool_is_the_optimum_and_the_oracle_serves_the_best_number():
    game = Edge(num_nodes=1, max_instances=INSTANCES)
    params = game.default_params(instances=9, loss_cost=3.0, refusal_cost=0.2)
    policy = make_heuristic(HEURISTICS, "oracle_optimal")
    table = policy.init(game)

    @jax.jit
    def play(inputs, table):
        own = jnp.zeros((1, len(Own))).at[:, Own.INPUT].set(inputs)
        observation = Observation(own, jnp.zeros((1, 1, len(Peer))), jnp.ones((1, 2), bool), jnp.ones((1, 1), bool))
        return *policy.act(jax.random.key(0), table, observation, params), pooled_bound(inputs, params, INSTANCES)

    for n in (0, 12, 40):
        table, share, pooled = play(jnp.array([n], jnp.int32), table)
        costs = [4 * y * reference.service(y, 0.5, 1.25, 60.0, 9)[0] + 1.2 * (n - y) for y in range(n + 1)]
        served = round(n * float(share[0, 0]))
        assert costs[served] == pytest.approx(min(costs), abs=1e-5)
        assert float(pooled) == pytest.approx((n - min(costs)) / max(n, 1), abs=1e-5)
        assert float(share.sum()) == pytest.approx(1)
    assert 0 < served < n


def test_nobody_plays_above_the_optimum():
    """All other heuristics, random actions among them, in the same random networks for three steps."""
    policies = [make_heuristic(HEURISTICS, name) for name in HEURISTICS if name != "oracle_optimal"]

    @jax.jit
    @jax.vmap
    def utilities(key, params):
        state, timestep = GAME.reset(key, params)
        first = ([policy.init(GAME) for policy in policies], state, timestep.observation)

        def play(carry, key):
            memories, state, observation = carry
            together = zip(policies, memories, strict=True)
            memories, shares = zip(
                *(policy.act(key, memory, observation, params) for policy, memory in together), strict=True
            )
            states, timesteps = jax.vmap(GAME.step, (None, None, 0, None))(key, state, jnp.stack(shares), params)
            after, observation = jax.tree.map(lambda leaf: leaf[0], (states, timesteps.observation))
            return (list(memories), after, observation), (state.input_rate, timesteps.metrics["utility"])

        return jax.lax.scan(play, first, jax.random.split(key, 3))[1]

    keys = jax.random.split(jax.random.key(2), len(CLUSTERS))
    inputs, played = jax.device_get(
        utilities(keys, stacked(CLUSTERS))
    )  # [cases, steps, N] and [cases, steps, policies]
    best = np.stack([solve_all(inputs[:, step])[0].utility for step in range(3)], axis=1)
    assert played.shape == (*best.shape, len(policies)) and np.isfinite(played).all()
    assert np.all(played <= best[..., None] + 1e-5)
    assert np.mean(played < best[..., None] - 1e-3) > 0.5
    assert np.mean(played.max(axis=-1) > best - 0.1) > 0.3  # and somebody comes near it


def test_where_rejections_are_not_convex_or_lateness_has_a_price_there_is_no_bound(solved):
    _, tables, *_ = solved
    at = np.zeros_like(tables.lost)
    at[:, 2, 40] = 1
    bent = dataclasses.replace(tables, lost=tables.lost + 10 * at)
    requests = INPUTS.sum(axis=1)
    np.testing.assert_array_equal(solve_all(tables=bent)[0].is_bound, requests < 40)
    late = [dataclasses.replace(each, lateness_cost=np.float32(0.1)) for each in CLUSTERS]
    assert not solve_all(clusters=late)[0].is_bound.any()


def test_a_table_is_made_anew_for_other_nodes_alone(solved):
    _, tables, *_ = solved
    for j in range(NODES):
        expected = [lost_at(CLUSTERS[0], j, load) for load in (1, 20, 511)]
        np.testing.assert_allclose(tables.lost[0, j, [1, 20, 511]], expected, rtol=1e-5, atol=1e-5)
    marked = dataclasses.replace(tables, lost=tables.lost + 1)  # kept as it is, right or wrong
    half = len(CLUSTERS) // 2
    mixed = CLUSTERS[:half] + CLUSTERS[:half]
    after = solve_all(clusters=mixed, tables=marked)[1].lost
    np.testing.assert_array_equal(after[:half], marked.lost[:half])
    np.testing.assert_array_equal(after[half:], tables.lost[:half])
