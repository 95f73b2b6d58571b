"""What agents of a small game would gain by deviating, and where they end if each does what is best for itself.

An agent's reward is (1 − κ) · u + κ · u_i. Against the others as they are, an agent faces a Markov decision process on
the common state with its own prescriptions, which is solved as exactly as the optimum (`optimal`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxdlb.theory.chain import Chain, Weights, evaluate
from jaxdlb.theory.optimal import Optimum, iterate, own_weights

_NO_GAIN = 1e-9  # of the own average reward: what is no reason to deviate
_MOST_SWEEPS = 50


@dataclasses.dataclass(frozen=True)
class Deviation:
    """What an agent gets now, and the most that it could get if only itself acted otherwise; both of a round."""

    agent: int
    reward: float
    best: float

    @property
    def gain(self) -> float:
        return max(self.best - self.reward, 0.0)

    @property
    def relative_gain(self) -> float:
        """The gain as a share of what the agent gets now; 0 where there is none to be had."""
        return 0.0 if self.gain == 0 else self.gain / abs(self.reward)


@dataclasses.dataclass(frozen=True, eq=False)
class Equilibrium:
    """Where best responses ended: nobody gains by deviating, or, unless `is_equilibrium`, they go on in a circle."""

    weights: list[Weights]
    utility: float  # the mean over agents
    is_equilibrium: bool
    num_sweeps: int


@dataclasses.dataclass(frozen=True)
class PotentialCheck:
    """Whether deviators' gains are the differences of one function, an exact potential (Monderer and Shapley 1996).

    They are if and only if the gains around every closed path of four deviations of two agents add up to 0. `holds` is
    True where a proof is at hand (κ = 0: all share one reward), False where a path contradicts it, and None where no
    path of those tried does. `worst` is the largest sum found, in units of the reward.
    """

    holds: bool | None
    worst: float
    num_paths: int


def best_response(chain: Chain, weights: Sequence[Weights], agent: int, selfishness: float) -> tuple[Optimum, Weights]:
    """The best that an agent can do for itself against the others, and the weights [S, C] of its choices."""
    others = [each for i, each in enumerate(weights) if i != agent]
    groups, probs = chain.choices.groups, chain.event_probs[:, agent]

    def of_own(worth: Float[np.ndarray, "S J"]) -> Float[np.ndarray, "S C"]:
        """What each of the own choices is worth, on average over those of the others."""
        shape = [len(chain.choices.event)] * chain.num_agents
        table = np.moveaxis(worth.reshape(chain.num_states, *shape), agent + 1, 1)
        for each in reversed(others):
            table = np.einsum("s...c,sc->s...", table, each)
        return table

    def improve(
        chain: Chain, worth: Float[np.ndarray, "S J"]
    ) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S J"]]:
        table, rows = of_own(worth), np.arange(chain.num_states)
        own, value = np.zeros_like(table), np.zeros(chain.num_states)
        for event, group in enumerate(groups):
            best = group.start + np.argmax(table[:, group], axis=1)
            own[rows, best] = probs[:, event]
            value += probs[:, event] * table[rows, best]
        return value, chain.joint(_with(weights, agent, own))

    reward = chain.reward(agent, selfishness)
    optimum = iterate(chain, improve, reward, chain.joint(weights))
    return optimum, own_weights(chain, optimum.joint, agent)


def deviations(chain: Chain, weights: Sequence[Weights], selfishness: float) -> list[Deviation]:
    """What each agent would gain by deviating alone; the largest gain is the Nash gap."""
    rewards = [chain.reward(agent, selfishness) for agent in range(chain.num_agents)]
    now = evaluate(chain, chain.joint(weights), rewards)
    best = [best_response(chain, weights, agent, selfishness)[0].average for agent in range(chain.num_agents)]
    return [Deviation(agent, each.average, most) for agent, (each, most) in enumerate(zip(now, best, strict=True))]


def respond_in_turn(chain: Chain, weights: Sequence[Weights], selfishness: float) -> Equilibrium:
    """Best responses, one agent after another, until nobody gains any more or fifty sweeps are over.

    What they end in is an equilibrium in prescriptions without chance. At κ = 0 each gain is everybody's, so they end.
    """
    now, sweep, gained = list(weights), 0, True
    while gained and sweep < _MOST_SWEEPS:
        sweep, gained = sweep + 1, False
        for agent in range(chain.num_agents):
            (before,) = evaluate(chain, chain.joint(now), [chain.reward(agent, selfishness)])
            optimum, own = best_response(chain, now, agent, selfishness)
            if optimum.average - before.average > _NO_GAIN * max(1.0, abs(before.average)):
                now, gained = _with(now, agent, own), True
    (utility,) = evaluate(chain, chain.joint(now))
    return Equilibrium(now, utility.average, not gained, sweep)


def price_of_anarchy(equilibria: Sequence[Equilibrium], optimum: Optimum) -> float:
    """How many times as much the worst of these equilibria costs as the optimum does; NaN without any, or any cost.

    Only equilibria that were found count, so it is a lower bound of the price of anarchy (Koutsoupias and Papadimitriou
    1999).
    """
    found = [each.utility for each in equilibria if each.is_equilibrium]
    return min(found) / optimum.average if found and optimum.average < 0 else float("nan")


def check_potential(chain: Chain, selfishness: float, seed: int = 0, num_paths: int = 8) -> PotentialCheck:
    """Look for a closed path of four deviations whose gains do not add up to 0, among policies drawn at random."""
    draws = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(num_paths):
        first, second = draws.choice(chain.num_agents, 2, replace=False)
        base = random_prescriptions(chain, draws)
        other = random_prescriptions(chain, draws)
        worst = max(worst, abs(_around(chain, base, other, int(first), int(second), selfishness)))
    if selfishness == 0:
        return PotentialCheck(True, worst, num_paths)
    scale = max(1.0, abs(evaluate(chain, chain.joint(base))[0].average))
    return PotentialCheck(False if worst > 1e-6 * scale else None, worst, num_paths)


def random_prescriptions(chain: Chain, draws: np.random.Generator) -> list[Weights]:
    """For every agent, in every common state, an action after each event, drawn uniformly."""
    every = []
    rows = np.arange(chain.num_states)
    for agent in range(chain.num_agents):
        own = np.zeros((chain.num_states, len(chain.choices.event)))
        for event, group in enumerate(chain.choices.groups):
            own[rows, draws.integers(group.start, group.stop, chain.num_states)] = chain.event_probs[:, agent, event]
        every.append(own)
    return every


def _around(
    chain: Chain, base: list[Weights], other: list[Weights], first: int, second: int, selfishness: float
) -> float:
    """The sum of the deviators' gains: `first` deviates, `second` does, `first` comes back, `second` does."""
    path = [base, _with(base, first, other[first])]
    path += [_with(path[1], second, other[second]), _with(base, second, other[second])]
    rewards = [chain.reward(agent, selfishness) for agent in (first, second)]
    at = [[each.average for each in evaluate(chain, chain.joint(weights), rewards)] for weights in path]
    return (at[1][0] - at[0][0]) + (at[2][1] - at[1][1]) + (at[3][0] - at[2][0]) + (at[0][1] - at[3][1])


def _with(weights: Sequence[Weights], agent: int, own: Weights) -> list[Weights]:
    return [own if i == agent else each for i, each in enumerate(weights)]
