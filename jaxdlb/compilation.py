"""How XLA compiles and runs: options for the CPU, and the cache on disk.

The options have no effect on accelerators.
"""

import os

import jax

from jaxdlb.writing import user_cache

# Without _NO_UNROLLING, loops over a few nodes are unrolled before they can be vectorised; _WIDTH allows vectors of
# 512 bits if the processor has them.
_EXTRA, _WIDTH = "--xla_backend_extra_options", "--xla_cpu_prefer_vector_width"
_NO_UNROLLING = "xla_cpu_disable_loop_unrolling"
_WHOLE_LOOPS = f"xla_cpu_small_while_loop_byte_threshold={2**24}"


def tune_for_cpu(*, whole_loops: bool = False) -> None:
    """Add the options to XLA_FLAGS, except those that the user has set; call this before the first computation.

    With `whole_loops`, each loop over less than 16 MiB is compiled as one piece of code and run by one thread. That is
    fastest if the environments are spread over as many devices as there are cores.
    """
    given = os.environ.get("XLA_FLAGS", "")
    extra = f"{_NO_UNROLLING},{_WHOLE_LOOPS}" if whole_loops else _NO_UNROLLING
    own = [f"{name}={value}" for name, value in ((_EXTRA, extra), (_WIDTH, "512")) if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *own])


def run_inline() -> None:
    """Run programs for the CPU in the thread that calls them; call this before the first computation.

    Where other processes want the processors, a small program otherwise waits for its turn once more, in a thread of
    its own.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def usable_cores() -> int:
    """Cores of the CPU that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that the next start is faster.

    JAX_COMPILATION_CACHE_DIR overrides this: it names another folder or, if empty, disables the cache.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(user_cache() / "xla"))
