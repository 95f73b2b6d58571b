"""Workers of different speeds on one machine: by how often they do the same work, or by how much of a CPU they get."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxdlb.checks import POSITIVE, check_array

_MOST_REPEATS = 60
_PERIOD = 10_000  # microseconds, in which a worker gets its quota
_LEAST_QUOTA = 1_000  # microseconds, that the kernel takes
_SHARE = 0.9  # of the cores, that all quotas together may take
GROUPS = Path("/sys/fs/cgroup")  # of the kernel


@runtime_checkable
class Speeds(Protocol):
    """How fast each worker is; workers are counted in the order in which they were first there, and start over."""

    def repeats(self, worker: int) -> int:
        """How often the worker computes each task."""
        ...

    def enter(self, worker: int, pid: int) -> None:
        """The worker runs as this process from now on."""
        ...

    def close(self) -> None:
        """All workers are gone."""
        ...


@dataclasses.dataclass(frozen=True)
class ByWork:
    """Worker i runs each task ⌈base / s_i⌉ times over.

    `base` is by default the least number, up to 60, for which nothing need be rounded up.

    Raises:
        ValueError: no speeds, or one that is not positive.
    """

    ratios: Sequence[float]  # s
    base: float | None = None

    def __post_init__(self) -> None:
        _check(self.ratios)

    @property
    def turns(self) -> float:
        """The base: how often a worker of speed 1 would compute each task."""
        return self.base or next((b for b in range(1, _MOST_REPEATS) if self._divides(b)), _MOST_REPEATS)

    def repeats(self, worker: int) -> int:
        """How often the worker computes each task."""
        return max(1, math.ceil(self.turns / self.ratios[worker % len(self.ratios)] - 1e-9))

    def enter(self, worker: int, pid: int) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def _divides(self, base: int) -> bool:
        turns = [base / each for each in self.ratios]
        return all(abs(each - round(each)) < 1e-9 and each > 0.5 for each in turns)


class ByQuota:
    """Each worker in a CPU group of its own, whose quotas are in the given ratios and sum to less than the cores.

    With version 1 of the kernel's groups by `cpu.cfs_quota_us`, with version 2 by `cpu.max`; both in periods of 10 ms.

    Raises:
        ValueError: no speeds, one that is not positive or too small beside the others, or groups cannot be made here.
    """

    def __init__(self, ratios: Sequence[float], groups: Path | None = None) -> None:
        _check(ratios)
        groups = GROUPS if groups is None else groups
        cores = os.cpu_count() or 1
        each = min(_SHARE * cores / sum(ratios), 1 / max(ratios))  # no worker can use more than one core
        self.quotas = [int(_PERIOD * each * ratio) for ratio in ratios]
        if min(self.quotas) < _LEAST_QUOTA:
            least = min(ratios)
            raise ValueError(
                f"speeds holds {least:g}; it must be at least {least * _LEAST_QUOTA / min(self.quotas):.2g} beside the "
                f"others, since {cores} cores are to be shared in quotas of 1 ms or more"
            )
        self._is_first_version = (groups / "cpu" / "cpu.cfs_quota_us").exists()
        self._place = groups / "cpu" if self._is_first_version else groups
        self._made: list[Path] = []
        try:
            self._make("trial", self.quotas[0])
        except OSError as error:
            raise ValueError(
                "speeds is cgroup; it must be a list of speeds by work, as in [1,2,3,5], since no CPU groups can be "
                f"made here ({error.strerror})"
            ) from None
        finally:
            self.close()

    def repeats(self, worker: int) -> int:
        """Once."""
        return 1

    def enter(self, worker: int, pid: int) -> None:
        """Put a worker's process into the group of that worker."""
        group = self._make(str(worker), self.quotas[worker % len(self.quotas)])
        (group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove the groups, as soon as their processes are gone; gives up after some seconds."""
        until = time.monotonic() + 5
        while self._made and time.monotonic() < until:
            for group in [*self._made]:
                with contextlib.suppress(OSError):
                    group.rmdir()
                    self._made.remove(group)
            if self._made:
                time.sleep(0.05)

    def _make(self, name: str, quota: int) -> Path:
        group = self._place / f"jaxdlb-{os.getpid()}-{name}"
        if group not in self._made:
            if not self._is_first_version:
                (self._place / "cgroup.subtree_control").write_text("+cpu")
            group.mkdir()
            self._made.append(group)
        if self._is_first_version:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
        return group


def _check(ratios: Sequence[float]) -> None:
    if not len(ratios):
        raise ValueError("speeds is empty; it must hold at least one")
    check_array("speeds", ratios, (len(ratios),), POSITIVE)


AS_THEY_ARE = ByWork((1.0,))
