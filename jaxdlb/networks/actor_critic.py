"""Actors and critics as pure functions of parameters, over all agents of a game at once."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from jaxdlb import spaces
from jaxdlb.checks import check_choice, check_size
from jaxdlb.game import Game
from jaxdlb.networks.torsos import MLP, TORSOS, Affine, Embedding, Features

_HEAD_SCALE = 0.01  # logits near 0 at first: every legal choice about as likely


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network reads an observation, and how large it is.

    Raises:
        ValueError: an unknown `kind` or `precision`, no hidden layer, or a size below 1.
    """

    kind: str = "mlp"  # over the flattened observation; or pointer: shared weights for every peer, runs at any N
    recurrent: bool = False  # a GRU remembers past rounds
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers, the last one also the GRU's
    critic_hidden: tuple[int, ...] = (128, 128)  # of the critic on the global state
    precision: str = "float32"  # or bfloat16, quick on accelerators: of the arithmetic; parameters stay float32

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, tuple(TORSOS))
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        for name in ("hidden", "critic_hidden"):
            sizes = getattr(self, name)
            if not sizes:
                raise ValueError(f"{name} is empty; it must name the width of at least one layer")
            for size in sizes:
                check_size(name, size, 1)


def features(observation: Any) -> dict[str, Array]:
    """The arrays of an observation without the legal masks, by name; `own` [*B, N, F] is always among them."""
    names = [field.name for field in dataclasses.fields(observation) if field.name != "legal"]
    return {name: getattr(observation, name) for name in names}


class _Heads(nn.Module):
    """Logits for each Discrete space: a score for each pair where choices name agents, an affine map elsewhere."""

    action_space: tuple[spaces.Discrete, ...]

    @nn.compact
    def __call__(self, embedding: Embedding, itself: Bool[Array, "*B N"]) -> list[Float[Array, "*B A"]]:
        by_pair = [embedding.pairs is not None and space.over_agents for space in self.action_space]
        scores = iter(())
        if embedding.pairs is not None and any(by_pair):
            scored = Affine(sum(by_pair), scale=_HEAD_SCALE)(embedding.pairs)
            scores = iter(jnp.moveaxis(scored, -1, 0))
        return [
            _share_among_others(next(scores), itself)
            if is_pair
            else Affine(space.num_choices, scale=_HEAD_SCALE)(embedding.agent)
            for space, is_pair in zip(self.action_space, by_pair, strict=True)
        ]


def _share_among_others(scores: Float[Array, "*B N"], itself: Bool[Array, "*B N"]) -> Float[Array, "*B N"]:
    """Scores with log(N − 1) taken off every peer's: at equal scores the odds of oneself are 1 : 1 at any N."""
    return jnp.where(itself, scores, scores - jnp.log(max(scores.shape[-1] - 1, 1)))


class _ActorModule(nn.Module):
    torso: nn.Module
    action_space: tuple[spaces.Discrete, ...]

    @nn.compact
    def __call__(self, carry: Any, features: Features, itself: Bool[Array, "*B N"]) -> tuple[Any, list[Array]]:
        carry, embedding = self.torso(carry, features, itself)
        return carry, _Heads(self.action_space)(embedding, itself)


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
    """A module of one agent's observation, applied to all N agents with shared parameters or a set for each.

    `carry` is [*B, N, H] with memory and () without; features have leading axes [*B, N].
    """

    module: nn.Module
    num_agents: int
    carry_size: int | None  # width of the memory; None without
    shared: bool
    precision: str = "float32"

    def init(self, key: PRNGKeyArray, features: Features) -> PyTree:
        """Parameters; with a set for each agent their leading axis is N. `features` has the leading axis [N]."""
        itself, carry = jnp.eye(self.num_agents, dtype=bool), self.initial_carry(())
        if self.shared:
            return self.module.init(key, carry, features, itself)
        return jax.vmap(self.module.init)(jax.random.split(key, self.num_agents), carry, features, itself)

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


