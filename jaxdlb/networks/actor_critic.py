"""Actors and critics as pure functions of parameters, over all agents of a game at once."""

import dataclasses
import functools
from typing import Any, Generic, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from jaxdlb import spaces
from jaxdlb.checks import check_choice
from jaxdlb.game import Game, max_deciders
from jaxdlb.networks.autoregressive import Autoregressive, Distribution, num_shifts
from jaxdlb.networks.config import AUTO, NetworkConfig
from jaxdlb.networks.distributions import ActionDistribution
from jaxdlb.networks.head_sets import HEAD_SETS, STOCHASTIC, check_heads
from jaxdlb.networks.heads import num_entries
from jaxdlb.networks.modules import ActorModule, GlobalValueModule, Outputs, ValueModule, is_over_rows
from jaxdlb.networks.torsos import TORSOS, Features

Leaf = TypeVar("Leaf")


@struct.dataclass
class Views(Generic[Leaf]):
    """The two views of a cluster, the agents' and the whole state: arrays, or something else kept for each of them."""

    agent: Leaf  # the features of every agent, [*B, N, …]
    state: Leaf  # the global state, [*B, G]


@struct.dataclass
class ActorCriticParams:
    """The parameters of both networks."""

    actor: PyTree
    critic: PyTree


@struct.dataclass
class Memories:
    """What the two networks remember: [*B, N, H], or () if they have no memory."""

    actor: Any
    critic: Any


def features(observation: Any) -> dict[str, Any]:
    """The arrays of an observation by name, except the legal masks and integers; `own` [*B, N, F] is always among them.

    `visible`, bool [*B, N, P], if it is there, is a mask too, not a feature: of which peers an agent knows. Integers
    say what rows are about, and are no features either.
    """
    names = [field.name for field in dataclasses.fields(observation) if field.name != "legal"]
    arrays = {name: getattr(observation, name) for name in names}
    return {name: each for name, each in arrays.items() if not jnp.issubdtype(each.dtype, jnp.integer)}


@dataclasses.dataclass(frozen=True)
class OverAgents:
    """A module on one agent's observation, applied to all N agents, with parameters shared or separate for each.

    `carry` is [*B, N, H] with memory and () without; features have leading axes [*B, N].
    """

    module: nn.Module
    num_agents: int
    carry_size: int | None  # width of the memory; None if there is no memory
    shared: bool
    precision: str = "float32"

    def init(self, key: PRNGKeyArray, features: Features) -> PyTree:
        """Initial parameters, with the leading axis N if not shared. `features` have the leading axis N."""
        itself, carry = jnp.eye(self.num_agents, dtype=bool), self.initial_carry(())
        if self.shared:
            return self.module.init(key, carry, features, itself)
        # One after the other: jaxlib 0.10.2 may block all threads of a CPU in batches of the QR decompositions from
        # which networks start, and several networks are started in one program.
        each = (jax.random.split(key, self.num_agents), carry, features, itself)
        return jax.lax.map(lambda agent: self.module.init(*agent), each)

    def initial_carry(self, batch: tuple[int, ...]) -> Any:
        """An empty memory for each agent: zeros [*batch, N, H], or () without memory."""
        return () if self.carry_size is None else jnp.zeros((*batch, self.num_agents, self.carry_size))

    def apply(self, params: PyTree, carry: Any, features: Features) -> tuple[Any, Any]:
        """The next carry, and the module's output with leading axes [*B, N], both float32."""
        params, carry, features = _cast((params, carry, features), self.precision)
        return _cast(self._apply(params, carry, features), "float32")

    def _apply(self, params: PyTree, carry: Any, features: Features) -> tuple[Any, Any]:
        batch = features["own"].shape[:-2]
        itself = jnp.broadcast_to(jnp.eye(self.num_agents, dtype=bool), (*batch, self.num_agents, self.num_agents))
        if self.shared:
            return self.module.apply(params, carry, features, itself)
        axis = len(batch)
        apply = jax.vmap(self.module.apply, in_axes=(0, axis, axis, axis), out_axes=axis)
        return apply(params, carry, features, itself)

    def apply_some(self, params: PyTree, features: Features, chosen: Bool[Array, "*B N"], at_most: int) -> Any:
        """The output of the agents that are `chosen`, of whom there are `at_most` so many, and zeros for all others.

        Only their rows go through the module, whose parameters must be shared, without memory.
        """
        slot = jnp.cumsum(chosen, axis=-1)[..., None, :] == 1 + jnp.arange(at_most)[:, None]
        slot &= chosen[..., None, :]
        params, features = _cast((params, features), self.precision)
        _, output = self.module.apply(params, (), jax.tree.map(functools.partial(_gathered, slot), features), slot)
        return _cast(jax.tree.map(functools.partial(_scattered, slot), output), "float32")

    def apply_one(self, params: PyTree, carry: Any, features: Features, agent: int | Int[Array, ""]) -> tuple[Any, Any]:
        """Like `apply`, but for one agent, with the index `agent`: carry, features and output have no axis N."""
        if not self.shared:
            params = jax.tree.map(lambda leaf: leaf[agent], params)
        params, carry, features = _cast((params, carry, features), self.precision)
        itself = jnp.arange(self.num_agents) == agent
        return _cast(self.module.apply(params, carry, features, itself), "float32")


