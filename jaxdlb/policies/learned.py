"""A policy trained by any learner, behind the same interface as heuristics."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdlb.game import Game
from jaxdlb.mechanics import chance
from jaxdlb.networks import Actor, features, normalisation
from jaxdlb.networks.normalisation import Moments


@struct.dataclass
class PolicyVariables:
    """The part of a learner's state that acting needs."""

    actor: PyTree  # the actor's parameters
    moments: Moments  # of the features before normalisation


def variable_shapes(game: Game, actor: Actor) -> PolicyVariables:
    """The shape and type of each array in the variables of a policy that acts in `game` by `actor`."""

    def fresh(view: PyTree) -> PolicyVariables:
        params = actor.init(jax.random.key(0), normalisation.symlog(view))
        return PolicyVariables(actor=params, moments=normalisation.initial_moments(view))

    return jax.eval_shape(fresh, features(game.observation_shapes))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LearnedPolicy:
    """Acts in `game` with trained parameters of an actor and the statistics of its features.

    Raises:
        ValueError: the variables do not fit the game, such as those of an MLP with another number of nodes.
    """

    game: Game
    actor: Actor
    variables: PolicyVariables  # a learner's `policy_variables`
    greedy: bool = False  # act by the mode of the actor's distribution instead of a sample
    name: str = "learned"

    kind = "learned"

    def __post_init__(self) -> None:
        if _shapes(variable_shapes(self.game, self.actor)) != _shapes(self.variables):
            raise ValueError(
                f"the policy {self.name!r} does not fit {self.game.name} with {self.game.num_agents} agents: its "
                "parameters were trained for other observation or action shapes "
                "(only a pointer network with shared parameters runs at any number of nodes)"
            )

    def __repr__(self) -> str:
        how = "by mode" if self.greedy else "by sample"
        size = sum(leaf.size for leaf in jax.tree.leaves(self.variables.actor) if hasattr(leaf, "size"))
        agents = f"{self.game.num_agents} agents"
        return f"LearnedPolicy({self.name!r}, {self.game.name} with {agents}, {how}, {size} parameters)"

    def init(self, game: Game) -> Any:
        """An empty memory for each agent, [N, H]; () if the actor has no memory.

        Raises:
            ValueError: `game` and the game that this policy was made for differ in the number of agents.
        """
        if game.num_agents != self.game.num_agents:
            raise ValueError(
                f"num_agents is {game.num_agents}; the policy {self.name!r} was loaded for {self.game.num_agents}"
            )
        return self.actor.initial_carry(())

    def init_one(self) -> Any:
        """An empty memory for one agent, [H]; () if the actor has no memory."""
        return jax.tree.map(lambda leaf: leaf[0], self.actor.initial_carry(()))

    def act(self, key: PRNGKeyArray, carry: Any, observation: Any, params: Any) -> tuple[Any, Any]:
        """The next memory, and an action for every agent of one cluster.

        Raises:
            ValueError: an observation whose shapes are not the game's, such as one agent's row (see `act_one`).
        """
        seen = features(observation)
        self._check_shapes(seen | {"legal": observation.legal}, self._expected, "act_one takes one agent's row")
        view = self._normalised(seen)
        carry, distribution = self.actor.apply(self.variables.actor, carry, view, observation.legal)
        return carry, distribution.mode() if self.greedy else distribution.sample(key)

    def probabilities(self, observation: Any, params: Any, carry: Any = ()) -> Float[Array, "N ..."]:
        """The probability of each action of each agent: an axis for each choice, in the order of the action's leaves.

        `carry` is the memory of a policy that remembers.

        Raises:
            ValueError: a policy that remembers without its memory, or an action that is not a choice in every head.
        """
        if jax.tree.leaves(self.actor.initial_carry(())) and not jax.tree.leaves(carry):
            raise ValueError(f"policy is {self.name!r}; it must not remember, for its probabilities to be known")
        view = self._normalised(features(observation))
        _, distribution = self.actor.apply(self.variables.actor, carry, view, observation.legal)
        return distribution.probabilities(greedy=self.greedy)

    def act_one(
        self,
        key: PRNGKeyArray,
        carry: Any,
        own: Any,
        peers: Any,
        legal: PyTree,
        agent: int | Int[Array, ""],
        visible: Bool[Array, " P"] | None = None,
    ) -> tuple[Any, Any]:
        """One agent's next memory and action, from what it alone knows, as for a node in a running system.

        `own` [F], `peers` [P, F′] (None in a game without peers) and the masks `legal` are the agent's row of an
        observation, as is `visible` in a game that has it; `carry` is its own memory (initially `init_one()`); `agent`
        is its index, which is also that of its own row among the peers. With the same key, it does the same as in
        `act`; agents that share a key draw independently.

        Raises:
            ValueError: arrays whose shapes are not those of one agent's row in the game.
        """
        rows = {"own": own, "peers": peers, "visible": visible}
        seen = {name: leaf for name, leaf in rows.items() if leaf is not None}
        expected = {name: jax.tree.map(_without_agents, leaf) for name, leaf in self._expected.items()}
        self._check_shapes(seen | {"legal": legal}, expected, "act takes the rows of all agents")
        view = self._normalised(seen)
        carry, distribution = self.actor.apply_one(self.variables.actor, carry, view, legal, agent)
        if self.greedy:
            return carry, distribution.mode()
        numbers = chance.uniform_rows(key, distribution.num_uniforms, self.game.num_agents)
        return carry, distribution.sample_from(numbers[:, agent])

    @functools.cached_property
    def _expected(self) -> dict[str, Any]:
        """The shapes of the game's observation, by name."""
        observation = self.game.observation_shapes
        return features(observation) | {"legal": observation.legal}

    def _normalised(self, seen: dict[str, Any]) -> dict[str, Any]:
        return normalisation.normalise(self.variables.moments, normalisation.symlog(seen))

    def _check_shapes(self, found: dict[str, Any], expected: dict[str, Any], hint: str) -> None:
        """Raise ValueError unless the given arrays have the names and shapes of the game's observations."""
        for name in sorted(expected.keys() ^ found.keys()):
            allowed = "must be given" if name in expected else "must not be given"
            raise ValueError(f"{name} {allowed}; observations of {self.game.name} have {', '.join(expected)}")
        for name, leaf in expected.items():
            given, wanted = (jax.tree.map(jnp.shape, each) for each in (found[name], leaf))
            if given != wanted:
                raise ValueError(
                    f"{name} has shape {_listed(given)}; the policy {self.name!r} for {self.game.num_agents} agents "
                    f"needs {_listed(wanted)} here ({hint})"
                )


def _without_agents(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def _listed(shapes: PyTree) -> str:
    return ", ".join(map(str, jax.tree.leaves(shapes, is_leaf=lambda node: type(node) is tuple)))


_STATIC = ("game", "actor", "greedy", "name")


def _flatten(policy: LearnedPolicy) -> tuple[tuple[PyTree], tuple[Any, ...]]:
    return (policy.variables,), tuple(getattr(policy, name) for name in _STATIC)


def _unflatten(static: tuple[Any, ...], children: tuple[PyTree]) -> LearnedPolicy:
    """Skips the check of shapes: JAX also rebuilds policies with a batch axis, or with placeholders for arrays."""
    policy = object.__new__(LearnedPolicy)
    for name, value in zip(("variables", *_STATIC), (*children, *static), strict=True):
        object.__setattr__(policy, name, value)
    return policy


# A pytree, so that one compiled program plays all policies that differ only in their variables.
jax.tree_util.register_pytree_node(LearnedPolicy, _flatten, _unflatten)


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.shape, tree)
