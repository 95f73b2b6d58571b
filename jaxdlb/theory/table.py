"""Prescriptions as a policy that plays: what each agent does in each common state after each of its events."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray

from jaxdlb.game import Game
from jaxdlb.mechanics.peer_view import Action, Observation, Own, Peer
from jaxdlb.theory.chain import Chain, Weights

NAME = "team optimum"


@struct.dataclass
class Prescriptions:
    """Acts by tables, on the loads that each agent observes, the round modulo N, and the agent's own events.

    Rounds are counted from the start of an episode. News must be fresh, as it is in a game that a chain can be built
    of; a load above the table's largest is taken for that.
    """

    dispatch: Int[Array, "S N E"]
    steal: Int[Array, "S N E"]
    most: int = struct.field(pytree_node=False)  # K: the largest load in the tables
    name: str = struct.field(pytree_node=False, default=NAME)

    kind = "optimal"

    def init(self, game: Game) -> Int[Array, ""]:
        """The number of rounds played."""
        return jnp.int32(0)

    def act(
        self, key: PRNGKeyArray, carry: Int[Array, ""], observation: Observation, params: Any
    ) -> tuple[Int[Array, ""], Action]:
        """Both choices of all N agents, int32 [N] each; nothing is drawn."""
        state, event = self._where(carry, observation)
        agents = jnp.arange(observation.own.shape[0])
        return carry + 1, Action(self.dispatch[state, agents, event], self.steal[state, agents, event])

    def _where(self, round: Int[Array, ""], observation: Observation) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
        """Each agent's row in the tables: the common state as it sees it, and its own event."""
        num_agents = observation.own.shape[0]
        loads = jnp.clip(observation.peers[..., Peer.LOAD].astype(jnp.int32), 0, self.most)
        size = self.most + 1
        state = round % num_agents * size**num_agents + loads @ (size ** jnp.arange(num_agents)[::-1])
        event = observation.own[:, Own.ARRIVED] + 2 * observation.own[:, Own.COMPLETED]
        return state.astype(jnp.int32), event.astype(jnp.int32)


def prescriptions(chain: Chain, weights: list[Weights], name: str = NAME) -> Prescriptions:
    """The likeliest choice of every agent in every common state after each of its events."""
    best = np.stack(
        [
            np.stack([group.start + np.argmax(each[:, group], axis=1) for group in chain.choices.groups], axis=1)
            for each in weights
        ],
        axis=1,
    )  # [S, N, E]
    agents = np.arange(chain.num_agents)[:, None]
    dispatch, steal = (jnp.asarray(each[agents, best]) for each in (chain.choices.dispatch, chain.choices.steal))
    return Prescriptions(dispatch, steal, most=chain.common.most, name=name)
