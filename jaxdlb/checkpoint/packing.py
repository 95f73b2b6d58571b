"""Pytrees as named NumPy arrays and back, with a checksum; also whatever else the writer and the reader share."""

import contextlib
import logging
import math
import os
import sys
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

FORMAT = 1
FOLDER = "checkpoints"  # within a run folder
ITEMS = ("state", "policy", "about")

PathLike = str | os.PathLike[str]
Arrays = dict[str, np.ndarray]


class CheckpointError(ValueError):
    """A folder holds no checkpoint, one that does not belong here, or one that is damaged."""


def pack(tree: PyTree) -> Arrays:
    """A pytree as NumPy arrays, named by the path of each leaf; keys become their data, empty arrays are left out."""
    leaves = {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in _named_leaves(tree)}
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(leaves).items() if np.size(leaf)}


def unpack(template: PyTree, arrays: Arrays, source: str) -> PyTree:
    """The inverse of `pack`, given a `template` with the structure, shapes and types; `source` is for messages.

    Raises:
        CheckpointError: names the first leaf that is missing, unexpected, or of the wrong shape or type.
    """
    wanted = dict(_named_leaves(template))
    names = {name for name, leaf in wanted.items() if math.prod(leaf.shape)}
    for name in sorted(names ^ set(arrays)):
        problem = "lacks" if name in names else "has"
        raise CheckpointError(
            f"{source} {problem} {name}, so it was made with other settings; give those it was made with"
        )
    leaves = [_unpack_leaf(name, leaf, arrays, source) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def checksum(arrays: Arrays) -> int:
    """CRC-32 over the names and bytes of all arrays."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), value)
    return value


def _unpack_leaf(name: str, leaf: Any, arrays: Arrays, source: str) -> jax.Array:
    plain = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    array = arrays.get(name, np.zeros(plain.shape, plain.dtype))
    if array.shape != plain.shape or array.dtype != plain.dtype:
        raise CheckpointError(
            f"{source} holds {name} as {array.dtype} {list(array.shape)}; "
            f"it must be {plain.dtype} {list(plain.shape)} to fit these settings"
        )
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=_key_impl(leaf))
    return jnp.asarray(array)


def _named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator=".") or "value", leaf) for path, leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(leaf: Any) -> Any:
    """The random generator of typed keys, which may be known only by shape and type."""
    found = []
    jax.eval_shape(lambda keys: found.append(jax.random.key_impl(keys)), leaf)
    return found[0]


def alone() -> Any:
    """orbax's options for reading or writing in this process, of however many: it waits for no other."""
    from orbax.checkpoint.options import MultiprocessingOptions

    index = jax.process_index()
    return MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )


class _Silence:
    """Silences orbax's log and what its abandoned coroutines complain of, while anybody is within."""

    def __init__(self) -> None:
        self._within = 0

    def __enter__(self) -> None:
        if self._within == 0:
            self._level, self._hook = logging.getLogger("absl").level, sys.unraisablehook
            logging.getLogger("absl").setLevel(logging.CRITICAL)
            sys.unraisablehook = lambda unraisable: None
        self._within += 1

    def __exit__(self, *exception: object) -> None:
        self._within -= 1
        if self._within == 0:
            logging.getLogger("absl").setLevel(self._level)
            sys.unraisablehook = self._hook


_SILENCE = _Silence()


def quiet() -> contextlib.AbstractContextManager[None]:
    """Within it orbax's log, and warnings from its abandoned coroutines, are silenced: errors come as exceptions."""
    return _SILENCE
