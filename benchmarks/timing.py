"""How a program is timed: compiled ahead, warmed up once, repeated, and compared repeat by repeat."""

import dataclasses
import math
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxdlb import memory

Name = TypeVar("Name")

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # what the kernel takes in clear_refs as: forget the peak of the resident set


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median of several measurements with the least and the greatest of them."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclasses.dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one call, one entry for each repeat."""

    seconds: tuple[float, ...]

    @property
    def spread(self) -> Spread:
        return spread(self.seconds)

    def rate(self, work: float) -> Spread:
        """How much of `work`, the amount in one call, is done in a second."""
        return spread([work / seconds for seconds in self.seconds])

    def ratio(self, other: "Timing") -> Spread:
        """This time over the `other`, repeat by repeat: what slows the machine for a while slows both."""
        return spread(self.ratios(other))

    def ratios(self, other: "Timing") -> list[float]:
        """This time over the `other`, for each repeat."""
        return [mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]


def measure(runs: Mapping[Name, Callable[[], Any]], *, repeats: int, min_seconds: float) -> dict[Name, Timing]:
    """Time `runs` side by side: each repeat goes through all of them, so that their ratios share the machine's moods.

    A run returns the arrays to wait for. Each is called once to warm up and once to find how many calls fill
    `min_seconds`; only the calls after that are timed.
    """
    calls = {name: _calls_to_fill(min_seconds, run) for name, run in runs.items()}
    rounds = [{name: _seconds_per_call(run, calls[name]) for name, run in runs.items()} for _ in range(repeats)]
    return {name: Timing(tuple(seconds[name] for seconds in rounds)) for name in runs}


def _calls_to_fill(min_seconds: float, run: Callable[[], Any]) -> int:
    jax.block_until_ready(run())
    return max(1, math.ceil(min_seconds / _seconds_per_call(run, 1)))


def _seconds_per_call(run: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        result = run()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls


@dataclasses.dataclass
class Chain:
    """A run that continues from what its last call returned, as `donate`d programs need it."""

    advance: Callable[[Any], Any]
    carry: Any

    def __call__(self) -> Any:
        self.carry = self.advance(self.carry)
        return self.carry


@dataclasses.dataclass(frozen=True)
class Program:
    """A function compiled for the shapes of its arguments."""

    run: Callable[..., Any]
    compile_seconds: float  # tracing and lowering included
    num_bytes: int | None  # its arguments, results and temporaries; None where the backend does not say


def compile_program(function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = ()) -> Program:
    """Compile `function` for `arguments`; `donate` numbers those whose memory the results may take over."""
    start = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
    return Program(compiled, time.perf_counter() - start, _num_bytes(memory.estimate(compiled)))


def _num_bytes(estimate: memory.Estimate | None) -> int | None:
    return None if estimate is None else estimate.total - estimate.workspaces


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """The most memory in use at once, in bytes, and what that number covers."""

    num_bytes: int
    covers: str


def peak_memory(run: Callable[[], Any], device: jax.Device) -> PeakMemory:
    """The high-water mark of memory after a call of `run`: of the accelerator's allocator, or of this process's host.

    The host's mark is set back before the call where the kernel allows it; the whole process is counted, whatever else
    it holds included.
    """
    since_before = _forget_peak()
    jax.block_until_ready(run())
    on_device = device.memory_stats() or {}
    if "peak_bytes_in_use" in on_device:
        return PeakMemory(int(on_device["peak_bytes_in_use"]), "device, since the process started")
    if since_before:
        return PeakMemory(_bytes_of_process("VmHWM"), "host process, during one call")
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return PeakMemory(kibibytes * 1024, "host process, since it started")


def resident_memory() -> int:
    """Bytes that this process holds now; Linux alone says."""
    return _bytes_of_process("VmRSS")


def _bytes_of_process(name: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024


def _forget_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True
