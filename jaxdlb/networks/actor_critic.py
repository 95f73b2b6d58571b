"""Actors and critics as pure functions of parameters, over all agents of a game at once."""

import dataclasses
from typing import Any, Generic, TypeGuard, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb import spaces
from jaxdlb.checks import check_choice
from jaxdlb.game import Game
from jaxdlb.networks.autoregressive import Autoregressive, Distribution, num_shifts
from jaxdlb.networks.config import AUTO, NetworkConfig
from jaxdlb.networks.distributions import ActionDistribution
from jaxdlb.networks.head_sets import HEAD_SETS, STOCHASTIC, check_heads
from jaxdlb.networks.torsos import MLP, TORSOS, Affine, Embedding, Features

_HEAD_SCALE = 0.01  # initial scores near 0, so that all legal choices are about equally likely


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


# Of a network that acts: scores and free parameters for each space, and by how much scores depend on the first choice
Outputs = tuple[list[Array], list[Array], Any]


class _Heads(nn.Module):
    """The scores and free parameters from which heads of a `kind` make the distribution of each space.

    If a space's entries stand for rows of `peers` and the torso embeds these rows, each is scored from its embedding,
    with weights shared by all rows; otherwise, scores are an affine map of the agent's embedding.
    """

    action_spaces: tuple[spaces.Space, ...]
    num_shifts: int
    kind: str = STOCHASTIC

    @nn.compact
    def __call__(self, embedding: Embedding, itself: Bool[Array, "*B N"]) -> Outputs:
        scores = self._scores(embedding, itself)
        free = [self._free(index, embedding.agent) for index in range(len(self.action_spaces))]
        if not self.num_shifts:
            return scores, free, ()
        return scores, free, Affine(self.num_shifts, scale=_HEAD_SCALE, name="shifts")(embedding.agent)

    def _scores(self, embedding: Embedding, itself: Bool[Array, "*B N"]) -> list[Float[Array, "..."]]:
        pointing = [space for space in self.action_spaces if embedding.pairs is not None and _is_over_rows(space)]
        rows = iter(())
        if embedding.pairs is not None and pointing:
            scored = Affine(len(pointing), scale=_HEAD_SCALE)(embedding.pairs)
            rows = iter(jnp.moveaxis(scored, -1, 0))
        return [
            _entry_scores(self._head(space), space, next(rows), embedding.agent, itself)
            if pointing and _is_over_rows(space)
            else Affine(self._head(space).num_scores(space), scale=_HEAD_SCALE)(embedding.agent)
            for space in self.action_spaces
        ]

    def _free(self, index: int, agent: Float[Array, "*B H"]) -> Float[Array, "*B F"]:
        """The free parameters of a head, which do not depend on what the agent sees; [*B, 0] if it has none."""
        space = self.action_spaces[index]
        head = self._head(space)
        shape = (head.num_free(space),)
        if not shape[0]:
            return jnp.zeros((*agent.shape[:-1], 0))
        values = self.param(f"free_{index}", nn.initializers.constant(head.free_start), shape)
        return jnp.broadcast_to(values, (*agent.shape[:-1], *shape))

    def _head(self, space: spaces.Space) -> Any:
        return HEAD_SETS[self.kind][type(space)]


def _is_over_rows(space: spaces.Space) -> TypeGuard[spaces.Discrete | spaces.Simplex]:
    """Whether the entries of a space stand for rows of `peers`."""
    return not isinstance(space, spaces.Box) and (space.over_agents or space.over_candidates)


def _entry_scores(
    head: Any,  # a class of `heads`
    space: spaces.Discrete | spaces.Simplex,
    rows: Float[Array, "*B P"],
    agent: Float[Array, "*B H"],
    itself: Bool[Array, "*B N"],
) -> Float[Array, "*B A"]:
    """A score for each entry, given those of the rows; entries beyond the rows are scored from the agent's embedding.

    Where scores are odds of a choice among agents, those of oneself are made independent of the number of peers. For
    shares among agents, the share that an agent keeps gets a score from its own embedding as well. Call this only
    within a module.
    """
    num_further = head.num_scores(space) - rows.shape[-1]
    keeps_share = space.over_agents and isinstance(space, spaces.Simplex)
    if space.over_agents and head.scores_are_odds:
        rows = _corrected_for_number(rows, itself)
    if num_further + keeps_share == 0:
        return rows
    from_agent = Affine(num_further + keeps_share, scale=_HEAD_SCALE)(agent)
    if keeps_share:
        rows = jnp.where(itself, rows + from_agent[..., -1:], rows)
    return jnp.concatenate([rows, from_agent[..., :num_further]], axis=-1)


