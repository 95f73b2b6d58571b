"""How an agent lives in a running system: it is told of a state, chooses, and is told what came of it.

The interface is that of Marlon (Molderez, Oeyen, De Roover, De Meuter 2019, doi 10.1145/3297280.3297413). Whoever
implements it can be asked by `session.Session`, and by any other system.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float


@dataclasses.dataclass(frozen=True, eq=False)
class ActorState:
    """What an agent is told."""

    features: Float[np.ndarray, " F"]  # its row of the game's observation `own`
    legal: Bool[np.ndarray, " A"]  # which choices it has; at least one
    elapsed: float = 0.0  # since it was last told of a state, in the game's unit of time
    over: bool = False  # nothing follows: the episode is at its end


@runtime_checkable
class LearningAlgorithm(Protocol):
    """One agent. The order of calls is `init_agent`, then (`sample_action`, `update`) again and again.

    After a state that is `over` comes `init_agent` again, if anything.

    Raises:
        RuntimeError: of each method, a call out of order; it says which call was expected.
    """

    def init_agent(self, actor_state: ActorState) -> None:
        """The first state of an episode."""
        ...

    def is_learning(self) -> bool:
        """Whether what it is told changes how it acts."""
        ...

    def sample_action(self) -> int:
        """Its choice in the state that it was told of last; never one that is illegal there."""
        ...

    def update(self, actor_state: ActorState, reward: float) -> None:
        """What came of its last choice: the state now, and what it earned since."""
        ...

    def action_probabilities(self) -> Float[np.ndarray, " A"]:
        """How likely each choice is in the state that it was told of last, float64; 0 for those that are illegal."""
        ...

    def agent_joined(self, agent: str) -> None:
        """Another agent is there from now on."""
        ...

    def agent_left(self, agent: str) -> None:
        """Another agent is gone."""
        ...


@runtime_checkable
class Team(Protocol):
    """Gives agents by name, and is told of those that are gone."""

    def agent(self, name: str) -> LearningAlgorithm:
        """The agent of that name, who is there from now on."""
        ...

    def leave(self, name: str) -> None:
        """The agent of that name is gone, if it was there."""
        ...
