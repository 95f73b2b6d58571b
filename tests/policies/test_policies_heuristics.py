"""Every heuristic against its rule in plain Python: the distribution of its choices, observation by observation."""

import dataclasses
import itertools
import math
from collections import Counter
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.mechanics.peer_view import Own, Peer, observe
from jaxdlb.policies import NODE_HEURISTICS

NUM_NODES = 5
NUM_KEYS = 3000


def random_observation(seed, num_nodes=NUM_NODES):
    """Small loads and few speeds, so that ties abound; speeds are powers of 2, so that delays are exact.

    Every other one is as a game might have it in which an agent may choose some of the nodes alone.
    """
    rng = np.random.default_rng(seed)
    load = rng.integers(0, 4, num_nodes)
    alive = rng.random(num_nodes) < 0.8
    observation = observe(
        load=jnp.asarray(load, jnp.int32),
        arrived=jnp.asarray(alive & (rng.random(num_nodes) < 0.8)),
        completed=jnp.asarray(alive & (load > 0) & (rng.random(num_nodes) < 0.8)),
        rate=jnp.asarray(rng.choice([0.25, 0.5, 1.0], num_nodes), jnp.float32),
        alive=jnp.asarray(alive),
        heard_load=jnp.asarray(rng.integers(0, 4, (num_nodes, num_nodes)), jnp.int32),
        heard_age=jnp.asarray(rng.integers(0, 9, (num_nodes, num_nodes)), jnp.int32),
    )
    if seed % 2:
        return observation
    near = jnp.asarray(rng.random((num_nodes, num_nodes)) < 0.6) | jnp.eye(num_nodes, dtype=bool)
    return observation.replace(legal=jax.tree.map(lambda mask: mask & near, observation.legal))


class Node:
    """What one node knows, as plain numbers, when it makes one of its choices among the `allowed` nodes."""

    def __init__(self, observation, i, legal):
        self.i, self.n = i, observation.own.shape[0]
        own = [float(x) for x in observation.own[i]]
        alive, self.load = own[Own.ALIVE] == 1, own[Own.LOAD]
        self.allowed = [j for j in range(self.n) if j == i or (alive and bool(legal[i, j]))]
        self.heard = [float(x) for x in observation.peers[i, :, Peer.LOAD]]
        self.rate = [float(x) for x in observation.peers[i, :, Peer.RATE]]
        self.delay = [(v + 1) / q for v, q in zip(self.heard, self.rate, strict=True)]
        self.others = [j for j in self.allowed if j != i]
        self.age = [float(x) for x in observation.peers[i, :, Peer.AGE]]

    def believed(self, memory, prior):
        usual = [prior * q / (sum(self.rate) / self.n) for q in self.rate]
        trust = [math.exp(-memory * age) for age in self.age]
        return [t * v + (1 - t) * u for t, v, u in zip(trust, self.heard, usual, strict=True)]


def evenly(nodes):
    return {j: Fraction(1, len(nodes)) for j in nodes}


def least(candidates, score):
    bound = min(score[j] for j in candidates)
    return evenly([j for j in candidates if score[j] == bound])


def keep(node):
    return {node.i: Fraction(1)}


def everywhere(node):
    return evenly(node.allowed)


def in_proportion(node):
    total = sum(node.rate[j] for j in node.allowed)
    return {j: Fraction(node.rate[j]) / Fraction(total) for j in node.allowed}


def shortest_queue(node):
    return least(node.allowed, node.heard)


def shortest_delay(node):
    return least(node.allowed, node.delay)


def best_of_sample(d, weighted):
    def rule(node):
        peers = [j for j in range(node.n) if j != node.i]
        samples = list(itertools.combinations(peers, min(d, len(peers))))
        total = Counter()
        for sample in samples:
            candidates = [j for j in (node.i, *sample) if j in node.allowed]
            for j, share in least(candidates, node.delay if weighted else node.heard).items():
                total[j] += share / len(samples)
        return total

    return rule


def idle_peer(node):
    idle = [j for j in node.others if node.heard[j] == 0]
    return evenly(idle) if idle else keep(node)


