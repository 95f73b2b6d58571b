"""How many of a thousand nodes hold at least k tasks under the power of two, for the page of validation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from docs.tables import Rows
from docs.validation_cases import AT_ONCE, ENTRY, SEED, Effort, theoretical
from jaxdlb import theory
from jaxdlb.evaluation import Estimate, estimate
from jaxdlb.evaluation.numerals import written
from jaxdlb.mechanics import chance
from jaxdlb.policies import make_heuristic

NUM_NODES, CAPACITY = 1000, 32
MOST = 4  # tasks that are counted up to
GAME: Any = ENTRY.game(num_nodes=NUM_NODES, capacity=CAPACITY, max_delay=0)  # type: ignore[call-arg]
POLICY: Any = make_heuristic(ENTRY.heuristics, "power_of_d", d=1)  # the node itself and one other


@dataclasses.dataclass(frozen=True)
class Slow:
    """A cluster of equal nodes in short rounds: its load ρ = p/q, and q."""

    load: float
    completion_prob: float
    effort: Effort

    @property
    def fixed_point(self) -> np.ndarray:
        """The shares of nodes with at least 1 … `MOST` tasks in the limit."""
        return theory.power_of_d_tail(self.load, 2, MOST)[1:]


CASES = (Slow(0.9, 0.005, Effort(16, 45_000, 5000)), Slow(0.95, 0.01, Effort(16, 25_000, 5000)))


def params_of(case: Slow) -> Any:
    """Its parameters; loads begin as they are spread in the limit, which would take some 16,000 rounds from empty."""
    tail = theory.power_of_d_tail(case.load, 2, CAPACITY)
    load = np.sum(tail[1:, None] > (np.arange(NUM_NODES) + 0.5) / NUM_NODES, axis=0)
    q = case.completion_prob
    return GAME.default_params(**AT_ONCE, arrival_prob=case.load * q, completion_prob=q, initial_load=load)


def shares(key: PRNGKeyArray, params: Any, num_rounds: int, warmup: int) -> Float[Array, " MOST"]:
    """The shares of nodes with at least 1 … `MOST` tasks, averaged over the rounds of an episode after the warm-up."""
    reset_key, *keys = jax.random.split(key, 3)

    def play_round(carry: tuple, round: Array) -> tuple:
        memory, state, total = carry
        policy_key, game_key = (chance.fold_in(each, round) for each in keys)
        # News is fresh, so this is what the game shows too; but made here, N² numbers are never written down.
        observation = GAME.true_observation(state, params)
        memory, action = POLICY.act(policy_key, memory, observation, params)
        state, _ = GAME.step(game_key, state, action, params)
        at_least = jnp.sum(state.load >= jnp.arange(1, MOST + 1)[:, None], axis=1)
        return (memory, state, total + jnp.where(round >= warmup, at_least, 0)), None

    start = (POLICY.init(GAME), GAME.reset(reset_key, params)[0], jnp.zeros(MOST, jnp.int32))
    (_, _, total), _ = jax.lax.scan(play_round, start, jnp.arange(num_rounds))
    return total / ((num_rounds - warmup) * NUM_NODES)


def simulate(case: Slow, effort: Effort | None = None, **options: Any) -> list[Estimate]:
    """The shares of nodes with at least 1 … `MOST` tasks, as episodes one after another find them.

    However tasks are sent, a share p/q of all nodes is busy in the long run, since a task is served for 1/q rounds. So
    the first share says how much work an episode happened to bring, and the others are corrected for it by linear
    regression: a control variate (Lavenberg and Welch 1981, doi 10.1287/mnsc.27.3.322). `options` are those of
    `jax.jit`.
    """
    effort = effort or case.effort
    play = jax.jit(shares, static_argnames=("num_rounds", "warmup"), **options)
    params, keys = params_of(case), jax.random.split(jax.random.key(SEED), effort.num_episodes)
    sizes = {"num_rounds": effort.num_rounds, "warmup": effort.warmup}
    busy, *others = np.array([play(key, params, **sizes) for key in keys], np.float64).T
    return [estimate(busy), *(estimate(_corrected(each, busy - case.load)) for each in others)]


def _corrected(values: np.ndarray, off: np.ndarray) -> np.ndarray:
    """The values without what follows from how far something whose mean is 0 is off."""
    return values - np.polyfit(off, values, 1)[0] * off


def table() -> Rows:
    """A row for each case and number of tasks; the difference, with its interval, in percent of the fixed point."""
    rows: Rows = [["case", "at least", "fixed point", "simulated", "difference, %"]]
    for case in CASES:
        name = f"p = {case.load * case.completion_prob:g}, q = {case.completion_prob:g}"
        for k, (limit, found) in enumerate(zip(case.fixed_point, simulate(case), strict=True), start=1):
            off = Estimate(*(100 * (each / limit - 1) for each in dataclasses.astuple(found)))
            rows.append([name, str(k), theoretical(limit), written(found), written(off, signed=True)])
    return rows
