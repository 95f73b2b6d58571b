"""A small game as a finite chain on what all its agents know: built from its own `step`, solved without sampling.

At the start of a round all agents know the *common* information s: the loads after the last landing and the round
modulo N. Each agent alone knows its own *events*: whether a task arrived, and whether one completed. Given s, events
are independent. A **local choice** c of an agent is one of its four events together with a legal action in it. There
are C = (1 + N)² of them: 1 where nothing happened, N after an arrival, N after a completion, N² after both. A joint
choice is one of each agent, J = Cᴺ in all. For every s and every joint choice the game itself says what follows and
what the agents earn; a policy is what it makes of the probabilities of joint choices.

All values are float64, but what the game computes is float32, and so are own utilities.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.mechanics.peer_view import Action
from jaxdlb.policies import Policy

EVENTS = ((False, False), (True, False), (False, True), (True, True))  # of an agent: arrived, completed
MOST_BYTES = 4 * 2**30  # that a chain may take, its tables and the matrices of its equations
_AT_ONCE = 2**18  # steps of the game that are compiled into one call

Weights = Float[np.ndarray, "S C"]  # of one agent: the probability of each local choice


@runtime_checkable
class Common(Protocol):
    """What a game says of itself as a chain on common information; see `Entry.common`."""

    @property
    def game(self) -> Any: ...

    @property
    def params(self) -> Any: ...

    @property
    def covered(self) -> Mapping[str, Any]:
        """The parameters that must have one value, by their paths, and the value; stated by the class itself."""
        ...

    @staticmethod
    def given(params: Any, name: str) -> Any:
        """What parameters say of one of these."""
        ...

    @property
    def most(self) -> int:
        """The largest load of a node."""
        ...

    def event_probs(
        self, loads: Int[np.ndarray, "S N"]
    ) -> tuple[Float[np.ndarray, "S N"], Float[np.ndarray, "S N"]]: ...

    def state(
        self, load: Int[Array, " N"], arrived: Bool[Array, " N"], completed: Bool[Array, " N"], round: Int[Array, ""]
    ) -> Any: ...

    def loads_after(self, state: Any) -> Int[Array, " N"]: ...


@dataclasses.dataclass(frozen=True)
class Choices:
    """The local choices of N agents, in the order of `EVENTS`."""

    event: Int[np.ndarray, " C"]
    dispatch: Int[np.ndarray, "N C"]
    steal: Int[np.ndarray, "N C"]

    @property
    def groups(self) -> list[slice]:
        """Where the choices of each event stand."""
        ends = np.cumsum(np.bincount(self.event, minlength=len(EVENTS)))
        return [slice(int(start), int(end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """The tables of a game on S common states, for J = Cᴺ joint choices, the last agent's choice varying fastest."""

    common: Common
    loads: Int[np.ndarray, "S N"]
    rounds: Int[np.ndarray, " S"]  # modulo N
    choices: Choices
    event_probs: Float[np.ndarray, "S N E"]  # of each agent's events
    following: Int[np.ndarray, "S J"]  # the common state after a joint choice
    utilities: Float[np.ndarray, "S J N"]  # each agent's own utility in that round, float32

    @property
    def num_agents(self) -> int:
        return self.loads.shape[1]

    @property
    def num_states(self) -> int:
        return len(self.loads)

    def reward(self, agent: int, selfishness: float) -> Float[np.ndarray, "S J"]:
        """What an agent earns: (1 − κ) · u + κ · u_i, of which u is the mean of all u_i."""
        if selfishness == 0:
            return self.utility
        return (1 - selfishness) * self.utility + selfishness * self.utilities[..., agent]

    @functools.cached_property
    def utility(self) -> Float[np.ndarray, "S J"]:
        """The mean utility of the agents, which all share at κ = 0."""
        return self.utilities.mean(axis=-1, dtype=np.float64)

    @functools.cached_property
    def choice_probs(self) -> Float[np.ndarray, "S N C"]:
        """The probability of the event that belongs to each local choice."""
        return self.event_probs[..., self.choices.event]

    def weights(self, policy: Policy) -> list[Weights]:
        """For each agent the probability of each local choice, from the policy's action probabilities.

        Raises:
            ValueError: the policy remembers, so that its probabilities do not follow from what is observed.
        """
        return _weights(self, policy)

    def joint(self, weights: Sequence[Weights]) -> Float[np.ndarray, "S J"]:
        """The probability of each joint choice, of agents that choose by these weights independently."""
        return functools.reduce(lambda one, two: (one[:, :, None] * two[:, None, :]).reshape(len(one), -1), weights)