def beyond(margin):
    def rule(node):
        exceeds = node.delay[node.i] - min(node.delay[j] for j in node.allowed) > margin
        return shortest_delay(node) if exceeds else keep(node)

    return rule


def longest_when_empty(node):
    if node.load - 1 > 0 or not node.others:
        return keep(node)
    return least(node.others, [-v / q for v, q in zip(node.heard, node.rate, strict=True)])


def shared(weights, otherwise):
    total = sum(weights.values())
    return {j: weight / total for j, weight in weights.items()} if total > 0 else otherwise


def fading(memory, temperature, inertia, speed_exponent, prior):
    def rule(node):
        delay = [(v + 1) / q for v, q in zip(node.believed(memory, prior), node.rate, strict=True)]
        delay[node.i] -= inertia
        return shared({j: node.rate[j] ** speed_exponent * math.exp(-delay[j] / temperature) for j in node.allowed}, {})

    return rule


def fading_stealing(memory, temperature, inertia, prior):
    def rule(node):
        believed, own = node.believed(memory, prior), (node.load + 1) / node.rate[node.i]
        weights = {j: math.exp((believed[j] / node.rate[j] - own - inertia) / temperature) for j in node.others}
        return shared(weights | {node.i: 1.0}, {})

    return rule


def soft(temperature, inertia, speed_exponent):
    def rule(node):
        saved = {j: inertia * (j == node.i) - node.delay[j] for j in node.allowed}
        return shared({j: node.rate[j] ** speed_exponent * math.exp(saved[j] / temperature) for j in saved}, {})

    return rule


def soft_stealing(temperature, inertia):
    def rule(node):
        own = (node.load + 1) / node.rate[node.i]
        gain = {j: node.heard[j] / node.rate[j] - own - inertia for j in node.others}
        return shared({j: math.exp(each / temperature) for j, each in gain.items()} | {node.i: 1.0}, {})

    return rule


def proportional(margin):
    def rule(node):
        saved = {j: max(node.delay[node.i] - node.delay[j] - margin, 0) * node.rate[j] for j in node.others}
        return shared(saved, keep(node))

    return rule


def proportional_stealing(margin):
    def rule(node):
        drain = [v / q for v, q in zip(node.heard, node.rate, strict=True)]
        return shared({j: max(drain[j] - drain[node.i] - margin, 0) for j in node.others}, keep(node))

    return rule


FADING = {"memory": 0.3, "temperature": 3.0, "inertia": 2.5, "speed_exponent": 1.5, "prior": 0.8}
STEALING = {"memory": 0.1, "temperature": 4.0, "inertia": -1.5, "prior": 2.0}
SOFT = {"temperature": 3.0, "inertia": 2.5, "speed_exponent": 1.5}
SOFT_STEALING = {"temperature": 4.0, "inertia": -1.5}