def _corrected_for_number(scores: Float[Array, "*B N"], itself: Bool[Array, "*B N"]) -> Float[Array, "*B N"]:
    """Scores with log(N − 1) subtracted for every peer: at equal scores, the odds of oneself are 1 : 1 at any N."""
    return jnp.where(itself, scores, scores - jnp.log(max(scores.shape[-1] - 1, 1)))


class _ActorModule(nn.Module):
    torso: nn.Module
    action_spaces: tuple[spaces.Space, ...]
    num_shifts: int = 0
    heads: str = STOCHASTIC

    @nn.compact
    def __call__(self, carry: Any, features: Features, itself: Bool[Array, "*B N"]) -> tuple[Any, Outputs]:
        carry, embedding = self.torso(carry, features, itself)
        return carry, _Heads(self.action_spaces, self.num_shifts, self.heads)(embedding, itself)


class _ValueModule(nn.Module):
    torso: nn.Module

    @nn.compact
    def __call__(self, carry: Any, features: Features, itself: Bool[Array, "*B N"]) -> tuple[Any, Float[Array, "*B"]]:
        carry, embedding = self.torso(carry, features, itself)
        return carry, Affine(1, scale=1.0)(embedding.agent)[..., 0]


class _GlobalValueModule(nn.Module):
    hidden: tuple[int, ...]
    num_agents: int

    @nn.compact
    def __call__(self, state: Float[Array, "*B G"]) -> Float[Array, "*B N"]:
        return Affine(self.num_agents, scale=1.0)(MLP(self.hidden)(state))


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


def _cast(tree: PyTree, precision: str) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else leaf.astype(precision), tree)


@dataclasses.dataclass(frozen=True)
class Actor:
    """Turns what agents see into the distribution of what they do."""

    network: OverAgents
    action_spaces: tuple[spaces.Space, ...]  # in the order of the action's leaves
    heads: str = STOCHASTIC  # their kind, one of `HEAD_SETS`

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
        memory, outputs = self.network.apply(params, memory, view)
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
    if not any(map(_is_over_rows, action_spaces)):
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
    module = _ActorModule(torso, action_spaces, num_shifts(action_spaces) if config.autoregressive else 0, heads)
    return Actor(_over_agents(game, config, module, share_parameters), action_spaces, heads)


def build_critic(game: Game, config: NetworkConfig, share_parameters: bool = True) -> OverAgents:
    """A network of the kind in `config`, as wide as `critic_hidden`, that gives a value for each agent.

    Whatever else than the agents' features it is to see, such as actions, is to be appended to `own`. It has no memory.

    Raises:
        ValueError: an observation without something that the network needs.
    """
    config = suited(game, config)
    _check_observation(game, config, tuple(spaces.leaves(game.action_space)))
    module = _ValueModule(TORSOS[config.kind](config.critic_hidden, False))
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
        module = _GlobalValueModule(config.critic_hidden, game.num_agents)
        return ActorCritic(actor, OverState(module, config.precision))
    torso = TORSOS[config.kind](config.hidden, config.recurrent)
    return ActorCritic(actor, _over_agents(game, config, _ValueModule(torso), share_parameters))


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
    for space in filter(_is_over_rows, action_spaces):
        if space.over_agents and num_rows != game.num_agents:
            raise ValueError(f"peers has {num_rows} rows; with {space} they must be the {game.num_agents} agents")
        if _num_entries(space) < num_rows:
            raise ValueError(f"peers has {num_rows} rows; {space} must have an entry for each of them")


def _num_entries(space: spaces.Discrete | spaces.Simplex) -> int:
    return space.num_choices if isinstance(space, spaces.Discrete) else space.size
