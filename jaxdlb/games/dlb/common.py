"""What every agent of a small DLB game knows at the start of a round, where news is fresh and nothing is under way.

That are the loads, and the round modulo N, which decides whose steal request is served first. From these and from the
events of a round, of which each agent sees its own, the game goes on as if it had no other past: a finite chain, which
`jaxdlb.theory.chain` builds from the game's own `step`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.dlb.generator import FRESH_NEWS
from jaxdlb.games.dlb.types import Params, State
from jaxdlb.mechanics.arrivals import LAWS
from jaxdlb.parameters import kind_of


@dataclasses.dataclass(frozen=True)
class CommonInformation:
    """One cluster of the game as a chain on its loads.

    Raises:
        ValueError: names what the chain does not cover: stale or lost news, delays, churn, arrivals that vary, or that
            are certain.
    """

    game: Any
    params: Params

    covered: ClassVar[Mapping[str, Any]] = {
        **FRESH_NEWS,
        "transfer_delay": 0,
        "failure_prob": 0,
        "arrival_modulation.kind": "constant",
    }

    def __post_init__(self) -> None:
        for name, value in self.covered.items():
            given = self.given(self.params, name)
            if np.any(np.asarray(given) != value):
                raise ValueError(f"{name} is {_shown(given)}; it must be {value!r} for an exact solution")
        if np.any(np.asarray(self.params.arrival_prob) >= 1):
            arrives = _shown(self.params.arrival_prob)
            raise ValueError(f"arrival_prob is {arrives}; it must be below 1 for an exact solution")

    @staticmethod
    def given(params: Params, name: str) -> Any:
        """What the parameters say of a name in `covered`."""
        owner, _, kind = name.partition(".")
        return kind_of(LAWS, type(getattr(params, owner))) if kind else getattr(params, owner)

    @property
    def most(self) -> int:
        """The largest load of a node."""
        return int(self.game.capacity)

    def event_probs(self, loads: Int[np.ndarray, "S N"]) -> tuple[Float[np.ndarray, "S N"], Float[np.ndarray, "S N"]]:
        """The probabilities that a task arrives at each node, and that one completes; they are independent."""
        arrives = np.broadcast_to(np.asarray(self.params.arrival_prob, np.float64), loads.shape)
        completes = np.where(loads > 0, np.asarray(self.params.completion_prob, np.float64), 0.0)
        return arrives, completes

    def state(
        self, load: Int[Array, " N"], arrived: Bool[Array, " N"], completed: Bool[Array, " N"], round: Int[Array, ""]
    ) -> State:
        """The state with these loads and events, of which all have heard."""
        num_nodes, max_delay = self.game.num_nodes, self.game.max_delay
        views = (num_nodes,) if self.game.heartbeats == "shared" else (num_nodes, num_nodes)
        nothing = jnp.zeros((max_delay, num_nodes), jnp.int32)
        return State(
            load=load,
            arrived=arrived,
            completed=completed,
            in_transit=nothing,
            heard_load=jnp.broadcast_to(load, views),
            heard_age=jnp.zeros(views, jnp.int32),
            heartbeats_in_flight=nothing - 1,
            alive=jnp.ones(num_nodes, bool),
            round=round,
            modulation=jnp.int32(0),
        )

    def loads_after(self, state: State) -> Int[Array, " N"]:
        """The loads that a state shows."""
        return state.load


def _shown(given: Any) -> str:
    if isinstance(given, str):
        return repr(given)
    array = np.asarray(given)
    return f"[{', '.join(f'{each:g}' for each in array)}]" if array.ndim else f"{array:g}"
