"""What a compiled program takes of a device's memory, known before it runs, and what the device has left."""

import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

# The libraries that multiply matrices on the CPU take memory of their own, which XLA does not know of. As a share of
# temporaries it was 7% to 30% in updates of MAPPO (`python -m benchmarks.memory` measures it anew).
_WORKSPACES = 0.15

_MEMINFO = Path("/proc/meminfo")
_GROUP_OF_PROCESS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_KIBIBYTE = 1024


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The memory of a compiled program by part, in bytes."""

    arguments: int
    outputs: int  # beside those that take the place of arguments
    temporaries: int
    code: int
    workspaces: int  # of libraries that the program calls

    @property
    def total(self) -> int:
        """At the peak."""
        return self.arguments + self.outputs + self.temporaries + self.code + self.workspaces

    def times(self, count: int) -> "Estimate":
        """That of so many programs at once which share nothing but their code."""
        parts = {name: count * num_bytes for name, num_bytes in vars(self).items() if name != "code"}
        return Estimate(code=self.code, **parts)


@dataclasses.dataclass(frozen=True)
class Free:
    """Memory that a program may still take."""

    num_bytes: int
    where: str  # for messages


def estimate(compiled: Any) -> Estimate | None:
    """The memory of a program that `jax.jit(…).lower(…).compile()` gave; None where the backend does not say."""
    said = compiled.memory_analysis()
    if said is None:
        return None
    on_cpu = jax.default_backend() == "cpu"
    return Estimate(
        arguments=int(said.argument_size_in_bytes),
        outputs=int(said.output_size_in_bytes - said.alias_size_in_bytes),
        temporaries=int(said.temp_size_in_bytes),
        code=int(said.generated_code_size_in_bytes),
        workspaces=int(_WORKSPACES * said.temp_size_in_bytes) if on_cpu else 0,
    )


def num_bytes(tree: PyTree) -> int:
    """Bytes of all arrays of a pytree, which may be of shapes alone; PRNG keys count as the words they hold."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def free(device: Any) -> Free:
    """What is left of the memory of a `jax.Device`; for a CPU, the less of the machine's and of its control group's."""
    on_device = device.memory_stats() or {}
    if "bytes_limit" in on_device:
        return Free(int(on_device["bytes_limit"] - on_device.get("bytes_in_use", 0)), str(device))
    return min(_left_on_host(), key=lambda each: each.num_bytes)


def _left_on_host() -> Iterator[Free]:
    yield Free(_available(), "the machine")
    for folder, limit, used in _groups():
        yield from _left_in_group(folder, limit, used)


def _available() -> int:
    """Bytes that the kernel can give without swapping or, where it does not say, that the machine has."""
    if _MEMINFO.exists():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * _KIBIBYTE
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups() -> Iterator[tuple[Path, str, str]]:
    """The folders of this process's control groups, with the names of the files of limit and use, version 2 and 1."""
    lines = _GROUP_OF_PROCESS.read_text().splitlines() if _GROUP_OF_PROCESS.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        inside = path.lstrip("/")
        if not controllers:
            yield _GROUPS / inside, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            yield _GROUPS / "memory" / inside, "memory.limit_in_bytes", "memory.usage_in_bytes"
            yield _GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"  # as a container sees it


def _left_in_group(folder: Path, limit: str, used: str) -> Iterator[Free]:
    """What is left of a group's limit, if it has one; pages of files that can be dropped do not count as used."""
    try:
        most = (folder / limit).read_text().strip()
        in_use = int((folder / used).read_text())
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if most.isdigit():
        yield Free(int(most) - in_use + int(lines.get("inactive_file", 0)), "the control group")
