"""A policy that a learner trained, behind the interface that heuristics keep."""

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import PRNGKeyArray, PyTree

from jaxdlb.game import Game
from jaxdlb.mechanics import chance
from jaxdlb.networks import NetworkConfig, build_actor, distributions, features, normalisation
from jaxdlb.networks.actor_critic import OverAgents


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """Acts in `game` by an actor's parameters and the statistics of its features, as training left them.

    Raises:
        ValueError: the parameters do not fit the game, as those of an MLP do not fit another number of nodes.
    """

    game: Game
    network: NetworkConfig
    variables: dict[str, PyTree]  # actor, moments: a learner's `policy_variables`
    share_parameters: bool = True
    greedy: bool = False  # take the likeliest choice rather than draw one
    name: str = "learned"

    kind = "learned"

    def __post_init__(self) -> None:
        expected = jax.eval_shape(self._fresh_parameters)
        found = self.variables["actor"]
        if _shapes(expected) != _shapes(found):
            raise ValueError(
                f"the policy {self.name!r} does not fit {self.game.name} with {self.game.num_agents} agents: its "
                f"parameters were trained for other observation or action shapes (network.kind is {self.network.kind}; "
                "only a pointer network with shared parameters runs at any number of nodes)"
            )

    @functools.cached_property
    def _actor(self) -> OverAgents:
        return build_actor(self.game, self.network, self.share_parameters)

    def _fresh_parameters(self) -> PyTree:
        key = jax.random.key(0)
        _, timestep = self.game.reset(key, self.game.default_params())
        return self._actor.init(key, normalisation.symlog(features(timestep.observation)))

    def init(self, game: Game) -> Any:
        """An empty memory for each agent, [N, H]; () without.

        Raises:
            ValueError: `game` has another number of agents than the game that this policy was made for.
        """
        if game.num_agents != self.game.num_agents:
            raise ValueError(
                f"num_agents is {game.num_agents}; the policy {self.name!r} was loaded for {self.game.num_agents}"
            )
        return self._actor.initial_carry(())

    def act(self, key: PRNGKeyArray, carry: Any, observation: Any, params: Any) -> tuple[Any, Any]:
        """The next memory, and an action for every agent of one cluster."""
        view = normalisation.normalise(self.variables["moments"], normalisation.symlog(features(observation)))
        carry, logits = self._actor.apply(self.variables["actor"], carry, view)
        legal, treedef = jax.tree.flatten(observation.legal)
        log_probs = [distributions.masked_log_probs(*pair) for pair in zip(logits, legal, strict=True)]
        if self.greedy:
            return carry, jax.tree.unflatten(treedef, [distributions.mode(head) for head in log_probs])
        numbers = chance.uniforms(key, len(log_probs), self.game.num_agents)
        choices = [distributions.sample(*pair) for pair in zip(numbers, log_probs, strict=True)]
        return carry, jax.tree.unflatten(treedef, choices)


_STATIC = ("game", "network", "share_parameters", "greedy", "name")


def _flatten(policy: LearnedPolicy) -> tuple[tuple[PyTree], tuple[Any, ...]]:
    return (policy.variables,), tuple(getattr(policy, name) for name in _STATIC)


def _unflatten(static: tuple[Any, ...], children: tuple[PyTree]) -> LearnedPolicy:
    """Without the check of shapes: JAX also rebuilds a policy with a batch axis, or with no arrays at all."""
    policy = object.__new__(LearnedPolicy)
    for name, value in zip(("variables", *_STATIC), (*children, *static), strict=True):
        object.__setattr__(policy, name, value)
    return policy


# A pytree, as the interface asks for: one compiled program plays all policies that differ in their variables alone.
jax.tree_util.register_pytree_node(LearnedPolicy, _flatten, _unflatten)


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.shape, tree)
