"""The memory that training takes, known before it is spent: a launch that will not fit is refused, a dry run tells."""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxdlb import memory
from jaxdlb.memory import Estimate, Free

from . import errors, loop

Plan = Any  # of `launch`, which imports this
_PER_ENVIRONMENT = ("environments", "memories", "noise", "replay")  # parts of a state that grow with their number
_LOOK_CLOSER = 2**16  # bytes of an agent's round: if all fitted at that, shapes need not be traced to know they fit
_EXHAUSTED = "RESOURCE_EXHAUSTED"


class Setting(NamedTuple):
    """A key that can be lowered, and the bytes that are proportional to its value."""

    key: str
    value: int
    num_bytes: int
    divides: int = 0  # what it must divide; 0: nothing

    def at_most(self, number: float) -> int:
        """The most that it can be lowered to."""
        if self.divides:
            return max(
                (each for each in range(1, self.value) if self.divides % each == 0 and each <= number), default=0
            )
        return _rounded(number)


def program(plan: Plan) -> loop.Program:
    """The training program of a plan, compiled, which fits the device; nothing is allocated yet.

    Raises:
        errors.Refusal: it does not fit; the message names keys to lower, and by how much.
    """
    free = memory.free(jax.local_devices()[0])
    shapes = plan.population.template()
    spread = _num_devices(plan) // _that_share(plan)
    least = (memory.num_bytes(shapes) + _rollout_if_large(plan, shapes, free)) // spread
    _check(plan, shapes, least, free)
    try:
        compiled = loop.compiled(plan.population, shapes, plan.schedule.logging_interval, plan.placement)
    except jax.errors.JaxRuntimeError as error:
        if _EXHAUSTED not in str(error):
            raise
        raise errors.Refusal(_refusal(plan, shapes, 2 * free.num_bytes, free)) from error
    estimate = _estimate(plan, compiled)
    if estimate is not None:
        _check(plan, shapes, estimate.total, free)
    return compiled


def dry_run(plan: Plan) -> None:
    """Compile the training program, and print what memory it would take; nothing is allocated or written.

    Raises:
        errors.Refusal: it does not fit the device.
    """
    start = time.perf_counter()
    compiled = program(plan)
    seconds = time.perf_counter() - start
    print("\n".join(_lines(plan, _estimate(plan, compiled), memory.free(jax.local_devices()[0]))))
    print(f"compiled in {seconds:.1f} s; {_left_to_compile(plan.settings.evaluation)}")


def _estimate(plan: Plan, compiled: loop.Program) -> Estimate | None:
    """The memory of the training program, on all devices that share what is left."""
    estimate = memory.estimate(compiled)
    return None if estimate is None else estimate.times(_that_share(plan))


def _num_devices(plan: Plan) -> int:
    """How many devices train, of all processes."""
    return 1 if plan.placement is None else plan.placement.mesh.size


def _that_share(plan: Plan) -> int:
    """How many of them have one memory: those of a CPU, and no others."""
    return _num_devices(plan) // plan.group.count if jax.default_backend() == "cpu" else 1


def _lines(plan: Plan, estimate: Estimate | None, free: Free) -> Iterator[str]:
    """The memory by part, for people."""
    device, shapes = jax.local_devices()[0], plan.population.template()
    yield f"memory of training on {device.device_kind} ({device.platform}), by what the compiled program says:"
    if estimate is None:
        yield "  this platform does not say"
        return
    yield _row("state", estimate.arguments)
    for name, part in vars(getattr(shapes, "members", shapes)).items():
        yield _row(f"  {name}", memory.num_bytes(part))
    yield _row("outputs beside it", estimate.outputs)
    yield _row("temporaries", estimate.temporaries)
    if (rollout := _rollout(plan, shapes)) is not None:
        yield _row("  a rollout", rollout)
    yield _row("generated code", estimate.code)
    if estimate.workspaces:
        yield _row("workspaces, about", estimate.workspaces)
    yield _row("in all", estimate.total)
    yield _row(f"left on {free.where}", free.num_bytes)


