"""The devices that a benchmark runs on: one for each core of the CPU, or one accelerator."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxdlb import compilation
from jaxdlb.compilation import usable_cores

_AXIS = "environments"


def prepare(*, spread: bool) -> None:
    """Set up XLA before the first computation; with `spread`, every core of a CPU becomes a device of its own.

    Programs whose environments are spread have no use for threads within a device, so loops are compiled as a whole.
    Compiled programs are not kept: compile times are those of a first launch.
    """
    compilation.tune_for_cpu(whole_loops=spread)
    if spread:
        jax.config.update("jax_num_cpu_devices", usable_cores())
    jax.config.update("jax_enable_compilation_cache", False)


def spread(tree: PyTree, num_envs: int, most: int | None = None) -> PyTree:
    """`tree` with the arrays of leading axis E spread evenly over the devices, `most` at most, if they divide E."""
    mesh = _mesh(num_envs, most)
    return jax.tree.map(lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), tree, _specs(tree))


def on_each(
    function: Callable[..., Any], num_envs: int, *arguments: PyTree, most: int | None = None
) -> Callable[..., Any]:
    """`function`, whose result is shaped as its first argument, run by each device on its own environments."""
    mesh = _mesh(num_envs, most)
    specs = tuple(map(_specs, arguments))
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=specs[0], check_vma=False)


def _mesh(num_envs: int, most: int | None) -> jax.sharding.Mesh:
    count = min(jax.device_count(), most or jax.device_count())
    count = count if num_envs % count == 0 else 1
    return jax.make_mesh((count,), (_AXIS,), devices=jax.devices()[:count])


def _specs(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: PartitionSpec(_AXIS) if leaf.ndim else PartitionSpec(), tree)
