"""A learned policy acts for all agents of a cluster, or for one that knows its own row alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matching import Matching

import jaxdlb
from jaxdlb.networks import NetworkConfig, build_actor
from jaxdlb.policies import Policy
from jaxdlb.policies.learned import LearnedPolicy, variable_shapes
from jaxdlb.spaces import Box, Simplex, contains

DLB = jaxdlb.make("dlb", num_nodes=8)
KEY = jax.random.key(3)


def make_policy(game=DLB, kind="pointer", recurrent=False, shared=True, greedy=False):
    """With random variables."""
    actor = build_actor(game, NetworkConfig(kind, recurrent, hidden=(8, 8)), shared)
    rng = np.random.default_rng(0)
    shapes = variable_shapes(game, actor)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape), leaf.dtype), shapes)
    return LearnedPolicy(game, actor, variables, greedy=greedy)


def observe(game, seed=0):
    return game.reset(jax.random.key(seed), game.default_params())[1].observation


def busy(game):
    """An observation in which agents have choices."""
    observation = observe(game)
    return observation.replace(legal=jax.tree.map(jnp.ones_like, observation.legal))


def row(observation, agent):
    """What one agent knows: own, peers (None without), legal."""
    own, peers = observation.own[agent], getattr(observation, "peers", None)
    return own, None if peers is None else peers[agent], jax.tree.map(lambda leaf: leaf[agent], observation.legal)


def test_a_learned_policy_is_a_policy_that_says_its_kind():
    policy = make_policy()
    assert isinstance(policy, Policy)
    assert policy.kind == "learned"


def test_its_representation_is_short():
    assert repr(make_policy()) == "LearnedPolicy('learned', dlb with 8 agents, by sample, 306 parameters)"
    assert "by mode" in repr(make_policy(greedy=True))


@pytest.mark.parametrize(
    ("game", "kind", "recurrent", "shared"),
    [
        (DLB, "pointer", True, True),
        (DLB, "mlp", False, False),
        (Matching(Box(-1.0, 1.0, size=2), 3), "mlp", True, True),
        (Matching(Simplex(5, over_agents=True), 4, 4), "pointer", False, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("greedy", [False, True])
def test_agents_that_act_each_alone_do_what_they_do_together(game, kind, recurrent, shared, greedy):
    policy = make_policy(game, kind, recurrent, shared, greedy)
    observation = busy(game)
    carry, together = jax.jit(policy.act)(KEY, policy.init(game), observation, ())
    assert contains(game.action_space, together, observation.legal).all()
    act_one = jax.jit(policy.act_one)
    for agent in range(game.num_agents):
        own_carry, alone = act_one(KEY, policy.init_one(), *row(observation, agent), agent)
        for one, all_ in zip(jax.tree.leaves((alone, own_carry)), jax.tree.leaves((together, carry)), strict=True):
            np.testing.assert_allclose(one, all_[agent], rtol=1e-4, atol=1e-5)


def test_a_greedy_policy_takes_the_mode_whatever_the_key():
    policy = make_policy(greedy=True)
    first, second = (policy.act(jax.random.key(seed), (), busy(DLB), ())[1] for seed in (0, 1))
    np.testing.assert_array_equal(first.dispatch, second.dispatch)
    sampling = make_policy()
    first, second = (sampling.act(jax.random.key(seed), (), busy(DLB), ())[1] for seed in (0, 1))
    assert not np.array_equal(first.dispatch, second.dispatch)


def test_one_nodes_row_is_refused_where_all_are_needed():
    policy, observation = make_policy(), observe(DLB)
    alone = observation.replace(own=observation.own[:1], peers=observation.peers[:1])
    with pytest.raises(
        ValueError,
        match=r"own has shape \(1, 5\); the policy 'learned' for 8 agents needs \(8, 5\) here \(act_one takes",
    ):
        policy.act(KEY, (), alone, ())
    with pytest.raises(ValueError, match=r"legal has shape \(8, 8\), \(1, 8\); .* needs \(8, 8\), \(8, 8\)"):
        policy.act(KEY, (), observation.replace(legal=observation.legal.replace(steal=jnp.ones((1, 8), bool))), ())


def test_rows_of_all_agents_are_refused_where_one_acts():
    policy, observation = make_policy(), observe(DLB)
    own, peers, legal = row(observation, 0)
    with pytest.raises(ValueError, match=r"own has shape \(8, 5\); .* needs \(5,\) here \(act takes the rows of all"):
        policy.act_one(KEY, (), observation.own, peers, legal, 0)
    with pytest.raises(ValueError, match=r"peers has shape \(7, 4\); .* needs \(8, 4\)"):
        policy.act_one(KEY, (), own, peers[1:], legal, 0)
    with pytest.raises(ValueError, match="peers must be given; observations of dlb have own, peers, legal"):
        policy.act_one(KEY, (), own, None, legal, 0)
    alone = make_policy(Matching(Box(0.0, 1.0)), "mlp")
    with pytest.raises(ValueError, match="peers must not be given"):
        alone.act_one(KEY, (), jnp.zeros(1), jnp.zeros((2, 3)), jnp.bool_(True), 0)


def test_a_policy_refuses_parameters_of_another_number_of_nodes():
    policy, other = make_policy(kind="mlp"), jaxdlb.make("dlb", num_nodes=5)
    with pytest.raises(ValueError, match="does not fit dlb with 5 agents"):
        LearnedPolicy(other, build_actor(other, NetworkConfig("mlp", hidden=(8, 8))), policy.variables)
    with pytest.raises(ValueError, match="num_agents is 5"):
        policy.init(other)


def test_policies_that_differ_in_their_variables_alone_share_one_compiled_program():
    observation, traced = observe(DLB), []

    @jax.jit
    def play(policy):
        traced.append(policy)
        return policy.act(KEY, (), observation, ())[1]

    first = make_policy()
    play(first)
    play(LearnedPolicy(DLB, first.actor, jax.tree.map(lambda leaf: leaf + 1, first.variables)))
    assert len(traced) == 1


class Checked(Matching):
    """Its default parameters are looked at on the host, as those of a game that checks them are."""

    def default_params(self):
        return jnp.int32(np.asarray(super().default_params() + 0))


def test_a_policy_unpacked_within_a_program_still_knows_the_shapes_of_its_game():
    game = Checked(Box(0.0, 1.0))
    observation = observe(game)
    act = jax.jit(lambda policy: policy.act(KEY, (), observation, ())[1])
    assert act(make_policy(game, "mlp")).shape == (2, 1)
