"""The task generator, the central load balancer, and parameters of racks."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import POSITIVE, check_type
from jaxdlb.games.rack.sources import Recorded
from jaxdlb.games.rack.types import Arrivals, Generator, Params
from jaxdlb.mechanics import chance
from jaxdlb.mechanics.distributions import Uniform
from jaxdlb.parameters import Shorthand

_START, _TASKS, _MODULATION, _RATE = range(4)
_HARDLY_EVER = 6.0  # standard deviations of the number of arrivals in a slice
_NEVER = 1e-30  # a rate, per slice, at which nothing arrives


def first_arrivals(key: PRNGKeyArray, max_arrivals: int, params: Params) -> Generator:
    """The generator at the start of an episode, with the arrivals of the first slice."""
    position, until_next = params.tasks.start(chance.fold_in(key, _START))
    modulation = params.arrival_modulation.start(chance.fold_in(key, _MODULATION))
    rate = jnp.float32(1.0)  # nothing is held back
    return _draw(key, until_next, rate, position, jnp.int32(0), modulation, jnp.int32(0), max_arrivals, params)


def next_arrivals(
    key: PRNGKeyArray, generator: Generator, slice: Int[Array, ""], max_arrivals: int, params: Params
) -> Generator:
    """The generator a slice later, with the arrivals of that `slice`; these do not depend on what nodes do."""
    modulation = params.arrival_modulation.advance(chance.fold_in(key, _MODULATION), generator.modulation)
    return _draw(
        key,
        generator.until_next,
        generator.held_rate,
        generator.position,
        generator.turn,
        modulation,
        slice,
        max_arrivals,
        params,
    )


def _draw(
    key: PRNGKeyArray,
    until_next: Float[Array, ""],
    held_rate: Float[Array, ""],
    position: Int[Array, ""],
    turn: Int[Array, ""],
    modulation: Int[Array, ""],
    slice: Int[Array, ""],
    max_arrivals: int,
    params: Params,
) -> Generator:
    """The arrivals of a slice. More than `max_arrivals` wait at the central load balancer for the next slice.

    `until_next` is the time to the first of them in units of the mean gap, of which a slice has as many as its rate. It
    is below 0 if that task waits already; then its slice had `held_rate` of them, as the slices since then have until
    nobody waits any more.
    """
    num_nodes = params.cores.shape[0]
    vary, deal = chance.uniforms(chance.fold_in(key, _RATE), 2, max_arrivals)
    factor = params.arrival_modulation.factor(modulation, slice) * params.rate_variation.quantile(vary[0])
    rate = jnp.maximum(params.arrival_rate * params.dt * factor, _NEVER)
    batch = params.tasks.batch(chance.fold_in(key, _TASKS), position, max_arrivals, params)
    at = until_next + jnp.concatenate([jnp.zeros(1), jnp.cumsum(batch.gap)])
    num = jnp.sum(at[:-1] < rate, dtype=jnp.int32)
    passes = jnp.where(at[num] < 0, held_rate, rate)  # of mean gaps, until the next slice
    return Generator(
        arrivals=Arrivals(
            num=num,
            instant=at[:-1] / jnp.where(at[:-1] < 0, held_rate, rate),
            node=params.dealing.deal(deal, turn, num_nodes),
            runtime=batch.runtime,
            io_time=batch.io_time,
            payload=batch.payload,
        ),
        until_next=at[num] - passes,
        held_rate=passes,
        position=params.tasks.advance(position, num),
        turn=(turn + num) % num_nodes,
        modulation=modulation,
    )


def capacity(params: Params) -> Float[Array, ""]:
    """The most tasks per ms that the rack can complete, float32 ().

    A node completes what the slower of its cores and its I/O lets pass:
    min(cores / (overhead + E[runtime] / core_perf), io_cores · io_perf / E[io_time]).
    """
    runtime, io_time = params.tasks.mean_runtime(params), params.tasks.mean_io_time(params)
    on_cores = params.cores / (params.overhead + runtime / params.core_perf)
    in_io = params.io_cores * params.io_perf / jnp.maximum(io_time, _NEVER)
    return jnp.sum(jnp.minimum(on_cores, in_io))


def expected_performance(params: Params) -> Float[Array, " N"]:
    """Tasks that each node is expected to complete in a slice: min(cores · core_perf, io_cores · io_perf) · dt / work.

    The work is the mean runtime: a unit that all nodes share, by which the numbers are those of a node that completes a
    task in a round with this probability.
    """
    performance = jnp.minimum(params.cores * params.core_perf, params.io_cores * params.io_perf)
    return performance * params.dt / params.tasks.mean_runtime(params)


def responding(bound: Int[Array, " N"], params: Params) -> Float[Array, " N"]:
    """Tasks at each node, or travelling to it, over the tasks that arrive at a node in a slice: float32 [N].

    By Little's law their mean over nodes and slices is the mean response time in slices: the same measure at any load.
    """
    return bound * bound.shape[0] / (params.arrival_rate * params.dt)


def with_load(params: Params, load: Float[Array, ""]) -> Params:
    """The arrival rate at which the rack has that offered load."""
    return dataclasses.replace(params, arrival_rate=load * capacity(params))


SHORTHANDS = {
    "load": Shorthand(
        allowed=POSITIVE,
        default=0.8,
        sets=("arrival_rate",),
        apply=with_load,
        meaning="offered load: arrival_rate as a share of what the whole rack can complete",
    )
}


def make_params(game: Any, **fields: Any) -> Params:
    """The reference rack at the sizes of `game`, with `fields` replaced; see `parameters.make`.

    Give `load` or `arrival_rate`, not both; if neither is given, the load is 0.8.

    Raises:
        ValueError: an unknown field, an entry out of range or of the wrong length, or what `validate` refuses.

    Warns if more tasks arrive than the rack can complete.
    """
    params = parameters.make(Params, game, fields, SHORTHANDS)
    validate(params, game)
    _warn_if_unstable(params)
    return params


def validate(params: Params, game: Any) -> None:
    """Check every field of one rack's `params`; raises ValueError with the field, the entry and the range."""
    check_type("params", params, Params, "the Params of rack")
    parameters.check(params, game)
    with jax.ensure_compile_time_eval():
        _check_fields_together(params, game)


