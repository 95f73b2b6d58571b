"""Rules of loop self-scheduling: how many tasks the worker gets whose request is served.

Sizes are exact, by codes beyond the choices of agents. Rules see the row of the decider, as agents do.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb.checks import AMOUNT, NON_NEGATIVE, POSITIVE, POSITIVE_COUNT, check_switch
from jaxdlb.games.farm.dynamics import ROUNDING
from jaxdlb.games.farm.types import Action, Params
from jaxdlb.games.farm.views import Observation, Row
from jaxdlb.policies import Family, Policy, Span
from jaxdlb.policies.options import labelled, numbers, tried


@struct.dataclass
class Memory:
    """What a rule remembers of the chunks it has handed out."""

    chunks: Int[Array, ""]  # k: so far
    left: Int[Array, ""]  # of the present batch
    batch_remaining: Float[Array, ""]  # R as the batch began


@struct.dataclass
class Request:
    """What a rule goes by: what the decider sees, and whether it may decline."""

    row: Float[Array, " 18"]  # columns: Row
    may_decline: Bool[Array, ""]
    memory: Memory
    params: Params

    @property
    def fair_share(self) -> Float[Array, ""]:
        """R / P."""
        return self.row[Row.REMAINING] / self.num_present

    @property
    def num_present(self) -> Float[Array, ""]:
        """P; at least 1, for when nobody decides."""
        return jnp.maximum(self.row[Row.NUM_PRESENT], 1.0)

    @property
    def batch_share(self) -> Float[Array, ""]:
        """R / P as the present batch of chunks began."""
        return self.memory.batch_remaining / self.num_present

    @property
    def share_of_rate(self) -> Float[Array, ""]:
        """r_w / Σ r: the decider's part in what all are measured to do."""
        return self.row[Row.RATE] / jnp.maximum(self.row[Row.TOTAL_RATE], 1e-30)

    @property
    def is_slower_than_the_rest(self) -> Bool[Array, ""]:
        """Whether one task takes the decider longer than all that is left takes the others."""
        others = jnp.maximum(self.row[Row.TOTAL_RATE] - self.row[Row.RATE], 1e-30)
        left = self.row[Row.REMAINING] + self.row[Row.OUTSTANDING]
        return 1 / jnp.maximum(self.row[Row.RATE], 1e-30) > left / others


Rule = Callable[..., Float[Array, ""]]  # (request, **options) → tasks, not yet rounded up; 0: decline


def _up(tasks: Float[Array, ""]) -> Float[Array, ""]:
    """Rounded up, once what float32 may have added is taken off."""
    return jnp.ceil(tasks - ROUNDING)


def _self_scheduling(request: Request, size: Any) -> Float[Array, ""]:
    """Always as many (Tang, Yew 1986)."""
    return jnp.asarray(size, jnp.float32)


def _static(request: Request) -> Float[Array, ""]:
    """⌈J / P⌉."""
    return _up(request.params.job / request.num_present)


def _guided(request: Request, least: Any) -> Float[Array, ""]:
    """⌈R / P⌉ (Polychronopoulos, Kuck 1987, doi 10.1109/TC.1987.5009495)."""
    return jnp.maximum(least, _up(request.fair_share))


def _trapezoid(request: Request) -> Float[Array, ""]:
    """From f = ⌈J / 2P⌉ down to 1 in equal steps, in m = ⌈2J / (f + 1)⌉ chunks.

    Tzen, Ni 1993, doi 10.1109/71.205655.
    """
    first = _up(request.params.job / (2 * request.num_present))
    chunks = _up(2 * request.params.job / (first + 1))
    fall = jnp.where(chunks > 1, (first - 1) / jnp.maximum(chunks - 1, 1), 0.0)
    return jnp.maximum(1.0, jnp.floor(first - request.memory.chunks * fall + ROUNDING))


def _factoring(request: Request) -> Float[Array, ""]:
    """⌈R / 2P⌉ as of the batch's beginning (Hummel, Schonberg, Flynn 1992, doi 10.1145/135226.135232)."""
    return _up(request.batch_share / 2)