@dataclasses.dataclass(frozen=True, eq=False)
class Values:
    """What a policy gets, from every common state."""

    average: float  # a round, in the long run, from wherever it starts
    relative: Float[np.ndarray, " S"]  # how much more than from state 0 it gets in all


def num_joint_choices(num_agents: int) -> int:
    """J = (1 + N)^(2N)."""
    return (1 + num_agents) ** (2 * num_agents)


def num_states(num_agents: int, most: int) -> int:
    """S = N · (1 + K)ᴺ."""
    return num_agents * (1 + most) ** num_agents


def size_in_bytes(num_agents: int, most: int) -> int:
    """About what a chain and its solution take: tables and their products, and three matrices of equations.

    Per state and joint choice that is what follows, float32 utilities, and fifteen float64 (rewards, policies, what
    they are worth, and the like), by what best responses were measured to take.
    """
    states = num_states(num_agents, most)
    return states * num_joint_choices(num_agents) * (4 + 4 * num_agents + 8 * 15) + 24 * states**2


def check_size(num_agents: int, most: int, limit: int = MOST_BYTES) -> None:
    """Raise ValueError, before anything is taken, if the chain would not fit into `limit` bytes."""
    needed = size_in_bytes(num_agents, most)
    if needed <= limit:
        return
    fits = list(itertools.takewhile(lambda k: size_in_bytes(num_agents, k) <= limit, range(1, most)))
    hint = f"at {num_agents} nodes a capacity of {fits[-1]} would fit" if fits else "fewer nodes would"
    raise ValueError(
        f"capacity is {most}; with {num_agents} nodes that makes {_many(num_states(num_agents, most))} states of "
        f"{_many(num_joint_choices(num_agents))} joint choices, {_gibibytes(needed)}, and it must fit into "
        f"{_gibibytes(limit)}: {hint}"
    )


def _many(count: int) -> str:
    """A count in digits, or as a power of ten where there are too many."""
    return f"{count:,}" if count < 10**12 else f"about 10^{math.log10(count):.0f}"


