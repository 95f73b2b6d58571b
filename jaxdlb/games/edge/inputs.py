"""How many requests reach each node in a step, before the game rounds, clips and scales them: one class for each law.

Each law has `start(key, num_nodes)`, its state at reset; `rates(key, state, step) -> float32 [N]`, the requests per
second at each node in that step, with a key of its own for every step; `scaled(factor)`, the same law for nodes so many
times as large; and `validate(num_nodes)`, which checks it on the host. A state may differ from law to law, but not in
the course of an episode. Laws differ in the class of the pytree, so a game calls these methods and never asks which law
it has. `LAWS` names them.

What is drawn for node i depends on the key and on i alone, not on how many nodes there are, except where nodes share
out what there is: the phases of `Sinusoidal`.

The laws are those of DFaaS ("Multi-Agent Reinforcement Learning for Workload Distribution in FaaS-Edge Computing
Systems", IPDPSW 2025).
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import AMOUNT, COUNT, LARGEST_INT, POSITIVE_COUNT, SWITCH, Interval
from jaxdlb.mechanics import chance, cycles
from jaxdlb.parameters import PerSize, parameter, per_size

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | int
Switch = Bool[Array, ""] | bool

LENGTH = Interval(2, LARGEST_INT, integer=True)  # steps of a line with two ends
WHOLE_RATE = Interval(0, 46_340, integer=True)  # the square of a larger one would not fit into an int32
_ROWS, _OFFSETS = 0, 1  # the draws at the start of an episode of `Recorded`


@runtime_checkable
class InputLaw(Protocol):
    """A law by which input rates vary; every implementation is a frozen pytree of arrays."""

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Any:
        """The state at reset: a pytree, whose structure and shapes depend on the law and on N alone."""
        ...

    def rates(self, key: PRNGKeyArray, state: Any, step: Int[Array, ""]) -> Float[Array, " N"]:
        """Requests per second at each node in the `step` from 0; may well be below 0."""
        ...

    def scaled(self, factor: Float[Array, ""] | float) -> "InputLaw":
        """The law of rates that are `factor` times as high, in the same time; it may be traced.

        Means, amplitudes and deviations scale; in laws without these all rates do, since a law that stayed as it is
        would give networks of any capacity the same inputs, whatever load was asked for.
        """
        ...

    def validate(self, num_nodes: int) -> None:
        """Raise ValueError, which begins with the bare field, unless every field is of its shape and within its range.

        This is for one law, not for a batch, on the host.
        """
        ...


class _Declared:
    """`validate` for laws whose declarations say all that there is to check."""

    def validate(self, num_nodes: int) -> None:
        parameters.check(self, types.SimpleNamespace(dims={"N": num_nodes}))


class _Stateless(_Declared):
    """`start` for laws that depend only on the step and its key."""

    def start(self, key: PRNGKeyArray, num_nodes: int) -> tuple[()]:
        return ()


def _by_turns(even: float, odd: float) -> PerSize:
    """A default that is `even` for nodes 0, 2, … and `odd` for nodes 1, 3, …."""
    return per_size(f"{even:g}, {odd:g}, {even:g}, …", lambda game: np.where(np.arange(game.num_nodes) % 2, odd, even))


@struct.dataclass(kw_only=True)
class Constant(_Stateless):
    """Always the same at each node."""

    rate: Float[Array, " N"] = parameter(AMOUNT, _by_turns(5, 100))  # requests per second at each node

    def rates(self, key: PRNGKeyArray, state: tuple[()], step: Int[Array, ""]) -> Float[Array, " N"]:
        return self.rate

    def scaled(self, factor: Scalar) -> "Constant":
        """The rates scale."""
        return dataclasses.replace(self, rate=self.rate * factor)


@struct.dataclass
class Waves:
    """What an episode of `Sinusoidal` draws at its start."""

    phase: Float[Array, " N"]  # φ, in turns
    noise: Float[Array, " N"]  # ν, as a share of the amplitude


@struct.dataclass
class Sinusoidal(_Declared):
    """Waves like day and night, evenly out of phase: mean + amplitude · (sin(2π (step / period + φ)) + ν z).

    The phases φ are 0, 1/N, …, (N − 1)/N, one for each node, in random order with `shuffle`, else in the order of the
    nodes. ν is uniform in [noise_low, noise_high] for each node; z is standard normal for each node and step.
    """

    mean: Float[Array, " N"] = parameter(AMOUNT, 70.0)  # m: mean rate of each node
    amplitude: Float[Array, " N"] = parameter(AMOUNT, 65.0)  # a: amplitude of each node's wave around it
    period: Scalar = parameter(cycles.PERIOD, 288.0)  # P: period, in steps
    noise_low: Scalar = parameter(AMOUNT, 0.05)  # least noise, as a share of the amplitude
    noise_high: Scalar = parameter(AMOUNT, 0.1)  # most noise, as a share of the amplitude
    shuffle: Switch = parameter(SWITCH, True)  # whether nodes take the phases in random order

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Waves:
        order, noise = chance.uniforms(key, 2, num_nodes)
        turn = jnp.where(self.shuffle, jnp.argsort(order), jnp.arange(num_nodes))
        return Waves(
            phase=turn.astype(jnp.float32) / num_nodes,
            noise=self.noise_low + (self.noise_high - self.noise_low) * noise,
        )

    def rates(self, key: PRNGKeyArray, state: Waves, step: Int[Array, ""]) -> Float[Array, " N"]:
        (z,) = chance.normals(key, 1, state.phase.shape[0])
        turns = cycles.turns(step, self.period) + state.phase
        wave = jnp.sin(2 * jnp.pi * (turns - jnp.floor(turns)))
        return self.mean + self.amplitude * (wave + state.noise * z)

    def scaled(self, factor: Scalar) -> "Sinusoidal":
        """Mean and amplitude scale, and with the amplitude the noise."""
        return dataclasses.replace(self, mean=self.mean * factor, amplitude=self.amplitude * factor)

    def validate(self, num_nodes: int) -> None:
        super().validate(num_nodes)
        _check_ends(self, "noise_low", "noise_high")


@struct.dataclass
class Normal(_Stateless):
    """Normal around each node's mean, drawn anew for each node and step."""

    mean: Float[Array, " N"] = parameter(AMOUNT, 61.0)  # m: mean rate of each node
    deviation: Float[Array, " N"] = parameter(AMOUNT, 32.0)  # s: standard deviation of each node

    def rates(self, key: PRNGKeyArray, state: tuple[()], step: Int[Array, ""]) -> Float[Array, " N"]:
        (z,) = chance.normals(key, 1, self.mean.shape[0])
        return self.mean + self.deviation * z

    def scaled(self, factor: Scalar) -> "Normal":
        """Mean and deviation scale."""
        return dataclasses.replace(self, mean=self.mean * factor, deviation=self.deviation * factor)


