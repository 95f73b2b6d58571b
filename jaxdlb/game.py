"""The interface that every game keeps.

A game object holds static facts only (sizes and names: what fixes shapes). Whatever a user may sweep or randomise is
in `params`, a frozen pytree of arrays, so that `jax.vmap` over `params` plays thousands of different clusters in one
program that is compiled once.
"""

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

Params = TypeVar("Params")
State = TypeVar("State")
Observation = TypeVar("Observation")
Action_contra = TypeVar("Action_contra", contravariant=True)


@struct.dataclass
class TimeStep(Generic[Observation]):
    """What a game tells after `reset` and after each `step`.

    `last` ends an episode, by time limit too. `discount` is 0 only where the future is worth nothing: a time limit
    leaves it at 1, and a learner then bootstraps from the value of the last state.
    """

    observation: Observation  # leading axis: the agent
    reward: Float[Array, " N"]
    discount: Float[Array, ""]
    last: Bool[Array, ""]
    elapsed: Float[Array, ""]  # the time that the step took, in the game's unit; 1 where steps are equal
    metrics: dict[str, Shaped[Array, ""]]


@runtime_checkable
class Game(Protocol[Params, State, Observation, Action_contra]):
    """A Markov game as a frozen object of static sizes and pure functions.

    `reset` and `step` know neither a batch nor an automatic reset: both belong to the rollout. An action space is a
    pytree with the structure of the action whose leaves are `jaxdlb.spaces`; an observation carries `legal`, boolean
    masks in that same structure.
    """

    @property
    def name(self) -> str:
        """The name under which `jaxdlb.make` finds the game."""
        ...

    @property
    def num_agents(self) -> int: ...

    @property
    def action_space(self) -> Any: ...

    @property
    def metrics(self) -> Mapping[str, str]:
        """For each metric of a time step, its unit and meaning."""
        ...

    def default_params(self) -> Params: ...

    def validate(self, params: Params) -> None:
        """Check `params` on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        ...

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]: ...

    def step(
        self, key: PRNGKeyArray, state: State, action: Action_contra, params: Params
    ) -> tuple[State, TimeStep[Observation]]: ...

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """What a centralised critic may see in training, true loads included: float32 [G]."""
        ...

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation as it would be if nobody's news were ever stale; for `oracle_…` policies alone."""
        ...