CASES = {
    "random": ({}, everywhere, keep),
    "weighted_random": ({}, in_proportion, keep),
    "join_shortest_queue": ({}, shortest_queue, keep),
    "shortest_expected_delay": ({}, shortest_delay, keep),
    "power_of_d": ({"d": 2}, best_of_sample(2, weighted=False), keep),
    "power_of_d_stealing": ({"d": 3, "weighted": True}, best_of_sample(3, weighted=True), longest_when_empty),
    "join_idle_queue": ({}, idle_peer, keep),
    "threshold": ({"margin": 0}, beyond(0), keep),
    "threshold_stealing": ({"margin": 2.0}, beyond(2), longest_when_empty),
    "work_stealing": ({}, keep, longest_when_empty),
    "fading": (FADING, fading(**FADING), keep),
    "fading_stealing": (
        FADING | {f"steal_{name}": value for name, value in STEALING.items()},
        fading(**FADING),
        fading_stealing(**STEALING),
    ),
    "oracle_fading_stealing": (
        SOFT | {f"steal_{name}": value for name, value in SOFT_STEALING.items()},
        soft(**SOFT),
        soft_stealing(**SOFT_STEALING),
    ),
    "proportional": ({"margin": 1.0}, proportional(1.0), keep),
    "proportional_stealing": (
        {"margin": -1.0, "steal_margin": 0.5},
        proportional(-1.0),
        proportional_stealing(0.5),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choices_follow_the_rule_with_its_frequencies(name):
    options, dispatch, steal = CASES[name]
    policy = with_room(heuristic(name, **options))
    carry = policy.init(jaxdlb.make("dlb", num_nodes=NUM_NODES))
    observations = [random_observation(seed) for seed in range(16)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *observations)
    keys = jax.random.split(jax.random.key(0), (len(observations), NUM_KEYS))
    act = jax.vmap(lambda keys, seen: jax.vmap(lambda key: policy.act(key, carry, seen, None)[1])(keys))
    played = jax.tree.map(np.asarray, jax.jit(act)(keys, stacked))
    for k, observation in enumerate(jax.tree.map(np.asarray, observations)):
        for i in range(NUM_NODES):
            agrees(played.dispatch[k, :, i], dispatch(Node(observation, i, observation.legal.dispatch)))
            agrees(played.steal[k, :, i], steal(Node(observation, i, observation.legal.steal)))


def with_room(policy):
    """The policy as tuning plays it, with room for larger samples than it draws, where it draws 3."""
    if getattr(policy.dispatch, "d", None) != 3:
        return policy
    return dataclasses.replace(policy, dispatch=dataclasses.replace(policy.dispatch, width=4))


def agrees(choices, law):
    """Choices of the support alone; frequencies within 4.8 standard errors (about 2,000 of them: 0.3% in all)."""
    counts = Counter(choices.tolist())
    assert set(counts) <= {j for j, share in law.items() if share > 0}
    for j, share in law.items():
        error = math.sqrt(share * (1 - share) / len(choices))
        assert abs(counts[j] / len(choices) - share) <= 4.8 * error


def test_heuristics_that_share_a_rule_with_one_of_the_cases():
    oracle, heard = heuristic("oracle_shortest_expected_delay"), heuristic("shortest_expected_delay")
    assert (oracle.dispatch, oracle.steal) == (heard.dispatch, heard.steal)
    idle, thief = heuristic("local"), heuristic("work_stealing")
    assert idle.dispatch == thief.dispatch and idle.steal == heard.steal
    assert {*CASES, "round_robin", "local", "surplus_split", "oracle_shortest_expected_delay"} == set(NODE_HEURISTICS)


def test_a_sample_larger_than_the_cluster_is_all_of_it():
    policy, greedy = heuristic("power_of_d", d=9, weighted=True), heuristic("shortest_expected_delay")
    observation = random_observation(1)
    loads = observation.peers[..., Peer.LOAD] + jnp.arange(NUM_NODES) / 64  # no ties
    observation = observation.replace(peers=observation.peers.at[..., Peer.LOAD].set(loads))
    sampled, whole = (jax.jit(each.act)(jax.random.key(2), ((), ()), observation, None)[1] for each in (policy, greedy))
    assert sampled.dispatch.tolist() == whole.dispatch.tolist()
    assert sampled.dispatch.tolist() != list(range(NUM_NODES))


def test_round_robin_deals_arrived_tasks_to_all_nodes_in_turn():
    policy = heuristic("round_robin")
    game = jaxdlb.make("dlb", num_nodes=NUM_NODES)
    carry, act = policy.init(game), jax.jit(policy.act)
    turn = list(range(NUM_NODES))
    for seed in range(1, 60, 2):
        observation = random_observation(seed)
        carry, action = act(jax.random.key(seed), carry, observation, None)
        arrived = observation.own[:, Own.ARRIVED] == 1
        assert action.dispatch.tolist() == [turn[i] if arrived[i] else i for i in range(NUM_NODES)]
        assert action.steal.tolist() == list(range(NUM_NODES))
        turn = [(turn[i] + 1) % NUM_NODES if arrived[i] else turn[i] for i in range(NUM_NODES)]


ARRIVALS, ROUNDS = (7, 0, 9, 3, 2), (9, 0, 10, 9, 30)


def test_surplus_split_keeps_what_a_node_can_serve_and_shares_the_rest_by_spare_speed():
    policy = heuristic("surplus_split", utilisation=0.75)
    counts = (jnp.asarray(ARRIVALS, jnp.int32), jnp.asarray(ROUNDS, jnp.int32))
    act = jax.jit(jax.vmap(lambda key, seen: policy.act(key, (counts, ()), seen, None)[1].dispatch, (0, None)))
    keys = jax.random.split(jax.random.key(0), NUM_KEYS)
    for seed in range(10):
        observation = random_observation(seed)
        choices = np.asarray(act(keys, observation))
        for i in range(NUM_NODES):
            agrees(choices[:, i], surplus_split(Node(observation, i, observation.legal.dispatch), observation))


def surplus_split(node, observation):
    up, arrived = (bool(observation.own[node.i, column] > 0) for column in (Own.ALIVE, Own.ARRIVED))
    p = (ARRIVALS[node.i] + (up and arrived)) / max(ROUNDS[node.i] + up, 1)
    spare = {j: max(0.75 * node.rate[j] - p, 0) for j in node.others}
    if p == 0 or sum(spare.values()) == 0:
        return keep(node)
    away = max(p - 0.75 * node.rate[node.i], 0) / p
    return {j: away * share for j, share in shared(spare, {}).items()} | {node.i: 1 - away}


def test_surplus_split_counts_arrivals_over_the_rounds_that_a_node_was_up():
    policy = heuristic("surplus_split")
    carry, act = policy.init(jaxdlb.make("dlb", num_nodes=NUM_NODES)), jax.jit(policy.act)
    observations = [random_observation(seed) for seed in range(20)]
    for observation in observations:
        carry, _ = act(jax.random.key(0), carry, observation, None)
    arrivals, rounds = (
        sum(np.asarray(each.own[:, column]) for each in observations) for column in (Own.ARRIVED, Own.ALIVE)
    )
    (counts, _) = carry
    assert [each.tolist() for each in counts] == [arrivals.tolist(), rounds.tolist()]


@pytest.mark.parametrize("temperature", [1e-3, 1e6])
@pytest.mark.parametrize("load", [0, 10**6])
def test_soft_choices_of_any_sharpness_are_choices_by_the_formula(temperature, load):
    """Weights that would overflow or vanish as powers of e: the sharpest is the greedy choice, the softest uniform."""
    options = {"memory": 0.0, "temperature": temperature, "inertia": 0.0, "speed_exponent": 0.0, "prior": 1.0}
    policy = heuristic("fading", **options)
    observation = random_observation(1)
    loads = load + 8.0 * jnp.arange(NUM_NODES)
    observation = observation.replace(peers=observation.peers.at[..., Peer.LOAD].set(loads).at[..., Peer.RATE].set(1.0))
    keys = jax.random.split(jax.random.key(0), NUM_KEYS)
    act = jax.jit(jax.vmap(lambda key: policy.act(key, ((), ()), observation, None)[1].dispatch))
    choices = np.asarray(act(keys))
    for i in np.flatnonzero(observation.own[:, Own.ARRIVED]):
        law = evenly(range(NUM_NODES)) if temperature > 1 else {0: Fraction(1)}
        agrees(choices[:, i], law)


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "round_robin",
        "join_idle_queue",
        "power_of_d_stealing",
        "threshold_stealing",
        "fading_stealing",
        "proportional_stealing",
        "surplus_split",
    ],
)
def test_one_node_alone_keeps_everything(name):
    policy = heuristic(name)
    carry, act = policy.init(jaxdlb.make("dlb", num_nodes=1)), jax.jit(policy.act)
    for seed in range(3):
        _, action = act(jax.random.key(seed), carry, random_observation(seed, num_nodes=1), None)
        assert action.dispatch.tolist() == action.steal.tolist() == [0]


