"""Critics that value what agents do in Boxes, Q(o, a), alone or knowing what the others do.

What a critic is told besides the own view is appended to it: the own action and, unless it sees the `observation`
alone, the global state and the actions of the others, one by one (`joint`, as in Lowe et al. 2017, arXiv:1706.02275) or
their mean (`mean_field`, as in Yang et al. 2018, arXiv:1802.05438). Actions are in units of [−1, 1] (`box_units`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxdlb.game import Game
from jaxdlb.learners import off_policy
from jaxdlb.learners.off_policy import Batch, Learned
from jaxdlb.networks import NetworkConfig, Views, build_critic
from jaxdlb.networks.actor_critic import OverAgents

MOST_IN_JOINT = 16  # agents whose actions a critic is told one by one
Actions = Float[Array, "*B N S"]
Told = list[Float[Array, "*B N _"]]  # what is appended to a view


def alone(views: Views, others: Actions, present: Bool[Array, "*B N"]) -> Told:
    """Nothing."""
    return []


def joint(views: Views, others: Actions, present: Bool[Array, "*B N"]) -> Told:
    """The global state, and the actions of the others in cyclic order: of agent i those of i + 1, i + 2, …"""
    num_agents = others.shape[-2]
    order = (np.arange(num_agents)[:, None] + np.arange(1, num_agents)) % num_agents
    actions = others[..., order, :].reshape(*others.shape[:-1], -1)
    return [_state(views, num_agents), actions]


def mean_field(views: Views, others: Actions, present: Bool[Array, "*B N"]) -> Told:
    """The global state, and the mean action of the others that are present; zeros if nobody else is."""
    counted = present[..., None].astype(others.dtype)
    total = jnp.sum(others * counted, axis=-2, keepdims=True) - others * counted
    number = jnp.sum(counted, axis=-2, keepdims=True) - counted
    return [_state(views, others.shape[-2]), total / jnp.maximum(number, 1)]


CRITICS: Mapping[str, Callable[[Views, Array, Array], Told]] = {
    "observation": alone,
    "joint": joint,
    "mean_field": mean_field,
}


@dataclasses.dataclass(frozen=True)
class ActionCritics:
    """`count` critics of one make, whose parameters are stacked along a leading axis."""

    network: OverAgents
    count: int
    kind: str  # one of `CRITICS`
    size: int  # S, the entries of an agent's action

    @property
    def reads_state(self) -> bool:
        """Whether they are told the global state."""
        return self.kind != "observation"

    def init(self, key: PRNGKeyArray, views: Views) -> PyTree:
        """Initial parameters, [count, …]; `views` are those of one cluster."""
        num_agents = self.network.num_agents
        nothing, nobody = jnp.zeros((num_agents, self.size)), jnp.zeros(num_agents, bool)
        seen = self._seen(views, nothing, nothing, nobody)
        return jax.lax.map(lambda one: self.network.init(one, seen), jax.random.split(key, self.count))

    def values(
        self, params: PyTree, views: Views, own: Actions, others: Actions, present: Bool[Array, "*B N"]
    ) -> Float[Array, "C *B N"]:
        """What each critic gives for each agent's `own` action while the others act as in `others`."""
        seen = self._seen(views, own, others, present)
        each = [jax.tree.map(lambda leaf, one=one: leaf[one], params) for one in range(self.count)]
        return jnp.stack([self.network.apply(one, (), seen)[1] for one in each])

    def _seen(self, views: Views, own: Actions, others: Actions, present: Bool[Array, "*B N"]) -> PyTree:
        told = CRITICS[self.kind](views, others, present)
        return {**views.agent, "own": jnp.concatenate([views.agent["own"], own, *told], axis=-1)}


def descend(
    critics: ActionCritics, learned: Learned, hyper: Any, batch: Batch, target: Float[Array, "B N"]
) -> tuple[Learned, dict[str, Float[Array, ""]]]:
    """A step of all critics towards a target, on the squared errors of all agents, those that may not act too.

    Others are led to where an agent may not act, and what that is worth must be known.

    `hyper` has a `critic_learning_rate` and the `max_grad_norm`.
    """

    def loss(params: PyTree) -> tuple[Float[Array, ""], dict[str, Array]]:
        taken = batch.transitions
        values = critics.values(params, taken.views, taken.action, taken.action, batch.present)
        total = jnp.mean(jnp.sum(jnp.square(values - target), axis=0))
        return total, {"critic_loss": total, "value": jnp.mean(values)}

    params, optimiser = learned.params["critic"], learned.optimiser["critic"]
    gradient, metrics = jax.grad(loss, has_aux=True)(params)
    critic, of_critic, norm = off_policy.stepped(
        gradient, optimiser, params, hyper.critic_learning_rate, hyper.max_grad_norm
    )
    moved = dataclasses.replace(
        learned,
        params=learned.params | {"critic": critic},
        optimiser=learned.optimiser | {"critic": of_critic},
    )
    return moved, metrics | {"critic_grad_norm": norm}


def build(game: Game, network: NetworkConfig, config: Any, size: int) -> ActionCritics:
    """The critics for `game` that a learner's settings ask for: `critic`, `num_critics`, `share_parameters`.

    Raises:
        ValueError: a joint critic of too many agents, or an observation without something that the network needs.
    """
    if config.critic == "joint" and game.num_agents > MOST_IN_JOINT:
        fitting = ", ".join(kind for kind in CRITICS if kind != "joint")
        raise ValueError(
            f"critic is 'joint'; it must be one of {fitting} with {game.num_agents} agents, more than {MOST_IN_JOINT}"
        )
    critic = build_critic(game, network, config.share_parameters)
    return ActionCritics(critic, config.num_critics, config.critic, size)


def _state(views: Views, num_agents: int) -> Float[Array, "*B N G"]:
    """The global state, told to every agent's critic."""
    return jnp.repeat(views.state[..., None, :], num_agents, axis=-2)
