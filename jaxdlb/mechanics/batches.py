"""Batches of small arrays as long ones, of which processors work through several entries at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree, Shaped

Result = TypeVar("Result")


def in_one_row(function: Callable[..., Result], *arrays: PyTree[Shaped[Array, "... R"]]) -> Result:
    """`function` of arrays whose last axis is in common, where each place on that axis is treated by itself.

    Under `vmap` the places of the whole batch stand on one axis, the last. On a CPU, XLA makes vectors of that axis
    alone, and a network of two nodes would fill two of sixteen places. `function` takes and returns pytrees of arrays
    with the same last axis and may not close over traced arrays. Derivatives are those of `function` itself.
    """

    @custom_vmap
    def run(*rows: PyTree) -> Result:
        return function(*rows)

    @run.def_vmap
    def run_batch(axis_size: int, in_batched: list[PyTree], *rows: PyTree) -> tuple[Result, Any]:
        def batch(row: Array, batched: bool) -> Array:
            return _joined(row if batched else jnp.broadcast_to(row, (axis_size, *row.shape)))

        result = in_one_row(function, *jax.tree.map(batch, rows, tuple(in_batched)))
        return jax.tree.map(lambda row: _parted(row, axis_size), result), jax.tree.map(lambda row: True, result)

    differentiable = jax.custom_jvp(run)

    @differentiable.defjvp
    def differentiate(rows: tuple[PyTree, ...], tangents: tuple[PyTree, ...]) -> tuple[Result, Result]:
        return run(*rows), jax.jvp(function, rows, tangents)[1]

    return differentiable(*arrays)


def _joined(batch: Shaped[Array, "E ... R"]) -> Shaped[Array, "... ER"]:
    moved = jnp.moveaxis(batch, 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def _parted(row: Shaped[Array, "... ER"], size: int) -> Shaped[Array, "E ... R"]:
    return jnp.moveaxis(row.reshape(*row.shape[:-1], size, -1), -2, 0)