def _probabilistic_factoring(request: Request, cv: Any) -> Float[Array, ""]:
    """⌈R / (x P)⌉ likewise, x from the coefficient of variation of a task's cost (the same source)."""
    half_width = cv * request.num_present / (2 * jnp.sqrt(jnp.maximum(request.memory.batch_remaining, 1.0)))
    is_first = request.memory.chunks < request.num_present
    least = jnp.where(is_first, 1.0, 2.0)
    factor = least + half_width**2 + half_width * jnp.sqrt(half_width**2 + 2 * least)
    return _up(request.batch_share / factor)


def _oracle_weighted_factoring(request: Request) -> Float[Array, ""]:
    """The size of `factoring` times the decider's true speed over the mean of those present."""
    weight = request.num_present * request.row[Row.SPEED] / jnp.maximum(request.row[Row.TOTAL_SPEED], 1e-30)
    return jnp.maximum(1.0, jnp.round(_factoring(request) * weight))


def _adaptive_weighted_factoring(
    request: Request, share: Any, least: Any, probe: Any, decline: Any
) -> Float[Array, ""]:
    """⌈share · R · r_w / Σ r⌉, once a chunk has been measured; after variant C of Cariño, Banicescu 2008
    (doi 10.1007/s11227-007-0148-y).
    """
    size = jnp.maximum(least, _up(share * request.row[Row.REMAINING] * request.share_of_rate))
    return _probing_first(request, size, probe, decline)


def _tapered(request: Request, share: Any, floor: Any, probe: Any, decline: Any) -> Float[Array, ""]:
    """The same, with a least *time*: chunks that take the worker `floor` rounds of requests of all, P · (c + c₁).

    Below that the master is busy with requests more than workers are with tasks; a least number of tasks keeps slow
    workers too long, or fast ones not long enough.
    """
    row = request.row
    by_share = share * row[Row.REMAINING] * request.share_of_rate
    by_time = floor * request.num_present * row[Row.COMM_TIME] * row[Row.RATE]
    return _probing_first(request, jnp.maximum(1.0, _up(jnp.maximum(by_share, by_time))), probe, decline)


def _probing_first(request: Request, size: Float[Array, ""], probe: Any, decline: Any) -> Float[Array, ""]:
    """`probe` tasks for who is not measured; if it may `decline`, none for who is too slow to be worth a task."""
    wanted = jnp.where(request.row[Row.MEASURED] > 0, size, probe)
    return jnp.where(decline & request.may_decline & request.is_slower_than_the_rest, 0.0, wanted)


@struct.dataclass
class Heuristic:
    """A rule, with its options as numbers."""

    family: str = struct.field(pytree_node=False)  # the name in the catalogue
    rule: Rule = struct.field(pytree_node=False)
    options: dict[str, Any] = struct.field(default_factory=dict)
    kind: str = struct.field(pytree_node=False, default="heuristic")

    @property
    def name(self) -> str:
        return labelled(self.family, self.options)

    def init(self, game: Any) -> Memory:
        """Nothing handed out."""
        return Memory(chunks=jnp.int32(0), left=jnp.int32(0), batch_remaining=jnp.float32(0))

    def act(self, key: PRNGKeyArray, carry: Memory, observation: Observation, params: Params) -> tuple[Memory, Action]:
        """The memory with the chunk, and the code of the decider, 0 of all others; draws nothing."""
        own, legal = observation.own, observation.legal
        decides = own[:, Row.DECIDES] > 0
        row = jnp.where(jnp.any(decides), own[jnp.argmax(decides)], 0.0)
        memory = _in_batch(carry, row)
        request = Request(row, jnp.any(decides & legal[:, 0]), memory, params)
        tasks = self.rule(request, **self.options).astype(jnp.int32)
        hands_out = jnp.any(decides) & (tasks > 0)
        used = Memory(memory.chunks + hands_out, memory.left - hands_out, memory.batch_remaining)
        code = jnp.where(tasks > 0, tasks + legal.shape[1] - 1, 0)
        return jax.tree.map(functools.partial(jnp.where, jnp.any(decides)), used, carry), jnp.where(decides, code, 0)