def test_a_node_that_is_down_does_nothing_even_if_all_is_legal():
    observation = random_observation(4)
    down = observation.replace(
        own=observation.own.at[:, Own.ALIVE].set(0.0), legal=jax.tree.map(jnp.ones_like, observation.legal)
    )
    _, action = jax.jit(heuristic("threshold_stealing").act)(jax.random.key(0), ((), ()), down, None)
    assert action.dispatch.tolist() == action.steal.tolist() == list(range(NUM_NODES))


def test_names_tell_the_options():
    assert heuristic("power_of_d").name == "power_of_d(d=2)"
    assert heuristic("power_of_d", d=3, weighted=True).name == "power_of_d(d=3, weighted)"
    assert heuristic("power_of_d_stealing", d=1, weighted=True).name == "power_of_d_stealing(d=1, weighted)"
    assert heuristic("threshold_stealing", margin=2.5).name == "threshold_stealing(margin=2.5)"
    assert heuristic("local").name == "local"
    assert heuristic("fading", temperature=0.5).name == "fading(φ=1.33, τ=0.5, m=4.3, β=1, a=1.2)"
    stealing = heuristic("fading_stealing", steal_prior=3).name
    assert stealing == "fading_stealing(φ=1.33, τ=0.52, m=4.3, β=1, a=1.2, φs=0.3, τs=1, ms=0, as=3)"
    oracle = heuristic("oracle_fading_stealing", inertia=2).name
    assert oracle == "oracle_fading_stealing(τ=0.52, m=2, β=1, τs=1, ms=0)"
    assert heuristic("proportional_stealing").name == "proportional_stealing(margin=6, steal_margin=0)"
    assert heuristic("surplus_split", utilisation=0.9).name == "surplus_split(utilisation=0.9)"


