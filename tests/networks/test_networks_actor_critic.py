"""Actors and critics: shapes, what each output may depend on, and heads for every kind of space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matching import Matching

import jaxdlb
from jaxdlb import spaces
from jaxdlb.networks import (
    Categorical,
    Dirichlet,
    NetworkConfig,
    SquashedNormal,
    Views,
    build,
    build_actor,
    features,
)
from jaxdlb.networks.actor_critic import suited, unroll

SMALL = {"hidden": (8, 8), "critic_hidden": (8,), "autoregressive": True}
VARIANTS = [
    (kind, recurrent, shared) for kind in ("mlp", "pointer") for recurrent in (False, True) for shared in (True, False)
]


def random_like(shapes, batch=(), seed=0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=(*batch, *leaf.shape)), jnp.float32) for name, leaf in shapes.items()}


def agent_features(num_nodes, batch=(), seed=0):
    """Random features with the shapes of dlb's observation."""
    return random_like(features(jaxdlb.make("dlb", num_nodes=num_nodes).observation_shapes), batch, seed)


def all_legal(num_nodes, batch=()):
    """Masks in which dlb's agents may choose every node."""
    legal = jaxdlb.make("dlb", num_nodes=num_nodes).observation_shapes.legal
    return jax.tree.map(lambda leaf: jnp.ones((*batch, *leaf.shape), bool), legal)


def actor_for(num_nodes, kind, recurrent=False, shared=True):
    return build_actor(jaxdlb.make("dlb", num_nodes=num_nodes), NetworkConfig(kind, recurrent, **SMALL), shared)


def logits_of(actor, params, carry, x):
    """The next memory, and all log-probabilities of dlb's two heads, with every choice legal."""
    batch = x["own"].shape[:-2]
    carry, distribution = actor.apply(params, carry, x, all_legal(actor.num_agents, batch))
    return carry, log_probs_of(distribution)


def log_probs_of(distribution):
    """Of the dispatch, and of the steal where the task is kept and where it is sent away."""
    return [
        distribution.first.log_probs,
        *(each._leaves[0].log_probs for each in (distribution.kept, distribution.away)),
    ]


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
    carry, logits = logits_of(actor, params, actor.initial_carry((2, 5)), agent_features(3, (2, 5)))
    assert [head.shape for head in logits] == [(2, 5, 3, 3)] * 3
    assert bool(jax.tree.leaves(carry)) is recurrent