def _gibibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:,.3g} GiB" if num_bytes < 2**50 else f"{_many(num_bytes // 2**30)} GiB"


def build(common: Common, *, limit: int = MOST_BYTES) -> Chain:
    """The chain of one small cluster, by playing every joint choice in every common state once.

    Raises:
        ValueError: it would take more than `limit` bytes.
    """
    num_agents, most = common.game.num_agents, common.most
    check_size(num_agents, most, limit)
    loads = np.array(list(itertools.product(range(num_agents), *[range(most + 1)] * num_agents)), np.int32)
    rounds, loads = loads[:, 0], loads[:, 1:]
    choices = local_choices(num_agents)
    following, utilities = _play_all(common, loads, rounds, choices)
    arrives, completes = common.event_probs(loads)
    each = [(arrives if a else 1 - arrives) * (completes if c else 1 - completes) for a, c in EVENTS]
    return Chain(common, loads, rounds, choices, np.stack(each, axis=-1), following, utilities)


def local_choices(num_agents: int) -> Choices:
    """What an agent may do after each of its events; what it may not is the no-op, its own index."""
    nodes = range(num_agents)
    rows = [
        [
            (event, dispatch, steal)
            for event, (arrived, completed) in enumerate(EVENTS)
            for dispatch in (nodes if arrived else [agent])
            for steal in (nodes if completed else [agent])
        ]
        for agent in nodes
    ]
    event, dispatch, steal = np.moveaxis(np.array(rows, np.int32), -1, 0)
    return Choices(event[0], dispatch, steal)


def evaluate(
    chain: Chain, joint: Float[np.ndarray, "S J"], rewards: Sequence[Float[np.ndarray, "S J"]] | None = None
) -> list[Values]:
    """What is earned on average, and relative values, for each of the rewards (by default, for the utility alone).

    Solves g + v(s) = r(s) + Σ P(s, s′) v(s′), v(0) = 0. Every state reaches the empty one, so one class is recurrent.
    """
    wanted = [chain.utility] if rewards is None else rewards
    equations = np.eye(chain.num_states) - transitions(chain, joint)
    equations[:, 0] = 1.0  # the unknown there is g instead of v(0), which is 0
    solved = np.linalg.solve(equations, np.stack([np.sum(joint * each, axis=1) for each in wanted], axis=1))
    return [Values(float(each[0]), np.concatenate([[0.0], each[1:]])) for each in solved.T]


def discounted(chain: Chain, joint: Float[np.ndarray, "S J"], gamma: float) -> Float[np.ndarray, " S"]:
    """The expected sum of γᵗ · utility from every common state: v = r + γ P v.

    Raises:
        ValueError: unless 0 ≤ γ < 1.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma is {gamma:g}; it must be in [0, 1)")
    equations = np.eye(chain.num_states) - gamma * transitions(chain, joint)
    return np.linalg.solve(equations, np.sum(joint * chain.utility, axis=1))


def stationary_law(chain: Chain, joint: Float[np.ndarray, "S J"]) -> Float[np.ndarray, " S"]:
    """The share of rounds that begin in each common state, in the long run."""
    equations = np.eye(chain.num_states) - transitions(chain, joint)
    equations[:, 0] = 1.0
    return np.linalg.solve(equations.T, np.eye(chain.num_states)[0])


def transitions(chain: Chain, joint: Float[np.ndarray, "S J"]) -> Float[np.ndarray, "S S"]:
    """The probability of each common state after each other."""
    size = chain.num_states
    places = (np.arange(size)[:, None] * size + chain.following).ravel()
    return np.bincount(places, weights=joint.ravel(), minlength=size**2).reshape(size, size)


def _play_all(
    common: Common, loads: Int[np.ndarray, "S N"], rounds: Int[np.ndarray, " S"], choices: Choices
) -> tuple[Int[np.ndarray, "S J"], Float[np.ndarray, "S J N"]]:
    """What follows every joint choice in every common state, and what each agent gets."""
    num_agents, most = loads.shape[1], common.most
    grid = np.indices([len(choices.event)] * num_agents).reshape(num_agents, -1)  # [N, J]
    arrived, completed = np.array(EVENTS)[choices.event].T
    agents = np.arange(num_agents)[:, None]
    joint = (arrived[grid].T, completed[grid].T, choices.dispatch[agents, grid].T, choices.steal[agents, grid].T)
    radix = (most + 1) ** np.arange(num_agents)[::-1]

    def play(load: Array, round: Array, arrived: Array, completed: Array, dispatch: Array, steal: Array) -> Any:
        state = common.state(load, arrived, completed, round)
        # Where nothing is there to complete, the event has probability 0, and what follows does not matter.
        after, timestep = common.game.step(jax.random.key(0), state, Action(dispatch, steal), common.params)
        where = jnp.sum(jnp.clip(common.loads_after(after), 0, most) * radix)
        return (round + 1) % num_agents * (most + 1) ** num_agents + where, timestep.utilities

    every = jax.vmap(jax.vmap(play, (None, None, 0, 0, 0, 0)), (0, 0, None, None, None, None))
    every = jax.jit(every)
    each = max(1, _AT_ONCE // len(joint[0]))
    played = [jax.device_get(every(*few, *joint)) for few in _in_parts(each, loads, rounds)]
    following, utilities = (np.concatenate(parts)[: len(loads)] for parts in zip(*played, strict=True))
    return following, utilities


def _in_parts(size: int, *arrays: np.ndarray) -> list[list[np.ndarray]]:
    """Parts of the arrays, all as long as each other: the last is filled up with the first row."""
    length = len(arrays[0])
    places = [np.arange(start, start + size) for start in range(0, length, size)]
    return [[array[np.where(place < length, place, 0)] for array in arrays] for place in places]


def _weights(chain: Chain, policy: Policy) -> list[Weights]:
    """See `Chain.weights`."""
    if not hasattr(policy, "probabilities"):
        raise ValueError(f"policy is {policy.name!r}; it must state the probabilities of its actions")
    common, num_agents = chain.common, chain.num_agents

    def act(load: Array, round: Array, event: Array) -> Array:
        """Of each agent's dispatch and steal, [N, N, N], all agents having that event."""
        arrived, completed = (jnp.broadcast_to(each, num_agents) for each in event)
        state = common.state(load, arrived, completed, round)
        observation = common.game.true_observation(state, common.params)  # news is fresh
        return policy.probabilities(observation, common.params)

    every = jax.jit(jax.vmap(jax.vmap(act, (None, None, 0)), (0, 0, None)))
    probs = jax.device_get(every(chain.loads, chain.rounds, np.array(EVENTS)))  # [S, E, N, N, N]
    event, dispatch, steal = chain.choices.event, chain.choices.dispatch, chain.choices.steal
    given = [probs[:, event, i, dispatch[i], steal[i]].astype(np.float64) for i in range(num_agents)]
    # float32 probabilities sum to 1 but for rounding
    totals = [np.add.reduceat(each, [group.start for group in chain.choices.groups], axis=1) for each in given]
    return [chain.choice_probs[:, i] * given[i] / totals[i][:, event] for i in range(num_agents)]