def _row(name: str, num_bytes: int) -> str:
    return f"  {name:<26}{_written(num_bytes):>12}"


def _left_to_compile(evaluation: Any) -> str:
    parts = ["the start of training"]
    if evaluation.held_out_episodes != 0:
        parts.append("the episodes held out")
    if evaluation.enabled and evaluation.fresh_news:
        parts.append("training with fresh news")
    if evaluation.enabled:
        parts.append("the comparison with the heuristics")
    return f"left to compile: {', '.join(parts)}"


def _check(plan: Plan, shapes: PyTree, needed: int, free: Free) -> None:
    if needed > free.num_bytes:
        raise errors.Refusal(_refusal(plan, shapes, needed, free))


def _refusal(plan: Plan, shapes: PyTree, needed: int, free: Free) -> str:
    """One sentence with the first key that would make training fit, its value, and about what is allowed."""
    why = f"training takes {_written(needed)}, and {free.where} has {_written(free.num_bytes)} left"
    settings = _settings(plan, shapes, needed)
    for each in settings:
        most = each.at_most(each.value * (free.num_bytes - needed + each.num_bytes) / each.num_bytes)
        if most >= 1:
            others = [other.key for other in settings if other is not each and other.value > 1]
            also = f" (or lower {' or '.join(others)})" if others else ""
            return f"{each.key} is {each.value}; it must be at most about {most} here{also}: {why}"
    return f"network.hidden is {list(plan.network.hidden)}; it must be narrower here, or network.critic_hidden: {why}"


def _settings(plan: Plan, shapes: PyTree, needed: int) -> list[Setting]:
    """What can be lowered, in the order in which it costs learning least."""
    population, config = plan.population, plan.population.learner.config
    size, devices = population.size, _num_devices(plan)
    state, of_one = memory.num_bytes(shapes), getattr(shapes, "members", shapes)
    grows = sum(memory.num_bytes(getattr(of_one, name, ())) for name in _PER_ENVIRONMENT)
    kept = memory.num_bytes(getattr(of_one, "replay", ()))
    found = [
        *([Setting("distributed.devices", _that_share(plan), needed - state, size)] if size % devices == 0 else []),
        Setting("learner.replay_length", getattr(config, "replay_length", 1), kept),
        Setting("learner.num_envs", getattr(config, "num_envs", 1), needed - state + grows),
        Setting("learner.population" if population.evolves else "learner.num_seeds", population.size, needed),
        Setting("learner.rollout_length", getattr(config, "rollout_length", 1), needed - state),
    ]
    return [each for each in found if each.value > 1 and each.num_bytes > 0]


def _rollout_if_large(plan: Plan, shapes: PyTree, free: Free) -> int:
    """Bytes of a rollout where it might not fit, else 0: to know it takes a trace of a whole round."""
    agent_rounds = plan.schedule.agent_rounds_per_update * _at_once(plan)
    return (_rollout(plan, shapes) or 0) if agent_rounds * _LOOK_CLOSER > free.num_bytes else 0


def _rollout(plan: Plan, shapes: PyTree) -> int | None:
    """Bytes of what a learner gathers in an update; None for one that keeps nothing of it."""
    collect = getattr(plan.population.learner, "collect", None)
    if collect is None:
        return None
    if plan.population.num_seeds > 1:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
    return _at_once(plan) * memory.num_bytes(jax.eval_shape(collect, shapes)[1])


def _at_once(plan: Plan) -> int:
    """How many policies gather a rollout at a time: one on each device that a CPU deals them out to, elsewhere all."""
    size, devices = plan.population.size, _num_devices(plan)
    return devices if jax.default_backend() == "cpu" and size % devices == 0 else size


def _rounded(number: float) -> int:
    """Down to two significant digits."""
    if number < 1:
        return 0
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(number // unit) * unit


def _written(num_bytes: int) -> str:
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.4g} {name}" if num_bytes < 1000 * unit else f"{num_bytes / unit:,.0f} {name}"
    return f"{num_bytes / 1024:.3g} KiB"