def test_only_oracles_see_the_true_state():
    kinds = {name: heuristic(name).kind for name in NODE_HEURISTICS}
    assert {name for name, kind in kinds.items() if kind == "oracle"} == {
        "oracle_shortest_expected_delay",
        "oracle_fading_stealing",
    }
    assert set(kinds.values()) == {"heuristic", "oracle"}


def test_which_heuristics_have_options():
    with_options = {name: family.options for name, family in NODE_HEURISTICS.items() if family.options}
    sampling, margin = ("d", "weighted", "width"), ("margin",)
    assert with_options == {
        "power_of_d": sampling,
        "power_of_d_stealing": sampling,
        "threshold": margin,
        "threshold_stealing": margin,
        "fading": tuple(FADING),
        "fading_stealing": (*FADING, *(f"steal_{name}" for name in STEALING)),
        "proportional": margin,
        "proportional_stealing": (*margin, "steal_margin"),
        "surplus_split": ("utilisation",),
        "oracle_fading_stealing": (*SOFT, *(f"steal_{name}" for name in SOFT_STEALING)),
    }


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("power_of_two", {}, r"heuristic is 'power_of_two'; it must be one of local, .*; did you mean 'power_of_d'\?"),
        ("xyz", {}, r"heuristic is 'xyz'; it must be one of local, [\w, ]*ratio_rule, [\w, ]*oracle_optimal, [\w, ]*$"),
        ("local", {"d": 2}, "d is not an option of local; it has none"),
        ("power_of_d", {"margin": 2}, "margin is not an option of power_of_d; its options are d, weighted, width"),
        ("power_of_d", {"d": 3, "width": 2}, "width is 2; it must be an integer ≥ 3"),
        ("threshold", {"margins": 2}, r"margins is not an option of threshold; .*; did you mean margin\?$"),
        ("power_of_d", {"d": 0}, "d is 0; it must be an integer ≥ 1"),
        ("power_of_d", {"d": 2.0}, r"d is 2.0; it must be an integer ≥ 1"),
        ("power_of_d_stealing", {"weighted": 1}, "weighted is 1; it must be true or false"),
        ("threshold", {"margin": -1}, "margin is -1; it must be a finite number ≥ 0"),
        ("threshold_stealing", {"margin": math.nan}, "margin is nan; it must be a finite number ≥ 0"),
        ("fading", {"temperature": 0}, "temperature is 0; it must be a finite number > 0"),
        ("fading_stealing", {"steal_memory": -1}, "steal_memory is -1; it must be a finite number ≥ 0"),
        ("fading", {"steal_memory": 1}, "steal_memory is not an option of fading; its options are memory, temperature"),
        ("surplus_split", {"utilisation": 2}, r"utilisation is 2; it must be a finite number in \(0, 1\]"),
        ("threshold", {"margin": "high"}, "margin is 'high'; it must be a number"),
    ],
)
def test_bad_names_and_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        heuristic(name, **options)