@struct.dataclass(kw_only=True)
class Step(_Stateless):
    """The rate is `before` until step `at`, and `after` from that step on."""

    at: Count = parameter(COUNT, 144)  # the first step of the new rates
    before: Float[Array, " N"] = parameter(AMOUNT, _by_turns(5, 100))  # rate of each node before that step
    after: Float[Array, " N"] = parameter(AMOUNT, _by_turns(70, 30))  # rate of each node from that step on

    def rates(self, key: PRNGKeyArray, state: tuple[()], step: Int[Array, ""]) -> Float[Array, " N"]:
        return jnp.where(cycles.counted(step) < cycles.counted(self.at), self.before, self.after)

    def scaled(self, factor: Scalar) -> "Step":
        """The rates scale, not the time."""
        return dataclasses.replace(self, before=self.before * factor, after=self.after * factor)


def _on_line(
    start: Float[Array, " N"], end: Float[Array, " N"], length: Count, step: Int[Array, ""]
) -> Float[Array, " N"]:
    """From `start` in step 0 straight to `end` in step length − 1, where it stays; exact at both ends."""
    last = cycles.counted(length) - 1
    share = jnp.minimum(cycles.counted(step), last).astype(jnp.float32) / last.astype(jnp.float32)
    return (1 - share) * start + share * end


@struct.dataclass(kw_only=True)
class Linear(_Stateless):
    """Straight from one rate to another, where it stays."""

    start_rate: Float[Array, " N"] = parameter(AMOUNT, _by_turns(5, 1))  # rate of each node in step 0
    end_rate: Float[Array, " N"] = parameter(AMOUNT, _by_turns(5, 150))  # rate of each node from step length − 1 on
    length: Count = parameter(LENGTH, 288)  # steps of the line, both ends included

    def rates(self, key: PRNGKeyArray, state: tuple[()], step: Int[Array, ""]) -> Float[Array, " N"]:
        return _on_line(self.start_rate, self.end_rate, self.length, step)

    def scaled(self, factor: Scalar) -> "Linear":
        """Both ends scale, not the time."""
        return dataclasses.replace(self, start_rate=self.start_rate * factor, end_rate=self.end_rate * factor)


