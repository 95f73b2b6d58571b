"""A small job in which nothing is left to chance, for `jaxdlb.theory.deterministic` to solve exactly."""

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int, PyTree

from jaxdlb.games.farm import dynamics
from jaxdlb.games.farm.types import Action, Params, State

MOST_TASKS = 200


@struct.dataclass
class Job:
    """One job: constant speeds, tasks of equal cost, workers that stay.

    A choice stands for what the decider plays: one of the A choices of agents, or a code that says how many tasks it
    gets exactly, of which those are legal that no choice gives.
    """

    params: Params
    game: Any = struct.field(pytree_node=False)

    @property
    def num_choices(self) -> int:
        """A − 1 + the most tasks of any job, so that one program serves all jobs."""
        return int(self.game.num_sizes) - 1 + MOST_TASKS

    @property
    def restricted(self) -> Mapping[str, Collection[int]]:
        """Without declining; and with the choices of agents alone."""
        return {"nobody declines": (0,), "choices of agents alone": range(self.game.num_sizes, self.num_choices)}

    def legal(self, state: State) -> Bool[Array, " C"]:
        """What the decider may play, which there always is."""
        num_sizes = self.game.num_sizes
        own = dynamics.legal(state, num_sizes)[jnp.minimum(state.decider, self.game.num_workers - 1)]
        _, most = state.interval
        tasks = jnp.arange(1, MOST_TASKS)
        given = jnp.any((dynamics.sizes(state, num_sizes) == tasks[:, None]) & own, axis=1)
        return jnp.concatenate([own, (tasks <= most) & ~given])

    def action(self, state: State, choice: Int[Array, ""]) -> Action:
        """That of the decider, and 0 of all others."""
        return jnp.where(jnp.arange(self.game.num_workers) == state.decider, choice, 0)

    def future(self, state: State) -> PyTree:
        """What is left, who decides, who waits in which order, and when the busy begin and are back.

        Times are from now on, and who has begun may have done so at any time.
        """
        return (
            state.remaining,
            state.decider,
            state.until_free,
            state.phase,
            jnp.where(state.waiting, dynamics.ahead(state.waiting, state.waited), 0),
            jnp.where(state.busy, jnp.maximum(state.until_start, 0.0), 0.0),
            jnp.where(state.busy, state.until_back, 0.0),
        )


def certain_job(game: Any, params: Params) -> Job:
    """The job of these parameters.

    Raises:
        ValueError: names what is left to chance, or changes, or that the job is too large.
    """
    must_be_zero = ["drift", "failure_rate", "join_time"]
    if game.task_law != "deterministic":
        must_be_zero.insert(0, "noise")
    for name in must_be_zero:
        given = np.asarray(getattr(params, name))
        if np.any(given != 0):
            shown = f"[{', '.join(f'{each:g}' for each in given)}]" if given.ndim else f"{given:g}"
            instead = ", or task_law 'deterministic'," if name == "noise" else ""
            raise ValueError(f"{name} is {shown}; it must be 0{instead} for an exact solution")
    job = int(params.job)
    if job > MOST_TASKS:
        raise ValueError(f"job is {job:,}; it must be at most {MOST_TASKS} for an exact solution")
    return Job(params=params, game=game)
