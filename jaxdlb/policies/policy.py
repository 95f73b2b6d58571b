"""What plays a game: one interface for heuristics and learned policies."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import PRNGKeyArray

from jaxdlb.game import Game


@runtime_checkable
class Policy(Protocol):
    """Acts for all agents of one cluster; pure, so that `jax.vmap` plays many clusters at once.

    A policy that is a pytree whose arrays are leaves (a `flax.struct.dataclass`) is compiled once for all values of
    those arrays; any other object is taken as a constant.
    """

    @property
    def name(self) -> str:
        """The name in tables, with the options that tell it from its relatives."""
        ...

    @property
    def sees_true_state(self) -> bool:
        """An oracle: whoever plays it hands it `game.true_observation` in place of the time step's observation."""
        ...

    def init(self, game: Game) -> Any:
        """What the policy remembers at the start of an episode: a pytree, () where it remembers nothing."""
        ...

    def act(self, key: PRNGKeyArray, carry: Any, observation: Any, params: Any) -> tuple[Any, Any]:
        """The memory after this round, and the action of every agent. Consumes `key`."""
        ...