@pytest.mark.parametrize("kind", ["mlp", "pointer"])
def test_separate_parameters_give_each_agent_its_own_network(kind):
    actor = actor_for(3, kind, shared=False)
    params = reroll(actor.init(jax.random.key(0), agent_features(3)))
    x = agent_features(3)
    before = logits_of(actor, params, (), x)[1][0]
    changed = jax.tree.map(lambda leaf: leaf.at[1].set(0.0), params)
    after = logits_of(actor, changed, (), x)[1][0]
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
    logits = logits_of(actor, params, actor.initial_carry(()), x)[1]
    moved = logits_of(actor, params, actor.initial_carry(()), renamed)[1]
    for head, moved_head in zip(logits, moved, strict=True):
        np.testing.assert_allclose(head[order][:, order], moved_head, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("recurrent", [False, True])
def test_rows_that_an_agent_does_not_know_of_change_nothing(recurrent):
    """Neither what stands in them nor how many there are: of six, four are known, as if there were four."""
    actor, small = actor_for(6, "pointer", recurrent), actor_for(4, "pointer", recurrent)
    x = agent_features(6)
    visible = jnp.zeros((6, 6), bool).at[:, :4].set(True)
    params = reroll(actor.init(jax.random.key(0), x))
    shown = x | {"visible": visible}
    other = shown | {"peers": x["peers"].at[:, 4:].add(3.0)}
    few = {"own": x["own"][:4], "peers": x["peers"][:4, :4]}
    logits, again, alone = (
        logits_of(each, params, each.initial_carry(()), view)[1]
        for each, view in ((actor, shown), (actor, other), (small, few))
    )

    def odds(head):
        """Of the first four against oneself, in logarithms."""
        return head[:4, :4] - jnp.diagonal(head)[:4, None]

    lower = (np.log(5) - np.log(3)) * ~np.eye(4, dtype=bool)  # are the scores of five peers than those of three
    for head, same, fewer in zip(logits, again, alone, strict=True):
        np.testing.assert_allclose(odds(head), odds(same), atol=1e-5)
        np.testing.assert_allclose(odds(head), odds(fewer) - lower, atol=1e-5)


def test_pointer_gives_equal_scores_even_odds_of_choosing_oneself_at_any_size():
    for num_nodes in (2, 8, 33):
        actor = actor_for(num_nodes, "pointer")
        x = agent_features(num_nodes)
        params = jax.tree.map(jnp.zeros_like, actor.init(jax.random.key(0), x))
        probs = jax.nn.softmax(logits_of(actor, params, (), x)[1][0])
        np.testing.assert_allclose(jnp.diagonal(probs), 0.5, rtol=1e-5)


def test_one_agents_logits_depend_on_its_own_observation_alone():
    for kind in ("mlp", "pointer"):
        actor = actor_for(4, kind)
        x = agent_features(4)
        params = reroll(actor.init(jax.random.key(0), x))
        others = {name: leaf.at[1:].add(3.0) for name, leaf in x.items()}
        before, after = (logits_of(actor, params, (), view)[1][0] for view in (x, others))
        np.testing.assert_allclose(before[0], after[0], rtol=1e-5)
        assert not np.allclose(before[1:], after[1:])


@pytest.mark.parametrize(("kind", "shared"), [("mlp", True), ("pointer", False)])
def test_unrolled_sequences_equal_single_steps_and_forget_at_episode_starts(kind, shared):
    actor = actor_for(3, kind, recurrent=True, shared=shared)
    inputs = agent_features(3, (6, 2))
    params = reroll(actor.init(jax.random.key(0), agent_features(3)))
    first = jnp.zeros((6, 2), bool).at[3, 1].set(True)
    carry = jnp.ones((2, 3, 8))
    distribution = unroll(actor, params, carry, (inputs, all_legal(3, (6, 2))), first)
    unrolled = [distribution.first.log_probs]
    for t in range(6):
        now = {name: leaf[t] for name, leaf in inputs.items()}
        carry = jnp.where(first[t][:, None, None], 0.0, carry)
        carry, logits = logits_of(actor, params, carry, now)
        np.testing.assert_allclose(unrolled[0][t], logits[0], rtol=1e-4, atol=1e-5)


def test_memory_changes_what_a_recurrent_actor_does():
    actor = actor_for(3, "pointer", recurrent=True)
    x = agent_features(3)
    params = reroll(actor.init(jax.random.key(0), x))
    empty, full = (logits_of(actor, params, fill, x)[1][0] for fill in (jnp.zeros((3, 8)), jnp.ones((3, 8))))
    assert not np.allclose(empty, full)


def test_a_critic_sees_the_global_state_or_no_more_than_the_agents():
    game = jaxdlb.make("dlb", num_nodes=3)
    own, state = agent_features(3, (4,)), jnp.ones((4, 50))
    central = build(game, NetworkConfig("mlp", **SMALL), critic="global_state")
    local = build(game, NetworkConfig("mlp", **SMALL), critic="observation")
    assert central.critic_view(Views(own, state)) is state
    assert local.critic_view(Views(own, state)) is own
    for network, view, example in ((central, state, state[0]), (local, own, agent_features(3))):
        params = network.critic.init(jax.random.key(0), example)
        assert network.critic.apply(params, network.critic.initial_carry((4,)), view)[1].shape == (4, 3)


def first_observation(game, seed=0):
    return game.reset(jax.random.key(seed), game.default_params())[1].observation


def play(game, kind, shared=True):
    """An actor with parameters that all matter, and those parameters."""
    actor = build_actor(game, NetworkConfig(kind, **SMALL), shared)
    return actor, reroll(actor.init(jax.random.key(0), features(first_observation(game))))


def head_of(actor, params, observation):
    """The one head of an action in which all that is there is legal."""
    legal = jnp.ones_like(observation.legal)
    return actor.apply(params, (), features(observation), legal)[1].heads


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["mlp", "pointer"])
@pytest.mark.parametrize(
    ("space", "head"),
    [
        (spaces.Discrete(4), Categorical),
        (spaces.Box(-1.0, 2.0, size=2), SquashedNormal),
        (spaces.Simplex(4), Dirichlet),
    ],
)
def test_every_kind_of_space_has_a_head(space, head, kind, shared):
    game = Matching(space, num_agents=3, num_rows=4)
    found = head_of(*play(game, kind, shared), first_observation(game))
    assert isinstance(found, head)
    assert found.entropy().shape == (3,)


def test_the_deviation_of_a_box_is_a_parameter_that_starts_as_specified_and_no_feature_moves():
    game = Matching(spaces.Box(0.0, 1.0, size=2), num_agents=3)
    actor = build_actor(game, NetworkConfig("mlp", **SMALL))
    view = features(first_observation(game))
    params = actor.init(jax.random.key(0), view)
    heads = [head_of(actor, params, first_observation(game, seed)) for seed in (0, 1)]
    np.testing.assert_allclose(heads[0].log_sigma, -0.7)
    assert not np.allclose(heads[0].mu, heads[1].mu)
    np.testing.assert_array_equal(heads[0].log_sigma, heads[1].log_sigma)
    separate = build_actor(game, NetworkConfig("mlp", **SMALL), share_parameters=False).init(jax.random.key(0), view)
    assert (3, 2) in {leaf.shape for leaf in jax.tree.leaves(separate)}