def _check_fields_together(params: Params, game: Any) -> None:
    _check_tasks(params)
    _check_network(params, game)
    per_slice = float(params.arrival_rate * params.dt)
    most = per_slice + _HARDLY_EVER * per_slice**0.5
    if per_slice > game.max_arrivals:
        raise ValueError(
            f"arrival_rate is {float(params.arrival_rate):g}, {per_slice:g} tasks a slice; it must be at most "
            f"max_arrivals / dt, {game.max_arrivals / float(params.dt):g} ({most:.0f} leaves room for bursts)"
        )


def _check_tasks(params: Params) -> None:
    for name in ("rate_variation", "runtime", "io_time", "payload"):
        each = getattr(params, name)
        if isinstance(each, Uniform) and float(each.low) > float(each.high):
            raise ValueError(f"{name}.low is {float(each.low):g}; it must be at most {name}.high, {float(each.high):g}")
    if float(params.tasks.mean_runtime(params)) <= 0:
        raise ValueError("runtime has the mean 0; it must be above 0, since nodes tell their speeds by it")
    if isinstance(params.tasks, Recorded):
        _check_record(params.tasks)
    weights = getattr(params.dealing, "weights", None)
    if weights is not None and float(np.sum(weights)) <= 0:
        raise ValueError("dealing.weights are all 0; at least one must be above 0")


def _check_network(params: Params, game: Any) -> None:
    if game.heartbeats == "shared" and float(params.heartbeat_loss) > 0:
        raise ValueError(
            f"heartbeat_loss is {float(params.heartbeat_loss):g}; it must be 0 with heartbeats=shared, "
            "where all receivers hear the same heartbeats (use heartbeats=per_link)"
        )
    slow = np.flatnonzero(np.asarray(params.latency) > float(params.dt) * game.max_delay)
    if len(slow):
        raise ValueError(
            f"latency[{slow[0]}] is {float(params.latency[slow[0]]):g}; it must be at most max_delay slices of dt, "
            f"{float(params.dt) * game.max_delay:g} ms, so that heartbeats arrive"
        )


def _warn_if_unstable(params: Params) -> None:
    with jax.ensure_compile_time_eval():
        load = float(params.arrival_rate / capacity(params))
    if load >= 1:
        warnings.warn(
            f"the offered load is {load:.3g}: more tasks arrive than the rack can complete, so queues grow until tasks "
            "find no free slot and are dropped",
            stacklevel=4,
        )


def _check_record(record: Recorded) -> None:
    """Raise ValueError unless all arrays are of one length, and time passes when the record is played."""
    for name in ("runtimes", "io_times", "payloads"):
        has, must = np.shape(getattr(record, name))[0], np.shape(record.gap)[0]
        if has != must:
            raise ValueError(f"tasks.{name} has {has} entries; it must have {must}, as tasks.gap")
    if not np.any(np.asarray(record.gap)):
        raise ValueError("tasks.gap is all 0; at least one must be above 0")