@struct.dataclass
class Ends:
    """What an episode of `RandomLinear` draws at its start: the ends of each node's line, whole numbers."""

    start_rate: Float[Array, " N"]
    end_rate: Float[Array, " N"]


@struct.dataclass
class RandomLinear(_Declared):
    """Straight from one rate to another, both drawn for each node at the start of an episode: uniform whole numbers."""

    low: Count = parameter(WHOLE_RATE, 1)  # the least that is drawn
    high: Count = parameter(WHOLE_RATE, 150)  # the most that is drawn
    length: Count = parameter(LENGTH, 288)  # steps of the line, both ends included

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Ends:
        start_rate, end_rate = (
            jnp.asarray(self.low + jnp.floor(u * (self.high - self.low + 1)), jnp.float32)
            for u in chance.uniforms(key, 2, num_nodes)
        )
        return Ends(start_rate, end_rate)

    def rates(self, key: PRNGKeyArray, state: Ends, step: Int[Array, ""]) -> Float[Array, " N"]:
        return _on_line(state.start_rate, state.end_rate, self.length, step)

    def scaled(self, factor: Scalar) -> "RandomLinear":
        """What is drawn between scales, rounded (half to even) to whole numbers; not the time."""
        low, high = (jnp.round(end * jnp.float32(factor)).astype(jnp.int32) for end in (self.low, self.high))
        return dataclasses.replace(self, low=low, high=high)

    def validate(self, num_nodes: int) -> None:
        super().validate(num_nodes)
        _check_ends(self, "low", "high")


@struct.dataclass
class Places:
    """What an episode of `Recorded` draws at its start: what each node plays."""

    row: Int[Array, " N"]  # of the pool
    offset: Int[Array, " N"]  # the first sample


@struct.dataclass(kw_only=True)
class Recorded(_Declared):
    """Rows of a record, one for each node, which repeat: each sample lasts for `steps_per_sample` steps.

    At the start of an episode every node draws a row, all different as far as there are rows: they are dealt out in
    random order, and all of them anew once there are none left. With `random_start` a node begins at a random sample,
    else at the first one.
    """

    pool: Float[Array, "P L"] = parameter(AMOUNT)  # P rows of L samples, the rates at a node
    scale: Scalar = parameter(AMOUNT, 1.0)  # factor on all of them
    steps_per_sample: Count = parameter(POSITIVE_COUNT, 1)  # steps that a sample lasts
    random_start: Switch = parameter(SWITCH, False)  # start each node at a random sample

    def start(self, key: PRNGKeyArray, num_nodes: int) -> Places:
        num_rows, num_samples = self.pool.shape
        deals = chance.uniform_rows(chance.fold_in(key, _ROWS), -(-num_nodes // num_rows), num_rows)
        (offset,) = chance.uniforms(chance.fold_in(key, _OFFSETS), 1, num_nodes)
        return Places(
            row=jnp.argsort(deals, axis=1).ravel()[:num_nodes].astype(jnp.int32),
            offset=jnp.where(self.random_start, jnp.floor(offset * num_samples), 0).astype(jnp.int32),
        )

    def rates(self, key: PRNGKeyArray, state: Places, step: Int[Array, ""]) -> Float[Array, " N"]:
        sample = cycles.place(state.offset, step, self.pool.shape[1], self.steps_per_sample)
        return self.scale * self.pool[state.row, sample]

    def scaled(self, factor: Scalar) -> "Recorded":
        """The factor on the record scales, so that another part of the record, put in its place, is scaled as it is."""
        return dataclasses.replace(self, scale=self.scale * factor)


def _check_ends(law: Any, low: str, high: str) -> None:
    """Raise ValueError if a range is upside down."""
    least, most = float(getattr(law, low)), float(getattr(law, high))
    if least > most:
        raise ValueError(f"{low} is {least:g}; it must be at most {high}, which is {most:g}")


LAWS: Mapping[str, type[InputLaw]] = {
    "sinusoidal": Sinusoidal,
    "constant": Constant,
    "normal": Normal,
    "step": Step,
    "linear": Linear,
    "random_linear": RandomLinear,
    "recorded": Recorded,
}