def test_shares_over_agents_are_scored_by_pair_and_what_goes_elsewhere_from_the_agent():
    """Peers with equal rows have equal shares; the head serves any number of agents; scores of 0 are uniform."""
    shapes = []
    for num_agents in (3, 6):
        game = Matching(spaces.Simplex(num_agents + 1, over_agents=True), num_agents, num_agents)
        observation = first_observation(game)
        observation = observation.replace(peers=jnp.broadcast_to(observation.peers[:, :1], observation.peers.shape))
        actor, params = play(game, "pointer")
        head = head_of(actor, params, observation)
        shapes.append(jax.tree.map(jnp.shape, params["params"]["_Heads_0"]))
        others = np.asarray(head.alpha)[:, :-1][~np.eye(num_agents, dtype=bool)].reshape(num_agents, -1)
        np.testing.assert_allclose(others, others[:, :1].repeat(num_agents - 1, axis=1), rtol=1e-5)
        assert not np.isclose(np.diagonal(head.alpha[:, :-1]), others[:, 0]).any()
        assert not np.isclose(head.alpha[:, -1], others[:, 0]).any()
        uniform = head_of(actor, jax.tree.map(jnp.zeros_like, params), observation)
        np.testing.assert_allclose(uniform.alpha, 1, rtol=1e-6)
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kind", [spaces.Discrete, spaces.Simplex])
def test_candidates_are_scored_by_row_and_favour_nobody(kind):
    """Rows that change places change scores with them, whatever the agent; their number need not be that of agents."""
    order = np.array([4, 2, 0, 1, 3])
    game = Matching(kind(5, over_candidates=True), num_agents=3, num_rows=5)
    actor, params = play(game, "pointer")
    observation = first_observation(game)
    moved = observation.replace(peers=observation.peers[:, order])
    head, moved_head = (head_of(actor, params, each) for each in (observation, moved))
    for leaf, moved_leaf in zip(jax.tree.leaves(head), jax.tree.leaves(moved_head), strict=True):
        np.testing.assert_allclose(leaf[:, order], moved_leaf, rtol=1e-4, atol=1e-5)
    uniform = head_of(actor, jax.tree.map(jnp.zeros_like, params), observation)
    np.testing.assert_allclose(uniform.entropy(), np.log(5) if kind is spaces.Discrete else -np.log(24), rtol=1e-5)


@pytest.mark.parametrize(("kind", "recurrent", "shared"), VARIANTS)
def test_an_agent_alone_does_what_it_does_among_all(kind, recurrent, shared):
    actor = actor_for(3, kind, recurrent, shared)
    x, legal = agent_features(3), all_legal(3)
    params = reroll(actor.init(jax.random.key(0), x))
    carry = jax.tree.map(lambda leaf: leaf + 0.3, actor.initial_carry(()))
    together = actor.apply(params, carry, x, legal)
    for agent in range(3):
        own = jax.tree.map(lambda leaf, agent=agent: leaf[agent], (carry, x, legal))
        alone = actor.apply_one(params, *own, agent)
        for one, among_all in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(one, among_all[agent], rtol=1e-4, atol=1e-5)


class WithoutSpace(Matching):
    """Its action is in a space that there is not."""

    observation_shapes = None


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (WithoutSpace("nothing"), "matching has an action in a str; networks have heads for Discrete, Box, Simplex"),
        (
            Matching(spaces.Discrete(3)),
            "kind is 'pointer'; such a network needs peers in an observation, and that of matching has only own",
        ),
        (Matching(spaces.Discrete(5, over_agents=True), 3, 5), "peers has 5 rows; with .* they must be the 3 agents"),
        (
            Matching(spaces.Simplex(4, over_candidates=True), 3, 5),
            "peers has 5 rows; .* must have an entry for each of them",
        ),
    ],
)
def test_a_game_that_the_network_does_not_fit_is_refused(game, message):
    for make in (build_actor, build):
        with pytest.raises(ValueError, match=message):
            make(game, NetworkConfig("pointer"))


def test_actors_of_the_same_settings_are_equal_so_that_programs_are_compiled_once():
    assert actor_for(3, "pointer") == actor_for(3, "pointer")
    assert hash(actor_for(3, "pointer")) == hash(actor_for(3, "pointer"))
    assert actor_for(3, "pointer") != actor_for(4, "pointer")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "transformer"}, "^kind is 'transformer'; it must be one of auto, mlp, pointer"),
        ({"hidden": ()}, "^hidden is empty"),
        ({"hidden": (8, 0)}, r"^hidden\[1\] is 0"),
        ({"critic_hidden": (-1,)}, r"^critic_hidden\[0\] is -1"),
    ],
)
def test_network_settings_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**options)


@pytest.mark.parametrize(
    ("space", "num_rows", "kind"),
    [
        (spaces.Discrete(3, over_agents=True), 3, "pointer"),
        (spaces.Discrete(4), 3, "mlp"),  # chooses no row
        (spaces.Discrete(3, over_agents=True), None, "mlp"),
        (spaces.Discrete(3, over_agents=True), 5, "mlp"),  # rows that are not the agents
    ],
)
def test_auto_points_where_agents_choose_among_the_peers_that_they_see(space, num_rows, kind):
    game = Matching(space, num_agents=3, num_rows=num_rows)
    assert suited(game, NetworkConfig()).kind == kind
    build(game, NetworkConfig())
    assert suited(game, NetworkConfig("mlp")).kind == "mlp"
