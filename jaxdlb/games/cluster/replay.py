"""Recorded clusters in the terms of a picture: what the game's own functions say of its states and actions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.cluster import columns, dynamics, estimates, nodes
from jaxdlb.games.cluster.estimates import Node
from jaxdlb.games.cluster.reference import TIERS
from jaxdlb.games.cluster.types import EMPTY, WAITING, Action, Params, State
from jaxdlb.recording import Recording

_COLUMNS = columns.of(is_episode=False)


@dataclasses.dataclass(frozen=True)
class Moments:
    """N nodes before each of T steps and after the last one, T1 = T + 1."""

    wanted: Float[np.ndarray, "T1 N"]  # cores that the running tasks want, over those of the node
    waiting: Int[np.ndarray, "T1 N"]  # tasks on the node that do not run
    late: Int[np.ndarray, "T1 N"]  # tasks on the node whose deadline has passed
    in_time: Int[np.ndarray, "T1 N"]  # those that wait and are not late
    asleep: Bool[np.ndarray, "T1 N"]
    wakes: Bool[np.ndarray, "T1 N"]


@dataclasses.dataclass(frozen=True)
class Slots:
    """What became of N nodes in each of S slots of time; of one in which nothing is known, if no time has passed."""

    use: Float[np.ndarray, "S N"]  # of the node's cores, as a share
    power: Float[np.ndarray, "S N"]  # W
    missed: Float[np.ndarray, "S 3"]  # tasks that missed their deadline, by tier of their node
    dropped: Float[np.ndarray, " S"]  # tasks, since the slot before
    waiting: Float[np.ndarray, "S N"]  # tasks, as the slot ends
    asleep: Float[np.ndarray, "S N"]  # whether the node sleeps, as the slot ends


@dataclasses.dataclass(frozen=True)
class Replay:
    """T steps of a recorded cluster, in some of which a slot of time passes."""

    slot: float  # s
    tier: Int[np.ndarray, " N"]
    capacity: Float[np.ndarray, " N"]  # cores times speed
    cores: Float[np.ndarray, " N"]
    begins: Float[np.ndarray, " T1"]  # s: when each step begins, and the last one ends
    passes: Bool[np.ndarray, " T"]  # whether time passes
    node: Int[np.ndarray, "T M"]  # where the task of each dispatcher is placed; N: dropped; −1: it has none
    moments: Moments
    slots: Slots
    metrics: Mapping[str, np.ndarray]  # [T], as the game reported them

    @property
    def num_steps(self) -> int:
        return len(self.passes)

    @property
    def seconds(self) -> float:
        """How long the slots last in which something is shown."""
        return len(self.slots.use) * self.slot

    def by_tier(self, of_nodes: Float[np.ndarray, "S N"]) -> Float[np.ndarray, "3 S"]:
        """The sums over the nodes of each tier."""
        return np.stack([of_nodes[:, self.tier == tier].sum(axis=1) for tier in range(len(TIERS))])

    def column(self, name: str, steps: slice = slice(None)) -> float:
        """What tables say of these steps in a column of theirs; NaN where there is nothing to say."""
        sums = {metric: float(np.sum(series[steps], dtype=np.float64)) for metric, series in self.metrics.items()}
        return float(_COLUMNS[name].of(sums))


def replay(recording: Recording) -> Replay:
    """What is drawn of a recording."""
    params, metrics = recording.params, recording.timesteps.metrics
    tables, late, in_time = jax.device_get(_moments(recording.states, params))
    before = jax.tree.map(lambda leaf: leaf[:-1], recording.states)
    placed, use, energy, missed = jax.device_get(_passed(before, recording.actions, params))
    moments = Moments(
        wanted=tables[..., Node.RUNNING_CORES] / tables[..., Node.CORES],
        waiting=tables[..., Node.WAITING].astype(int),
        late=late,
        in_time=in_time,
        asleep=tables[..., Node.ASLEEP] > 0,
        wakes=tables[..., Node.WAKE_IN] > 0,
    )
    passes, slot = np.asarray(metrics["slots"]) > 0, float(params.slot)
    slots = Slots(
        use=_when(passes, use),
        power=_when(passes, energy / slot),
        missed=_when(passes, missed),
        dropped=np.diff(_when(passes, np.cumsum(metrics["drops"])), prepend=0.0),
        waiting=_when(passes, moments.waiting[1:]),
        asleep=_when(passes, moments.asleep[1:]),
    )
    return Replay(
        slot=slot,
        tier=np.asarray(params.tier),
        capacity=np.asarray(params.cores * params.speed),
        cores=np.asarray(params.cores),
        begins=slot * np.concatenate([[0], np.cumsum(passes)]),
        passes=passes,
        node=placed,
        moments=moments,
        slots=slots,
        metrics=metrics,
    )


def _when(passes: Bool[np.ndarray, " T"], values: Any) -> Float[np.ndarray, "..."]:
    """The values of the steps in which time passes; NaN of one slot, if there is none."""
    shown = np.asarray(values, np.float64)[passes]
    return shown if len(shown) else np.full((1, *shown.shape[1:]), np.nan)


@jax.jit
def _moments(states: State, params: Params) -> tuple[Float[Array, "T1 N 18"], Int[Array, "T1 N"], Int[Array, "T1 N"]]:
    """Of each state the table of its nodes, their tasks that are late, and those that wait in time."""

    def look(state: State) -> tuple[Array, ...]:
        late = (state.status != EMPTY) & (state.due < 0)
        counts = (jnp.sum(each, axis=1, dtype=jnp.int32) for each in (late, (state.status == WAITING) & ~late))
        return estimates.table(state, params), *counts

    return jax.lax.map(look, states)


@jax.jit
def _passed(
    states: State, actions: Int[Array, "T M"], params: Params
) -> tuple[Int[Array, "T M"], Float[Array, "T N"], Float[Array, "T N"], Float[Array, "T 3"]]:
    """Of each step where tasks were placed; and what passed, as if time did: use, energy (J), tasks missed by tier."""

    def look(step: tuple[State, Action]) -> tuple[Array, ...]:
        state, action = step
        placed = dynamics.choose(state, action, params)
        put = dynamics.place(state, placed, params)
        passed = _on_nodes(put, jnp.ones_like(params.tier, bool), params)
        of_tiers = jax.vmap(lambda tier: _on_nodes(put, params.tier == tier, params))(jnp.arange(len(TIERS)))
        node = jnp.where(placed.at_hand, placed.node, -1)
        return node, passed.use, passed.energy, jnp.sum(of_tiers.missed, axis=1)

    return jax.lax.map(look, (states, actions))


def _on_nodes(state: State, which: Bool[Array, " N"], params: Params) -> nodes.Passed:
    """What a slot comes to if there are no tasks but those on these nodes."""
    there = nodes.only(which[:, None] & (state.status != EMPTY), dynamics.only_slots(state))
    _, passed = dynamics.pass_time(dataclasses.replace(state, **vars(there)), jnp.asarray(True), params)
    return passed


def in_order(replayed: Replay, tier: int) -> list[int]:
    """The nodes of a tier, from the smallest to the largest."""
    order = np.argsort(replayed.capacity, kind="stable")
    return [int(node) for node in order if replayed.tier[node] == tier]
