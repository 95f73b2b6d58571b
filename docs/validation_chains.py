"""Small games solved exactly, for the page of validation: their laws against closed forms, and against simulations."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from docs.tables import Rows
from docs.validation_cases import AT_ONCE, ENTRY, SEED, Effort, compared
from jaxdlb import evaluation, theory
from jaxdlb.evaluation import Estimate
from jaxdlb.policies import Policy, make_heuristic
from jaxdlb.theory import chain as chains
from jaxdlb.theory import optimal
from jaxdlb.theory.chain import Chain, Weights
from jaxdlb.theory.table import prescriptions

SMALL = ((0.3, 0.6), 0.7, 12)  # q of each node, the load and K of the instance of `game=dlb_certified`
EFFORT = Effort(128, 4000, 500)


def chain_of(capacity: int, **fields: Any) -> Chain:
    """The chain of the game with these parameters, of which `completion_prob` says how many nodes there are."""
    game: Any = ENTRY.game(num_nodes=len(fields["completion_prob"]), capacity=capacity)  # type: ignore[call-arg]
    assert ENTRY.common is not None
    return chains.build(ENTRY.common(game, game.default_params(**AT_ONCE, **fields)))


def law_of(chain: Chain, heuristic: str) -> np.ndarray:
    """The stationary law of the loads under a heuristic: [K + 1, …], with an axis for each node."""
    weights = chain.weights(make_heuristic(ENTRY.heuristics, heuristic))
    law = chains.stationary_law(chain, chain.joint(weights))
    each = [chain.common.most + 1] * chain.num_agents
    return np.asarray(law.reshape(chain.num_agents, *each).sum(axis=0))


def differences() -> dict[str, tuple[Chain, float]]:
    """The chain of each case, and by how much at most a probability in its law differs from the known law."""
    found = {}
    for p, q in ((0.3, 0.5), (0.45, 0.6), (0.8, 0.9)):
        chain = chain_of(60, arrival_prob=[p], completion_prob=[q])
        off = law_of(chain, "local") - theory.one_node_law(p, q, 60)
        found[f"one node, p = {p:g}, q = {q:g}"] = (chain, float(np.abs(off).max()))
    for arrivals, rates in (((0.4, 0.4), (0.5, 0.5)), ((0.5, 0.2), (0.3, 0.6))):
        chain = chain_of(16, arrival_prob=arrivals, completion_prob=rates)
        off = law_of(chain, "join_shortest_queue") - theory.join_shortest_queue_of_two(arrivals, rates, 16)
        name = f"two nodes, p = {arrivals[0]:g}, {arrivals[1]:g}; q = {rates[0]:g}, {rates[1]:g}"
        found[name] = (chain, float(np.abs(off).max()))
    return found


def laws() -> Rows:
    """A row for each chain: its states, and the largest difference of a probability."""
    rows = [[name, f"{chain.num_states:,}", f"{off:.0e}"] for name, (chain, off) in differences().items()]
    return [["case", "states", "largest difference"], *rows]


@dataclasses.dataclass(frozen=True)
class Exact:
    """A policy of the small instance: what it gets in a round in the long run, solved and simulated."""

    name: str
    utility: float
    simulated: Estimate


def utilities(effort: Effort = EFFORT, names: Sequence[str] = tuple(ENTRY.heuristics)) -> list[Exact]:
    """Of the team optimum, and of those of the named heuristics that do not remember, all in the same episodes."""
    rates, load, capacity = SMALL
    chain = chain_of(capacity, completion_prob=rates, load=load)
    optimum, weights = optimal.team(chain)
    solved: list[tuple[Policy, float]] = [(prescriptions(chain, weights), optimum.average)]
    for policy in (make_heuristic(ENTRY.heuristics, name) for name in names):
        with contextlib.suppress(ValueError):  # it remembers
            solved.append((policy, _utility(chain, chain.weights(policy))))
    sizes = dataclasses.asdict(effort)
    policies = [policy for policy, _ in solved]
    played = evaluation.evaluate_all(
        chain.common.game, policies, lambda key: chain.common.params, jax.random.key(SEED), **sizes
    )
    return [
        Exact(policy.name, utility, evaluation.estimate(samples["utility"]))
        for (policy, utility), samples in zip(solved, played, strict=True)
    ]


def heuristics() -> Rows:
    """A row for each policy, best first; names of heuristics without their options, which are the defaults."""
    found = sorted(utilities(), key=lambda each: -each.utility)
    names = [each.name.partition("(")[0] for each in found]
    shown = [f"`{name}`" if name in ENTRY.heuristics else name for name in names]
    rows = [[name, *compared(each.utility, each.simulated)] for name, each in zip(shown, found, strict=True)]
    return [["policy", "solved", "simulated", "difference, half-intervals"], *rows]


def _utility(chain: Chain, weights: Sequence[Weights]) -> float:
    return chains.evaluate(chain, chain.joint(weights))[0].average