def _in_batch(memory: Memory, row: Float[Array, " 18"]) -> Memory:
    """The memory as the next chunk is cut: after P chunks a new batch begins."""
    begins = memory.left <= 0
    return Memory(
        chunks=memory.chunks,
        left=jnp.where(begins, row[Row.NUM_PRESENT].astype(jnp.int32), memory.left),
        batch_remaining=jnp.where(begins, row[Row.REMAINING], memory.batch_remaining),
    )


@struct.dataclass
class Random:
    """Uniform over what a worker may choose."""

    name, kind = "random", "heuristic"

    def init(self, game: Any) -> tuple[()]:
        """Nothing."""
        return ()

    def act(self, key: PRNGKeyArray, carry: Any, observation: Observation, params: Params) -> tuple[Any, Action]:
        """A legal choice of each worker; consumes `key`."""
        legal = observation.legal
        return carry, jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf)).astype(jnp.int32)

    def probabilities(self, observation: Observation, params: Params) -> Float[Array, "N A"]:
        """Of each choice of each worker."""
        return observation.legal / jnp.sum(observation.legal, axis=-1, keepdims=True)


_ALLOWED = {
    "size": POSITIVE_COUNT,
    "least": POSITIVE_COUNT,
    "cv": NON_NEGATIVE,
    "share": POSITIVE,
    "probe": POSITIVE_COUNT,
    "floor": AMOUNT,
}
_numbers = functools.partial(numbers, _ALLOWED)


def _make(family: str, rule: Rule, kind: str = "heuristic") -> Callable[[], Policy]:
    """Of a rule without options."""
    return lambda: Heuristic(family, rule, kind=kind)


def _make_self_scheduling(size: Any = 1) -> Policy:
    return Heuristic("self_scheduling", _self_scheduling, _numbers(size=size))


def _make_guided(least: Any = 1) -> Policy:
    return Heuristic("guided", _guided, _numbers(least=least))


def _make_probabilistic_factoring(cv: Any = 1.0) -> Policy:
    return Heuristic("probabilistic_factoring", _probabilistic_factoring, _numbers(cv=cv))


def _make_adaptive(share: Any = 0.5, least: Any = 1, probe: Any = 1, decline: Any = False) -> Policy:
    options = _numbers(share=share, least=least, probe=probe) | _switch(decline)
    return Heuristic("adaptive_weighted_factoring", _adaptive_weighted_factoring, options)


def _make_tapered(share: Any = 0.5, floor: Any = 1.0, probe: Any = 4, decline: Any = False) -> Policy:
    options = _numbers(share=share, floor=floor, probe=_whole(probe)) | _switch(decline)
    return Heuristic("tapered", _tapered, options)


def _whole(count: Any) -> Any:
    """The nearest whole number, for a search that draws any; what is no finite number is left to be refused."""
    return round(count) if isinstance(count, float) and math.isfinite(count) else count


def _switch(decline: Any) -> dict[str, bool]:
    """The option; raises ValueError for anything but a truth value."""
    check_switch("decline", decline)
    return {"decline": bool(decline)}


_SIZES = (1, 2, 4, 8, 12, 16, 24, 32)
_LEAST = (1, 4, 8, 16)

HEURISTICS: Mapping[str, Family] = {
    "random": Family(Random),
    "self_scheduling": Family(_make_self_scheduling, grid=tried(size=_SIZES)),
    "static": Family(_make("static", _static)),
    "guided": Family(_make_guided, grid=tried(least=_LEAST)),
    "trapezoid": Family(_make("trapezoid", _trapezoid)),
    "factoring": Family(_make("factoring", _factoring)),
    "probabilistic_factoring": Family(_make_probabilistic_factoring, grid=tried(cv=(0.25, 0.5, 1.0, 2.0))),
    "oracle_weighted_factoring": Family(_make("oracle_weighted_factoring", _oracle_weighted_factoring, "oracle")),
    "adaptive_weighted_factoring": Family(
        _make_adaptive, grid=tried(share=(0.2, 0.35, 0.5, 0.7, 1.0), least=_LEAST, probe=(1, 4, 16))
    ),
    "tapered": Family(
        _make_tapered,
        box=lambda game: {
            "share": Span(0.05, 1.5, logarithmic=True),
            "floor": Span(0.05, 20, logarithmic=True),
            "probe": Span(1, 64, logarithmic=True),
        },
    ),
}
