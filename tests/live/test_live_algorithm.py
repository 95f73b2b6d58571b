"""Agents of a running system: the order of calls, seats, what they choose, and what they learn."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from small_games import TwoStates

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import DQNConfig, IPPOConfig, MAPPOConfig, environments
from jaxdlb.live import ActorState, LearnerAlgorithm, LearningAlgorithm, PolicyAlgorithm
from jaxdlb.networks import NetworkConfig
from jaxdlb.policies.learned import LearnedPolicy

GAME = jaxdlb.make("farm", num_workers=3, task_law="exponential")
PARAMS = GAME.default_params(job=60, failure_rate=[0.05, 0, 0], rejoin_rate=0.3)
CONFIG = IPPOConfig(num_envs=1, rollout_length=12, stagger=0, num_epochs=2, num_minibatches=1, gamma=0.9)
NAMES = ("a", "b", "c")
WIDTH, CHOICES = GAME.observation_shapes.own.shape[1], GAME.observation_shapes.legal.shape[1]


@dataclasses.dataclass(frozen=True)
class Short(TwoStates):
    """Two states, in episodes of five steps that truly end, of unequal length."""

    num_agents: int = 3

    name = "short"

    def _timestep(self, state, reward, params):
        now = super()._timestep(state, reward, params)
        return now.replace(discount=1 - now.last.astype(jnp.float32), elapsed=0.5 + state.step.astype(jnp.float32))


SHORT = Short()


@functools.cache
def learner(recurrent=False, config=CONFIG, game=SHORT):
    network = NetworkConfig("mlp", recurrent, hidden=(4,), critic_hidden=(4,))
    return learners.make(game, config, network=network)


@functools.cache
def started(recurrent=False):
    return jax.jit(learner(recurrent).init)(jax.random.key(3))


@functools.cache
def learned(recurrent=False):
    chosen = learner(recurrent)
    return LearnedPolicy(SHORT, chosen.network.actor, chosen.policy_variables(started(recurrent)))


def team_of(policy):
    return PolicyAlgorithm(policy, SHORT, SHORT.default_params(), seed=2)


def short_state(legal=(0, 2), **fields):
    return ActorState(np.ones(2, np.float32), np.isin(np.arange(3), legal), **fields)


def a_state(legal=(1, 2, 3), **fields):
    mask = np.zeros(CHOICES, bool)
    mask[list(legal)] = True
    return ActorState(np.ones(WIDTH, np.float32), mask, **fields)


def rule(name="self_scheduling", **options):
    return PolicyAlgorithm(jaxdlb.heuristic(name, game="farm", **options), GAME, PARAMS)


# The game, played by agents


def told(observation, seat, **fields):
    return ActorState(np.asarray(observation.own[seat]), np.asarray(observation.legal[seat]), **fields)


class Played:
    """Environments of a game, one of them, played by a team that is told of everything."""

    def __init__(self, team, at):
        self.at, self.agents = at, [team.agent(name) for name in NAMES]
        sample_params = lambda key: PARAMS if team.game is GAME else team.game.default_params()  # noqa: E731
        self.step = jax.jit(functools.partial(environments.step, team.game, sample_params))
        self.begin()

    @property
    def observation(self):
        return jax.tree.map(lambda leaf: leaf[0], self.at.observation)

    def begin(self):
        for seat, agent in enumerate(self.agents):
            agent.init_agent(told(self.observation, seat))

    def play(self):
        action = jnp.array([[agent.sample_action() for agent in self.agents]], jnp.int32)
        self.at, timestep, _ = self.step(self.at, action)
        now = jax.tree.map(lambda leaf: np.asarray(leaf[0]), timestep)
        for seat, agent in enumerate(self.agents):
            state = told(now.observation, seat, elapsed=float(now.elapsed), over=bool(now.last))
            agent.update(state, float(now.reward[seat]))
        if now.last:
            self.begin()
        return action


def test_it_learns_as_the_learner_does_for_itself():
    """With a memory, which lives on from one rollout to the next."""
    chosen, state = learner(recurrent=True), started(recurrent=True)
    key = jax.random.fold_in(jax.random.key(5), 0)
    _, rollout = collected = jax.jit(chosen.collect)(state, key)
    assert np.asarray(rollout.steps.last).any()
    expected, metrics = jax.jit(chosen.learn)(*collected)
    team = LearnerAlgorithm(chosen, state, seed=5)
    game = Played(team, state.environments)
    actions = [game.play() for _ in range(CONFIG.rollout_length)]
    np.testing.assert_array_equal(np.concatenate(actions), rollout.steps.action[:, 0])
    assert team.num_updates == 0
    game.play()  # what the last step led to is known when the next one begins
    assert team.num_updates == 1
    for ours, theirs in zip(*map(jax.tree.leaves, (team.state.params, expected.params)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-6)
    for name, value in metrics.items():
        if "/" in name:  # of single agents; what they earn is a reward there, and of the game a utility
            continue
        np.testing.assert_allclose(team.metrics[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    for ours, theirs in zip(*(jax.tree.leaves(each.moments.agent) for each in (team.state, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda new, old: np.abs(new - old).max(), team.state.params, state.params)
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_a_learning_rate_of_0_leaves_the_network_as_it_was():
    state = started()
    zero = jnp.float32(0)
    hyper = dataclasses.replace(state.hyperparameters, learning_rate=zero, final_learning_rate=zero)
    state = dataclasses.replace(state, hyperparameters=hyper)
    team = LearnerAlgorithm(learner(), state)
    game = Played(team, state.environments)
    for _ in range(CONFIG.rollout_length + 1):
        game.play()
    assert team.num_updates == 1 and team.agent("a").is_learning()
    for ours, theirs in zip(*map(jax.tree.leaves, (team.state.params, state.params)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_policy_plays_as_in_the_game(recurrent):
    policy = learned(recurrent)
    game = Played(team_of(policy), started(recurrent).environments)
    act, memory = jax.jit(policy.act), policy.init(SHORT)
    for step in range(8):
        memory = policy.init(SHORT) if game.at.first[0] else memory
        key = jax.random.fold_in(jax.random.key(2), step)
        memory, expected = act(key, memory, game.observation, None)
        np.testing.assert_array_equal(game.play()[0], expected)


def test_a_rule_remembers_for_the_team_and_forgets_at_the_end():
    """`factoring` cuts as many equal chunks as there are workers before it cuts anew."""
    reset = functools.partial(environments.reset, GAME, lambda key: PARAMS, num_envs=1)
    game = Played(rule("factoring"), jax.jit(reset)(jax.random.key(0)))
    policy = jaxdlb.heuristic("factoring", game="farm")
    act, ends = jax.jit(policy.act), 0
    for _ in range(40):
        memory = policy.init(GAME) if game.at.first[0] else memory  # noqa: F821
        ends += bool(game.at.first[0])
        memory, expected = act(jax.random.key(0), memory, game.observation, PARAMS)
        np.testing.assert_array_equal(game.play()[0], expected)
    assert ends > 1


# Seats


@struct.dataclass
class Counting:
    """A policy that counts how often it is traced."""

    traces: list = struct.field(pytree_node=False)
    name, kind = "counting", "heuristic"

    def init(self, game):
        return ()

    def act(self, key, carry, observation, params):
        self.traces.append(observation.own.shape)
        return carry, jnp.where(observation.own[:, 0] > 0, 1, 0)


def test_joining_and_leaving_take_and_free_seats_without_compiling():
    team = PolicyAlgorithm(Counting([]), GAME, PARAMS)
    assert len(team.policy.traces) == 1
    for turn in range(4):
        names = [f"{name}{turn}" for name in NAMES]
        agents = {name: team.agent(name) for name in names}
        for agent in agents.values():
            agent.init_agent(a_state())
        assert [agent.sample_action() for agent in agents.values()] == [1, 1, 1]
        with pytest.raises(ValueError, match=r"^all 3 seats are taken; 'd' can have one when another has left$"):
            agents[names[0]].agent_joined("d")
        agents[names[0]].agent_left(names[1])
        agents[names[2]].agent_left(names[1])  # is told to everybody, and counts once
        agents[names[0]].agent_joined("d")
        newcomer = team.agent("d")
        newcomer.init_agent(a_state())
        agents[names[0]].update(a_state(elapsed=1.0), -1.0)
        assert newcomer.sample_action() == agents[names[0]].sample_action() == 1
        for name in (names[0], names[2], "d"):
            team.leave(name)
    assert team.policy.traces == [(3, WIDTH)]


def test_whoever_was_not_told_has_no_choice():
    team = team_of(learned())
    agents = [team.agent(name) for name in NAMES]
    for agent in agents:
        agent.init_agent(short_state())
    for agent in agents:
        agent.sample_action()
    agents[1].update(short_state(legal=[2]), 0.0)
    assert agents[1].sample_action() == 2
    assert team.choice(0) == team.choice(2) == 0


# Calls and what they refuse


@pytest.mark.parametrize("make", [lambda: team_of(learned()), lambda: LearnerAlgorithm(learner(), started())])
def test_calls_out_of_order_say_which_was_expected(make):
    agent = make().agent("a")
    assert isinstance(agent, LearningAlgorithm)
    early = {
        "sample_action": agent.sample_action,
        "update": lambda: agent.update(short_state(), 0.0),
        "action_probabilities": agent.action_probabilities,
    }
    for name, call in early.items():
        with pytest.raises(RuntimeError, match=rf"^{name} was called of agent 'a'; init_agent was expected$"):
            call()
    agent.init_agent(short_state())
    with pytest.raises(RuntimeError, match=r"^update was called of agent 'a'; sample_action was expected$"):
        agent.update(short_state(), 0.0)
    with pytest.raises(RuntimeError, match=r"^init_agent was called of agent 'a'; sample_action was expected$"):
        agent.init_agent(short_state())
    agent.sample_action()
    with pytest.raises(RuntimeError, match=r"^sample_action was called of agent 'a'; update was expected$"):
        agent.sample_action()
    agent.update(short_state(over=True), 0.0)
    with pytest.raises(RuntimeError, match=r"^sample_action was called of agent 'a'; init_agent was expected$"):
        agent.sample_action()
    agent.init_agent(short_state())
    assert agent.sample_action() in (0, 2)


def test_an_agent_that_left_says_so():
    team = rule()
    agent = team.agent("a")
    agent.init_agent(a_state())
    team.leave("a")
    with pytest.raises(RuntimeError, match=r"^agent 'a' has left; team.agent\('a'\) was expected before sample"):
        agent.sample_action()
    assert team.agent("a") is not agent


@pytest.mark.parametrize("recurrent", [False, True])
def test_probabilities_are_those_by_which_it_draws(recurrent):
    for team in (team_of(learned(recurrent)), LearnerAlgorithm(learner(recurrent), started(recurrent))):
        agent = team.agent("a")
        agent.init_agent(short_state())
        before = agent.action_probabilities()
        choice = agent.sample_action()
        after = agent.action_probabilities()
        assert before.dtype == np.float64 and before.shape == (3,)
        np.testing.assert_allclose(before, after, rtol=1e-6)
        np.testing.assert_allclose(before.sum(), 1, rtol=1e-6)
        assert np.flatnonzero(before).tolist() == [0, 2] and before[choice] > 0


def test_probabilities_of_rules():
    state = a_state(legal=[1, 5, 9])
    for name, expected in (("random", [1 / 3] * 3), ("guided", [0, 0, 0])):  # its sizes are none of the choices
        agent = rule(name).agent("a")
        agent.init_agent(state)
        np.testing.assert_allclose(agent.action_probabilities()[[1, 5, 9]], expected, rtol=1e-6)
    agent = PolicyAlgorithm(Counting([]), GAME, PARAMS).agent("a")
    agent.init_agent(state)
    assert agent.action_probabilities()[[1, 5, 9]].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ActorState(np.ones(5, np.float32), np.ones(CHOICES, bool)), r"^features has shape \(5,\); it must have shape"),
        (ActorState(np.ones(WIDTH, np.float32), np.ones(2, bool)), r"^legal has shape \(2,\); it must have shape"),
        (
            ActorState(np.full(WIDTH, np.nan, np.float32), np.ones(CHOICES, bool)),
            r"^features\[0\] is nan; it must be a finite number$",
        ),
        (
            ActorState(np.ones(WIDTH, np.float32), np.zeros(CHOICES, bool)),
            r"^legal is .*; it must be true for at least one choice$",
        ),
    ],
)
def test_a_state_that_is_none_is_refused(state, said):
    with pytest.raises(ValueError, match=said):
        rule().agent("a").init_agent(state)


def test_a_choice_that_is_not_legal_is_never_passed_on():
    agent = PolicyAlgorithm(Counting([]), GAME, PARAMS).agent("a")
    agent.init_agent(a_state(legal=[2]))
    with pytest.raises(RuntimeError, match=r"^the policy chose 1 for agent 'a', which is not legal there"):
        agent.sample_action()


def test_policies_and_games_that_do_not_fit_are_refused():
    dlb = jaxdlb.make("dlb", num_nodes=3)
    with pytest.raises(ValueError, match=r"^game is dlb; it must be one whose agents see a row of numbers each"):
        PolicyAlgorithm(jaxdlb.heuristic("random"), dlb, dlb.default_params())
    with pytest.raises(ValueError, match=r"^policy is 'oracle_weighted_factoring', an oracle; it must act on what"):
        rule("oracle_weighted_factoring")
    with pytest.raises(ValueError, match=r"^policy is 'guided'; it must be a policy"):
        PolicyAlgorithm("guided", GAME, PARAMS)
    with pytest.raises(ValueError, match=r"^job is 0; it must be"):
        PolicyAlgorithm(jaxdlb.heuristic("guided", game="farm"), GAME, PARAMS.replace(job=jnp.int32(0)))


def test_learners_that_cannot_go_on_in_a_running_system_are_refused():
    with pytest.raises(ValueError, match=r"^critic is 'global_state'; it must be 'observation', since nobody sees"):
        LearnerAlgorithm(learner(config=MAPPOConfig(num_envs=1, rollout_length=8)), started())
    dqn = learners.make(SHORT, DQNConfig(), network=NetworkConfig("mlp", hidden=(8,)))
    with pytest.raises(ValueError, match=r"^learner is an object of the class OffPolicy; it must be one that"):
        LearnerAlgorithm(dqn, None)
    fixed = dataclasses.replace(CONFIG, fixed_agents=(0,), fixed_policy=learned())
    with pytest.raises(ValueError, match=r"^fixed_agents is given; it must not be in a running system$"):
        LearnerAlgorithm(learner(config=fixed), started())
