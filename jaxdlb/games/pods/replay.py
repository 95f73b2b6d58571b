"""Recorded pods in the terms of a picture: what the game's own functions say of its states and actions."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.pods import columns, dynamics
from jaxdlb.games.pods.types import Params, State
from jaxdlb.recording import Recording

_COLUMNS = columns.of("cost", percentiles=False)  # those used here are the same whatever the reward


@dataclasses.dataclass(frozen=True)
class Replay:
    """T steps of recorded pods; CPU is in mc, and requests are counted at the end of each step.

    What is said of a pod is NaN in steps in which it is absent, and requests in its last one too, since they went with
    it.
    """

    interval: float  # seconds in a step
    budget: float
    slo: Float[np.ndarray, " N"]  # s
    present: Bool[np.ndarray, "T N"]
    limit: Float[np.ndarray, "T N"]  # in force while the step lasted
    denied: Float[np.ndarray, " T"]  # asked for but not granted, by all pods
    wanted: Float[np.ndarray, "T N"]  # what the requests that come need in the mean: their rate times their mean work
    usage: Float[np.ndarray, "T N"]
    held: Float[np.ndarray, "T N"]
    late: Float[np.ndarray, "T N"]  # of those held, past the objective
    metrics: Mapping[str, np.ndarray]  # [T, …], of all pods: as the game reported them

    @property
    def num_pods(self) -> int:
        return self.limit.shape[1]

    @property
    def num_steps(self) -> int:
        return len(self.limit)

    @property
    def seconds(self) -> float:
        """How long all steps last."""
        return self.num_steps * self.interval

    def column(self, name: str, steps: slice = slice(None)) -> float:
        """What tables say of these steps in a column of theirs; NaN where there is nothing to say."""
        sums = {metric: np.sum(series[steps], axis=0, dtype=np.float64) for metric, series in self.metrics.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(_COLUMNS[name].of(sums | {"steps": len(range(self.num_steps)[steps])}))


def replay(recording: Recording) -> Replay:
    """What is drawn of a recording."""
    params = recording.params
    before = jax.tree.map(lambda leaf: leaf[:-1], recording.states)
    after = jax.tree.map(lambda leaf: leaf[1:], recording.states)
    metrics = recording.timesteps.metrics
    present = np.asarray(before.present)
    stayed = present & after.present
    late = _late(after, np.asarray(params.slo))
    return Replay(
        interval=float(params.interval),
        budget=float(params.budget),
        slo=np.asarray(params.slo),
        present=present,
        limit=_where(present, metrics["pod_limit"]),
        denied=np.asarray(metrics["denied"]),
        wanted=_where(present, jax.device_get(_wanted(before, params))),
        usage=_where(present, metrics["pod_usage"]),
        held=_where(stayed, after.held),
        late=_where(stayed, late),
        metrics=metrics,
    )


def _where(known: Bool[np.ndarray, "T N"], values: Float[np.ndarray, "T N"] | Int[np.ndarray, "T N"]) -> np.ndarray:
    return np.where(known, values, np.nan)


def _late(states: State, slo: Float[np.ndarray, " N"]) -> Int[np.ndarray, "T N"]:
    """How many of the requests held are past their objective, which they violate at the instant that they reach it."""
    is_held = np.arange(states.age.shape[2]) < np.asarray(states.held)[:, :, None]
    return np.sum(is_held & (states.age >= slo[:, None]), axis=2)


@jax.jit
def _wanted(states: State, params: Params) -> Float[Array, "T N"]:
    return jax.vmap(lambda state: dynamics.rates(state, params))(states) * params.work_mean


def representative(replays: Iterable[Replay], most: int) -> list[int]:
    """At most `most` pods: all, or some from the one that wants most CPU to the one that wants least, evenly spaced.

    These are pods that are present for at least half of the time, if there are enough such.
    """
    shown = list(replays)
    num_pods = min(each.num_pods for each in shown)
    if num_pods <= most:
        return list(range(num_pods))
    steps = sum(each.num_steps for each in shown)
    present = sum(np.sum(each.present[:, :num_pods], axis=0) for each in shown)
    wanted = sum(np.nansum(each.wanted[:, :num_pods], axis=0) for each in shown) / np.maximum(present, 1)
    order = np.argsort(-wanted, kind="stable")
    lasting = order[(2 * present >= steps)[order]]
    chosen = lasting if len(lasting) >= most else order
    return [int(chosen[place]) for place in np.linspace(0, len(chosen) - 1, most).round().astype(int)]


def fifths(replayed: Replay) -> Float[np.ndarray, "T 5"]:
    """The limits of the pods present, summed over each fifth of them: first those that want most CPU in that step."""
    order = np.argsort(-np.nan_to_num(replayed.wanted, nan=-1.0), axis=1, kind="stable")
    count = np.maximum(np.sum(replayed.present, axis=1), 1)[:, None]
    fifth = np.minimum(5 * np.arange(replayed.num_pods) // count, 4)
    limit = np.take_along_axis(np.nan_to_num(replayed.limit), order, axis=1)  # those absent are 0, and last
    return np.stack([np.sum(limit, axis=1, where=fifth == each) for each in range(5)], axis=1)
