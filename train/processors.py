"""The cores of a CPU as devices of their own, so that all have something to do where several policies train.

A program on one device leaves most of a second core idle, since what it computes at a time is too little to be shared.
Policies that train side by side share nothing, so each may have a device of its own; where these are more than the
cores, cores turn from one to the other.
"""

import contextlib
import os

import jax

from jaxdlb.compilation import usable_cores

_KEY = "jax_num_cpu_devices"
_FLAG, _VARIABLE = "xla_force_host_platform_device_count", "JAX_NUM_CPU_DEVICES"
_MOST = 4  # devices for each core: all of them take memory at once


def number(num_policies: int, wanted: int | None) -> int:
    """How many devices the CPU should be: as many as `wanted` or, if None, as policies best train on."""
    cores = usable_cores()
    return count(num_policies, cores) if wanted is None else min(wanted, _MOST * cores)


def split(num_devices: int) -> None:
    """Make so many devices of the CPU.

    Nothing changes if a computation has come before, or if the environment says how many there are.
    """
    if _FLAG in os.environ.get("XLA_FLAGS", "") or _VARIABLE in os.environ:
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update(_KEY, num_devices)


def leave_whole() -> None:
    """Let the CPU be one device in this process, beside which others train."""
    os.environ.setdefault(_VARIABLE, "1")


def are_split() -> bool:
    """Whether the devices of this process are those that `split` made."""
    return getattr(jax.config, _KEY) > 0 and _VARIABLE not in os.environ and jax.default_backend() == "cpu"


def count(num_policies: int, num_cores: int) -> int:
    """On how many devices so many policies train, evenly: the fewest that occupy every core, or the most."""
    shares = [each for each in range(1, _MOST * num_cores + 1) if max(num_policies, 1) % each == 0]
    return next((each for each in shares if each >= num_cores), shares[-1])


def shared(num_policies: int, num_devices: int) -> int:
    """Over how many of so many devices policies are dealt out evenly: the most."""
    return max(each for each in range(1, num_devices + 1) if max(num_policies, 1) % each == 0)
