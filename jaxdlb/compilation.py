"""How XLA compiles: options for the CPU that make games run and everything compile quicker, and the cache on disk.

On accelerators the options have no effect.
"""

import os

import jax

from jaxdlb.writing import user_cache

# Without the first, loops over a few nodes are unrolled before they could be vectorised; the second allows vectors of
# 512 bits where the processor has them.
_EXTRA, _WIDTH = "--xla_backend_extra_options", "--xla_cpu_prefer_vector_width"
_NO_UNROLLING = "xla_cpu_disable_loop_unrolling"
_WHOLE_LOOPS = f"xla_cpu_small_while_loop_byte_threshold={2**24}"


def tune_for_cpu(*, whole_loops: bool = False) -> None:
    """Add the options to XLA_FLAGS, but for those that the user has set; call it before the first computation.

    With `whole_loops`, loops over less than 16 MiB become one piece of code each, run by one thread: the quickest where
    the environments are spread over as many devices as there are cores.
    """
    given = os.environ.get("XLA_FLAGS", "")
    extra = f"{_NO_UNROLLING},{_WHOLE_LOOPS}" if whole_loops else _NO_UNROLLING
    own = [f"{name}={value}" for name, value in ((_EXTRA, extra), (_WIDTH, "512")) if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *own])


def use_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that the next start is quicker.

    JAX_COMPILATION_CACHE_DIR names another folder, or none if it is empty.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(user_cache() / "xla"))
