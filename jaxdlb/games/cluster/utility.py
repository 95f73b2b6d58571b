"""What a step is worth: minus the cost of deadlines missed, of completion time, of energy and of imbalance."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxdlb.games.cluster.dynamics import Tally
from jaxdlb.games.cluster.nodes import Passed
from jaxdlb.games.cluster.types import Params

JOULES_PER_WH = 3600.0
JOULES_PER_KWH = 1000 * JOULES_PER_WH


@struct.dataclass
class Costs:
    """The four terms of a step, weighted. Those of a whole slot are the cost of a task in the mean."""

    sla: Float[Array, ""]
    completion: Float[Array, ""]
    energy: Float[Array, ""]
    balance: Float[Array, ""]

    @property
    def utility(self) -> Float[Array, ""]:
        return -(self.sla + self.completion + self.energy + self.balance)


def costs(tally: Tally, passed: Passed, params: Params) -> Costs:
    """The costs of a step in which this became of the tasks at hand, and this of the time that passed.

    λ is the rate without modulation, so λΔ are the tasks of a slot in the mean, and by Little's law seconds of presence
    over λΔ are the mean completion time.
    """
    expected = params.arrival_rate * params.slot
    sla, completion, power, balance = params.weights
    misses = jnp.sum(params.class_weight * (passed.missed + params.drop_cost * tally.dropped))
    presence = jnp.sum(passed.presence + tally.waited)
    return Costs(
        sla=sla * misses / expected,
        completion=completion * presence / (params.completion_scale * expected),
        energy=power * jnp.sum(passed.energy) / JOULES_PER_WH / (params.energy_scale * expected),
        balance=balance * jnp.var(passed.use) / params.balance_scale,
    )