@dataclasses.dataclass(frozen=True)
class OverState:
    """A module of the global state [*B, G] that gives a value for each agent, [*B, N]; it needs no memory."""

    module: nn.Module
    precision: str = "float32"

    def init(self, key: PRNGKeyArray, state: Float[Array, " G"]) -> PyTree:
        """Parameters."""
        return self.module.init(key, state)

    def initial_carry(self, batch: tuple[int, ...]) -> tuple[()]:
        """Nothing is remembered."""
        return ()

    def apply(self, params: PyTree, carry: Any, state: Float[Array, "*B G"]) -> tuple[Any, Any]:
        """The carry as it was, and the values, float32."""
        return carry, _cast(self.module.apply(*_cast((params, state), self.precision)), "float32")


def _cast(tree: PyTree, precision: str) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(precision), tree)


Network = OverAgents | OverState


def unroll(network: Network, params: PyTree, carry: Any, inputs: PyTree, first: Bool[Array, "L B"]) -> Any:
    """Outputs over sequences: `inputs` have leading axes [L, B], `carry` [B] is the memory before their first step.

    The memory is emptied before every step that is the `first` of an episode.
    """
    if not jax.tree.leaves(carry):
        return network.apply(params, carry, inputs)[1]

    def step(carry: Any, at: tuple[PyTree, Bool[Array, " B"]]) -> tuple[Any, Any]:
        now, is_first = at
        return network.apply(params, forget(carry, is_first), now)

    return jax.lax.scan(step, carry, (inputs, first))[1]


def forget(carry: Any, first: Bool[Array, " B"]) -> Any:
    """The memory [B, N, H] with zeros where an episode begins."""
    return jax.tree.map(lambda leaf: jnp.where(first[:, None, None], 0.0, leaf), carry)


@dataclasses.dataclass(frozen=True)
class ActorCritic:
    """The two networks of a learner, and what each of them sees."""

    actor: OverAgents
    critic: Network

    def critic_input(self, features: Shaped[Array, "..."] | Features, global_state: Shaped[Array, "..."]) -> Any:
        """The global state for a centralised critic, the agents' own features for one that sees no more than they."""
        return global_state if isinstance(self.critic, OverState) else features


def build_actor(game: Game, config: NetworkConfig, share_parameters: bool = True) -> OverAgents:
    """The actor for `game`; its output is a list of logits [*B, N, choices], one for each Discrete space.

    Raises:
        ValueError: the game's action space holds something other than Discrete spaces.
    """
    action_space = tuple(spaces.leaves(game.action_space))
    discrete = tuple(space for space in action_space if isinstance(space, spaces.Discrete))
    for space in set(action_space) - set(discrete):
        raise ValueError(f"{game.name} has an action in a {type(space).__name__}; networks have heads for Discrete")
    torso = TORSOS[config.kind](config.hidden, config.recurrent)
    return _over_agents(game, config, _ActorModule(torso, discrete), share_parameters)


def build(
    game: Game, config: NetworkConfig, *, critic: str = "global_state", share_parameters: bool = True
) -> ActorCritic:
    """Actor and critic for `game`; `critic` is what the critic sees, `global_state` or `observation`.

    Raises:
        ValueError: an unknown `critic`, or an action space without a head.
    """
    check_choice("critic", critic, ("global_state", "observation"))
    actor = build_actor(game, config, share_parameters)
    if critic == "global_state":
        module = _GlobalValueModule(config.critic_hidden, game.num_agents)
        return ActorCritic(actor, OverState(module, config.precision))
    torso = TORSOS[config.kind](config.hidden, config.recurrent)
    return ActorCritic(actor, _over_agents(game, config, _ValueModule(torso), share_parameters))


def _over_agents(game: Game, config: NetworkConfig, module: nn.Module, shared: bool) -> OverAgents:
    carry_size = config.hidden[-1] if config.recurrent else None
    return OverAgents(module, game.num_agents, carry_size, shared, config.precision)
