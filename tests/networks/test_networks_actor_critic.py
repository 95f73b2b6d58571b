import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import spaces
from jaxdlb.networks import NetworkConfig, build, build_actor, features
from jaxdlb.networks.actor_critic import unroll

SMALL = {"hidden": (8, 8), "critic_hidden": (8,)}
VARIANTS = [
    (kind, recurrent, shared) for kind in ("mlp", "pointer") for recurrent in (False, True) for shared in (True, False)
]


def agent_features(num_nodes, batch=(), seed=0):
    """Random features with the shapes of dlb's observation."""
    game = jaxdlb.make("dlb", num_nodes=num_nodes)
    example = features(game.reset(jax.random.key(0), game.default_params())[1].observation)
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=(*batch, *leaf.shape)), jnp.float32) for name, leaf in example.items()}


def actor_for(num_nodes, kind, recurrent=False, shared=True):
    return build_actor(jaxdlb.make("dlb", num_nodes=num_nodes), NetworkConfig(kind, recurrent, **SMALL), shared)


def reroll(params, seed=1):
    """Parameters large enough for every part of the network to matter."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(
        treedef, [jax.random.normal(k, leaf.shape) * 0.5 for k, leaf in zip(keys, leaves, strict=True)]
    )


@pytest.mark.parametrize(("kind", "recurrent", "shared"), VARIANTS)
def test_every_actor_gives_logits_for_each_head_with_any_batch_axes(kind, recurrent, shared):
    actor = actor_for(3, kind, recurrent, shared)
    params = actor.init(jax.random.key(0), agent_features(3))
    carry, logits = actor.apply(params, actor.initial_carry((2, 5)), agent_features(3, (2, 5)))
    assert [head.shape for head in logits] == [(2, 5, 3, 3)] * 2
    assert bool(jax.tree.leaves(carry)) is recurrent


@pytest.mark.parametrize("kind", ["mlp", "pointer"])
def test_separate_parameters_give_each_agent_its_own_network(kind):
    actor = actor_for(3, kind, shared=False)
    params = reroll(actor.init(jax.random.key(0), agent_features(3)))
    x = agent_features(3)
    before = actor.apply(params, (), x)[1][0]
    changed = jax.tree.map(lambda leaf: leaf.at[1].set(0.0), params)
    after = actor.apply(changed, (), x)[1][0]
    np.testing.assert_array_equal(before[::2], after[::2])
    assert not np.allclose(before[1], after[1])


def test_pointer_parameters_do_not_depend_on_the_number_of_nodes():
    shapes = [
        jax.tree.map(jnp.shape, actor_for(n, "pointer", True).init(jax.random.key(0), agent_features(n)))
        for n in (3, 7)
    ]
    assert shapes[0] == shapes[1]
    mlp = [jax.tree.map(jnp.shape, actor_for(n, "mlp").init(jax.random.key(0), agent_features(n))) for n in (3, 7)]
    assert mlp[0] != mlp[1]


@pytest.mark.parametrize("recurrent", [False, True])
def test_pointer_logits_move_with_the_peers_when_nodes_are_renamed(recurrent):
    actor = actor_for(5, "pointer", recurrent)
    x = agent_features(5)
    params = reroll(actor.init(jax.random.key(0), x))
    order = np.array([3, 0, 4, 1, 2])
    renamed = {"own": x["own"][order], "peers": x["peers"][order][:, order]}
    logits = actor.apply(params, actor.initial_carry(()), x)[1]
    moved = actor.apply(params, actor.initial_carry(()), renamed)[1]
    for head, moved_head in zip(logits, moved, strict=True):
        np.testing.assert_allclose(head[order][:, order], moved_head, rtol=2e-4, atol=1e-5)


def test_pointer_gives_equal_scores_even_odds_of_choosing_oneself_at_any_size():
    for num_nodes in (2, 8, 33):
        actor = actor_for(num_nodes, "pointer")
        x = agent_features(num_nodes)
        params = jax.tree.map(jnp.zeros_like, actor.init(jax.random.key(0), x))
        probs = jax.nn.softmax(actor.apply(params, (), x)[1][0])
        np.testing.assert_allclose(jnp.diagonal(probs), 0.5, rtol=1e-5)


def test_one_agents_logits_depend_on_its_own_observation_alone():
    for kind in ("mlp", "pointer"):
        actor = actor_for(4, kind)
        x = agent_features(4)
        params = reroll(actor.init(jax.random.key(0), x))
        others = {name: leaf.at[1:].add(3.0) for name, leaf in x.items()}
        before, after = (actor.apply(params, (), view)[1][0] for view in (x, others))
        np.testing.assert_allclose(before[0], after[0], rtol=1e-5)
        assert not np.allclose(before[1:], after[1:])


@pytest.mark.parametrize(("kind", "shared"), [("mlp", True), ("pointer", False)])
def test_unrolled_sequences_equal_single_steps_and_forget_at_episode_starts(kind, shared):
    actor = actor_for(3, kind, recurrent=True, shared=shared)
    inputs = agent_features(3, (6, 2))
    params = reroll(actor.init(jax.random.key(0), agent_features(3)))
    first = jnp.zeros((6, 2), bool).at[3, 1].set(True)
    carry = jnp.ones((2, 3, 8))
    unrolled = unroll(actor, params, carry, inputs, first)
    for t in range(6):
        now = {name: leaf[t] for name, leaf in inputs.items()}
        carry = jnp.where(first[t][:, None, None], 0.0, carry)
        carry, logits = actor.apply(params, carry, now)
        np.testing.assert_allclose(unrolled[0][t], logits[0], rtol=1e-4, atol=1e-5)


def test_memory_changes_what_a_recurrent_actor_does():
    actor = actor_for(3, "pointer", recurrent=True)
    x = agent_features(3)
    params = reroll(actor.init(jax.random.key(0), x))
    empty, full = (actor.apply(params, fill, x)[1][0] for fill in (jnp.zeros((3, 8)), jnp.ones((3, 8))))
    assert not np.allclose(empty, full)


def test_a_critic_sees_the_global_state_or_no_more_than_the_agents():
    game = jaxdlb.make("dlb", num_nodes=3)
    own, state = agent_features(3, (4,)), jnp.ones((4, 50))
    central = build(game, NetworkConfig(**SMALL), critic="global_state")
    local = build(game, NetworkConfig(**SMALL), critic="observation")
    assert central.critic_input(own, state) is state
    assert local.critic_input(own, state) is own
    for network, view, example in ((central, state, state[0]), (local, own, agent_features(3))):
        params = network.critic.init(jax.random.key(0), example)
        assert network.critic.apply(params, network.critic.initial_carry((4,)), view)[1].shape == (4, 3)


def test_an_action_space_without_a_head_is_refused():
    class Continuous(jaxdlb.games.dlb.DLB):
        name = "pods"
        action_space = spaces.Box(0.0, 1.0)

    with pytest.raises(ValueError, match="pods has an action in a Box"):
        build_actor(Continuous(), NetworkConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "transformer"}, "network.kind is 'transformer'; it must be one of mlp, pointer"),
        ({"hidden": ()}, "network.hidden is empty"),
        ({"hidden": (8, 0)}, "network.hidden is 0"),
        ({"critic_hidden": (-1,)}, "network.critic_hidden is -1"),
    ],
)
def test_network_settings_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**options)
