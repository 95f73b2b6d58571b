"""The best that can be done in a small game: by one controller that sees everything, and by agents as they are.

**The centralised optimum** sees the events of all agents. **The team optimum** is what agents that see only their own
events can do together, by the common-information approach (Nayyar, Mahajan and Teneketzis 2013, doi
10.1109/TAC.2013.2239000): in each common state a coordinator picks for every agent a *prescription*, a map from its own
events to an action, of which an agent has N⁴. Given those of all others, the last agent's best prescription is the best
choice after each of its events by itself; so those of N − 1 agents are enumerated, and the last is maximised.

Both by policy iteration (Howard 1960): a policy's values are solved for exactly, and its choices improved in every
common state at once. For any v, the optimal average lies between the least and the largest of (Tv − v)(s) over s (Odoni
1969, doi 10.1287/opre.17.5.857), which is the bound that comes with an optimum.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdlb.theory.chain import EVENTS, Chain, Values, Weights, discounted, evaluate, local_choices

_MOST_ROUNDS = 100
_TOLERANCE = 1e-10  # of the average: what is no improvement
_PATIENCE = 10  # improvements in a row that bring no higher average before it is taken for the best: values are rounded
_AT_ONCE = 64  # common states that are improved side by side

Improve = Callable[[Chain, Float[np.ndarray, "S J"]], tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S J"]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum:
    """The best average utility of a round: it lies between `low` and `high`, and `joint` is a policy that has it."""

    values: Values
    low: float
    high: float
    joint: Float[np.ndarray, "S J"]  # the probability of each joint choice
    num_improvements: int

    @property
    def average(self) -> float:
        return self.values.average


def centralised(chain: Chain) -> Optimum:
    """The optimum of a controller that sees the loads and all events: no policy of the agents can do better.

    Raises:
        ArithmeticError: it was not found in a hundred improvements.
    """
    return iterate(chain, _improve_centrally, chain.utility)


def team(chain: Chain) -> tuple[Optimum, list[Weights]]:
    """The best that the agents can do together, and for each of them the weights [S, C] of its choices.

    Raises:
        ArithmeticError: it was not found in a hundred improvements.
    """
    optimum = iterate(chain, _improve_team, chain.utility)
    return optimum, [own_weights(chain, optimum.joint, agent) for agent in range(chain.num_agents)]


def discounted_optimum(chain: Chain, gamma: float, improve: Improve | None = None) -> Float[np.ndarray, " S"]:
    """The best expected sum of γᵗ · utility from every common state; of a team, unless told how to `improve`.

    Raises:
        ValueError: unless 0 ≤ γ < 1.
        ArithmeticError: it was not found in a hundred improvements.
    """
    improve = _improve_team if improve is None else improve
    _, joint = improve(chain, chain.utility)
    for _ in range(_MOST_ROUNDS):
        value = discounted(chain, joint, gamma)
        better, joint = improve(chain, chain.utility + gamma * value[chain.following])
        if np.max(better - value) < _TOLERANCE * max(1.0, np.max(np.abs(value))):
            return value
    raise ArithmeticError(f"no optimum in {_MOST_ROUNDS} improvements")


def iterate(
    chain: Chain,
    improve: Improve,
    reward: Float[np.ndarray, "S J"],
    joint: Float[np.ndarray, "S J"] | None = None,
) -> Optimum:
    """Policy iteration, from `joint` or the policy that is best for a single round: the best average of `reward`.

    `improve` takes what each joint choice is worth, and gives the expected worth of the best, and its probabilities.
    Where values are so large that rounding hides the end, it is over once the average rises no more; the bounds tell.

    Raises:
        ArithmeticError: it was not found in a hundred improvements.
    """
    joint = improve(chain, reward)[1] if joint is None else joint
    best, since = -np.inf, 0
    for num_improvements in range(_MOST_ROUNDS):
        (values,) = evaluate(chain, joint, [reward])
        after, better = improve(chain, reward + values.relative[chain.following])
        gain = after - values.relative
        low, high = float(gain.min()), float(gain.max())
        tolerance = _TOLERANCE * max(1.0, abs(values.average))
        since = 0 if values.average > best + tolerance else since + 1
        best = max(best, values.average)
        if high - values.average < tolerance or since == _PATIENCE:
            return Optimum(values, min(low, values.average), max(high, values.average), joint, num_improvements)
        joint = better
    raise ArithmeticError(f"no optimum in {_MOST_ROUNDS} improvements")


def _improve_centrally(
    chain: Chain, worth: Float[np.ndarray, "S J"]
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S J"]]:
    """The best joint choice after each joint event: its expected worth, and the probability of each joint choice."""
    num_agents, num_choices = chain.num_agents, len(chain.choices.event)
    places = np.arange(num_choices**num_agents).reshape([num_choices] * num_agents)
    groups, states = chain.choices.groups, np.arange(chain.num_states)
    value, joint = np.zeros(chain.num_states), np.zeros_like(worth)
    for events in itertools.product(range(len(EVENTS)), repeat=num_agents):
        among = places[np.ix_(*(np.r_[groups[event]] for event in events))].ravel()
        likely = np.prod([chain.event_probs[:, agent, event] for agent, event in enumerate(events)], axis=0)
        best = among[np.argmax(worth[:, among], axis=1)]
        value += likely * worth[states, best]
        joint[states, best] = likely
    return value, joint


def _improve_team(
    chain: Chain, worth: Float[np.ndarray, "S J"]
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S J"]]:
    """The best prescriptions of all agents: their expected worth, and the probability of each joint choice."""
    with jax.enable_x64(True):
        value, best = jax.device_get(_best_prescriptions(worth, chain.event_probs, chain.num_agents))
    weights = [np.zeros_like(chain.choice_probs[:, agent]) for agent in range(chain.num_agents)]
    rows = np.arange(chain.num_states)
    for agent, event in itertools.product(range(chain.num_agents), range(len(EVENTS))):
        weights[agent][rows, best[:, agent, event]] = chain.event_probs[:, agent, event]
    return value, chain.joint(weights)


@functools.partial(jax.jit, static_argnames="num_agents")
def _best_prescriptions(
    worth: Float[Array, "S J"], event_probs: Float[Array, "S N E"], num_agents: int
) -> tuple[Float[Array, " S"], Int[Array, "S N E"]]:
    """In every common state, what the best prescriptions are worth, and the local choice of each after each event."""
    choices = local_choices(num_agents)
    prescriptions = jnp.asarray(prescribed(num_agents))  # [G, E]
    groups = choices.groups

    def improve(given: tuple[Float[Array, " J"], Float[Array, "N E"]]) -> tuple[Array, Array]:
        worth, probs = given
        worth = worth.reshape([len(choices.event)] * num_agents)
        for agent in range(num_agents - 1):
            chosen = jax.nn.one_hot(prescriptions, len(choices.event), dtype=worth.dtype)  # [G, E, C]
            likely = jnp.einsum("gec,e->gc", chosen, probs[agent])
            worth = jnp.moveaxis(jnp.tensordot(likely, worth, axes=(1, agent)), 0, agent)
        after = [jnp.max(worth[..., group], axis=-1) for group in groups]
        total = jnp.stack(after, axis=-1) @ probs[-1]
        found = jnp.argmax(total)
        others = jnp.unravel_index(found, total.shape)
        last = jnp.stack([group.start + jnp.argmax(worth[(*others, group)]) for group in groups])
        return total.ravel()[found], jnp.stack([*(prescriptions[each] for each in others), last])

    return jax.lax.map(improve, (worth, event_probs), batch_size=_AT_ONCE)


def prescribed(num_agents: int) -> Int[np.ndarray, "G E"]:
    """All G = N⁴ prescriptions of an agent: for each event the index of a local choice."""
    groups = local_choices(num_agents).groups
    return np.array(list(itertools.product(*(range(group.start, group.stop) for group in groups))), np.int32)


def own_weights(chain: Chain, joint: Float[np.ndarray, "S J"], agent: int) -> Weights:
    """What an agent does by itself in a joint policy."""
    each = joint.reshape(chain.num_states, *[len(chain.choices.event)] * chain.num_agents)
    return each.sum(axis=tuple(axis for axis in range(1, chain.num_agents + 1) if axis != agent + 1))