@dataclasses.dataclass(frozen=True)
class OverState:
    """A module on the global state [*B, G] that gives a value for each agent, [*B, N]; it has no memory."""

    module: nn.Module
    precision: str = "float32"

    def init(self, key: PRNGKeyArray, state: Float[Array, " G"]) -> PyTree:
        """Initial parameters."""
        return self.module.init(key, state)

    def initial_carry(self, batch: tuple[int, ...]) -> tuple[()]:
        """No memory."""
        return ()

    def apply(self, params: PyTree, carry: Any, state: Float[Array, "*B G"]) -> tuple[Any, Any]:
        """The carry, unchanged, and the values, float32."""
        return carry, _cast(self.module.apply(*_cast((params, state), self.precision)), "float32")


def _gathered(slot: Bool[Array, "*B K N"], leaf: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """[*B, K, …] of [*B, N, …]: the rows of the agents in each slot, zeros for a slot that nobody is in."""
    flat = leaf.reshape(*slot.shape[:-2], slot.shape[-1], -1).astype(jnp.float32)
    rows = jnp.einsum("...kn,...nf->...kf", slot.astype(jnp.float32), flat)
    return rows.reshape(*slot.shape[:-1], *leaf.shape[slot.ndim - 1 :]).astype(leaf.dtype)


def _scattered(slot: Bool[Array, "*B K N"], leaf: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """[*B, N, …] of [*B, K, …]: the rows of the slots where their agents are, zeros for whoever is in none."""
    return _gathered(jnp.swapaxes(slot, -1, -2), leaf)


def _cast(tree: PyTree, precision: str) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else leaf.astype(precision), tree)


@dataclasses.dataclass(frozen=True)
class Actor:
    """Turns what agents see into the distribution of what they do."""

    network: OverAgents
    action_spaces: tuple[spaces.Space, ...]  # in the order of the action's leaves
    heads: str = STOCHASTIC  # their kind, one of `HEAD_SETS`
    max_deciders: int | None = None  # where that is a part of all: the most agents that have a choice in one step

    @property
    def num_agents(self) -> int:
        return self.network.num_agents

    def init(self, key: PRNGKeyArray, view: Features) -> PyTree:
        """Initial parameters; `view` holds the features of the agents of one cluster."""
        return self.network.init(key, view)

    def initial_carry(self, batch: tuple[int, ...]) -> Any:
        """An empty memory for each agent: zeros [*batch, N, H], or () without memory."""
        return self.network.initial_carry(batch)

    def apply(self, params: PyTree, memory: Any, view: Features, legal: PyTree) -> tuple[Any, Distribution]:
        """The next memory, and the distribution of the agents' actions; all with leading axes [*B, N]."""
        if self.max_deciders is None:
            memory, outputs = self.network.apply(params, memory, view)
        else:  # whoever has one choice takes it, whatever its scores are
            decides = spaces.decides(self.action_spaces, tuple(jax.tree.leaves(legal)))
            outputs = self.network.apply_some(params, view, decides, self.max_deciders)
        itself = jnp.broadcast_to(jnp.eye(self.num_agents, dtype=bool), (*view["own"].shape[:-1], self.num_agents))
        return memory, self._distribution(outputs, legal, itself)

    def apply_one(
        self, params: PyTree, memory: Any, view: Features, legal: PyTree, agent: int | Int[Array, ""]
    ) -> tuple[Any, Distribution]:
        """Like `apply`, but for one agent, with the index `agent`: no argument or result has the axis N."""
        memory, outputs = self.network.apply_one(params, memory, view, agent)
        return memory, self._distribution(outputs, legal, jnp.arange(self.num_agents) == agent)

    def _distribution(self, outputs: Outputs, legal: PyTree, itself: Bool[Array, "*B N"]) -> Distribution:
        scores, free, shifts = outputs
        if isinstance(shifts, tuple):
            return ActionDistribution.of(self.action_spaces, scores, free, legal, self.heads)
        return Autoregressive.of(self.action_spaces, scores, shifts, legal, itself)


Critic = OverAgents | OverState
Network = Actor | Critic


def unroll(network: Network, params: PyTree, carry: Any, inputs: tuple[PyTree, ...], first: Bool[Array, "L B"]) -> Any:
    """Outputs over sequences: `inputs` have leading axes [L, B]; `carry` [B] is the memory before the first step.

    The memory is cleared before each step that is the `first` of an episode.
    """
    if not jax.tree.leaves(carry):
        return network.apply(params, carry, *inputs)[1]

    def step(carry: Any, at: tuple[tuple[PyTree, ...], Bool[Array, " B"]]) -> tuple[Any, Any]:
        now, is_first = at
        return network.apply(params, forget(carry, is_first), *now)

    return jax.lax.scan(step, carry, (inputs, first))[1]


def forget(carry: Any, first: Bool[Array, " B"]) -> Any:
    """The memory [B, N, H], with zeros wherever an episode begins."""
    return jax.tree.map(lambda leaf: jnp.where(first[:, None, None], 0.0, leaf), carry)


@dataclasses.dataclass(frozen=True)
class ActorCritic:
    """The two networks of a learner, and what each of them sees."""

    actor: Actor
    critic: Critic

    def init(self, actor_key: PRNGKeyArray, critic_key: PRNGKeyArray, views: Views) -> ActorCriticParams:
        """Initial parameters of both; `views` are those of one cluster."""
        return ActorCriticParams(
            actor=self.actor.init(actor_key, views.agent),
            critic=self.critic.init(critic_key, self.critic_view(views)),
        )

    def initial_memories(self, batch: tuple[int, ...]) -> Memories:
        """Empty memories for both."""
        return Memories(actor=self.actor.initial_carry(batch), critic=self.critic.initial_carry(batch))

    def critic_view(self, views: Views) -> Any:
        """The global state for a centralised critic; otherwise the agents' own features."""
        return views.state if isinstance(self.critic, OverState) else views.agent


def suited(game: Game, config: NetworkConfig) -> NetworkConfig:
    """The network that `config` stands for in `game`: of a kind that is not auto."""
    if config.kind != AUTO:
        return config
    return dataclasses.replace(config, kind="pointer" if _has_rows_to_point_at(game) else "mlp")


def _has_rows_to_point_at(game: Game) -> bool:
    """Whether an action chooses among the rows of `peers`, and a pointer network takes them."""
    action_spaces = tuple(spaces.leaves(game.action_space))
    if not any(map(is_over_rows, action_spaces)):
        return False
    try:
        _check_observation(game, NetworkConfig(kind="pointer"), action_spaces)
    except ValueError:
        return False
    return True


def build_actor(game: Game, config: NetworkConfig, share_parameters: bool = True, heads: str = STOCHASTIC) -> Actor:
    """The actor for `game`, with heads of a kind in `HEAD_SETS`.

    Raises:
        ValueError: an unknown kind of heads, an action space that they do not cover, choices that see each other
            where heads draw nothing, or an observation without something that the network needs.
    """
    check_heads(heads)
    config, action_spaces = suited(game, config), tuple(spaces.leaves(game.action_space))
    for space in action_spaces:
        if type(space) not in HEAD_SETS[heads]:
            known = ", ".join(kind.__name__ for kind in HEAD_SETS[heads])
            which = "networks have heads" if heads == STOCHASTIC else f"the heads called {heads} are"
            raise ValueError(f"{game.name} has an action in a {type(space).__name__}; {which} for {known}")
    if config.autoregressive and heads != STOCHASTIC:
        raise ValueError(
            f"autoregressive is true; it must be false here, since heads called {heads} see no other choice"
        )
    _check_observation(game, config, action_spaces)
    torso = TORSOS[config.kind](config.hidden, config.recurrent)
    module = ActorModule(torso, action_spaces, num_shifts(action_spaces) if config.autoregressive else 0, heads)
    network = _over_agents(game, config, module, share_parameters)
    # A memory is kept up in every step, and values are of use for those too who have no choice.
    takes_some = share_parameters and not config.recurrent and heads == STOCHASTIC
    return Actor(network, action_spaces, heads, max_deciders(game) if takes_some else None)


def build_critic(game: Game, config: NetworkConfig, share_parameters: bool = True) -> OverAgents:
    """A network of the kind in `config`, as wide as `critic_hidden`, that gives a value for each agent.

    Whatever else than the agents' features it is to see, such as actions, is to be appended to `own`. It has no memory.

    Raises:
        ValueError: an observation without something that the network needs.
    """
    config = suited(game, config)
    _check_observation(game, config, tuple(spaces.leaves(game.action_space)))
    module = ValueModule(TORSOS[config.kind](config.critic_hidden, False))
    return OverAgents(module, game.num_agents, None, share_parameters, config.precision)


def build(
    game: Game, config: NetworkConfig, *, critic: str = "global_state", share_parameters: bool = True
) -> ActorCritic:
    """The actor and the critic for `game`; `critic` is what the critic sees: `global_state` or `observation`.

    Raises:
        ValueError: an unknown `critic`, an action space of an unknown type, or an observation without something that
            the network needs.
    """
    check_choice("critic", critic, ("global_state", "observation"))
    config = suited(game, config)
    actor = build_actor(game, config, share_parameters)
    if critic == "global_state":
        module = GlobalValueModule(config.critic_hidden, game.num_agents)
        return ActorCritic(actor, OverState(module, config.precision))
    torso = TORSOS[config.kind](config.hidden, config.recurrent)
    return ActorCritic(actor, _over_agents(game, config, ValueModule(torso), share_parameters))


def _over_agents(game: Game, config: NetworkConfig, module: nn.Module, shared: bool) -> OverAgents:
    carry_size = config.hidden[-1] if config.recurrent else None
    return OverAgents(module, game.num_agents, carry_size, shared, config.precision)


def _check_observation(game: Game, config: NetworkConfig, action_spaces: tuple[spaces.Space, ...]) -> None:
    """Raise ValueError unless the observation has what the network needs, with as many rows as the action requires."""
    found = features(game.observation_shapes)
    needs = TORSOS[config.kind].needs
    missing = [name for name in needs if name not in found]
    if missing:
        raise ValueError(
            f"kind is {config.kind!r}; such a network needs {' and '.join(missing)} in an observation, "
            f"and that of {game.name} has only {', '.join(found)}"
        )
    if "peers" not in needs:
        return
    num_rows = found["peers"].shape[-2]
    for space in filter(is_over_rows, action_spaces):
        if space.over_agents and num_rows != game.num_agents:
            raise ValueError(f"peers has {num_rows} rows; with {space} they must be the {game.num_agents} agents")
        if num_entries(space) < num_rows:
            raise ValueError(f"peers has {num_rows} rows; {space} must have an entry for each of them")
