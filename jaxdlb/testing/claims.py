"""Claims, and the messages with which they fail."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def claim(holds: Any, sentence: str) -> None:
    """Raise AssertionError with the sentence unless `holds` is true; unlike `assert`, this works under `python -O`."""
    if not holds:
        raise AssertionError(sentence)


def claim_refused(call: Callable[[], Any], field: str, sentence: str) -> None:
    """Claim that `call` raises a ValueError whose message begins with the field's name; else fail with the sentence."""
    try:
        call()
    except ValueError as refusal:
        named = str(refusal).startswith(field)
        claim(named, f"{sentence}; it is refused, but the message does not begin with the field's name: {refusal}")
    except Exception as error:
        raise AssertionError(f"{sentence}; it raises {type(error).__name__} instead of ValueError: {error}") from error
    else:
        raise AssertionError(sentence)


def claim_alike(first: Any, second: Any, sentence: str) -> None:
    """Claim that two pytrees have the same structure, shapes, dtypes and weak types."""
    structures: list[Any] = [jax.tree.structure(first), jax.tree.structure(second)]
    claim(structures[0] == structures[1], f"{sentence}: their structures differ")
    for (path, one), (_, other) in zip(_by_path(first), _by_path(second), strict=True):
        claim(_kind(one) == _kind(other), f"{sentence}: {path} is {_written(one)} and {_written(other)}")


def claim_same(first: Any, second: Any, sentence: str) -> None:
    """Claim that two pytrees hold the same numbers; floats up to rounding, since sums may be taken in another order."""
    for (path, one), (_, other) in zip(_by_path(first), _by_path(second), strict=True):
        equal = _same_numbers(np.asarray(one), np.asarray(other))
        claim(equal, f"{sentence}: {path} is {np.asarray(one)!r} and {np.asarray(other)!r}")


def claim_no_nan(tree: Any, sentence: str, *, finite: bool = True) -> None:
    """Claim that the floats of a pytree are not NaN and, if they must be `finite`, not infinite either."""
    for path, leaf in _by_path(tree):
        if not np.issubdtype(np.asarray(leaf).dtype, np.floating):
            continue
        holds = np.all(np.isfinite(leaf)) if finite else not np.any(np.isnan(leaf))
        claim(holds, f"{sentence}: {path} is {np.asarray(leaf)!r}")


def _same_numbers(one: np.ndarray, other: np.ndarray) -> bool:
    if np.issubdtype(one.dtype, np.floating):
        return bool(np.allclose(one, other, rtol=1e-5, atol=1e-5, equal_nan=True))
    return bool(np.array_equal(one, other))


def _by_path(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path).lstrip(".") or "it", _numbers(leaf)) for path, leaf in leaves]


def _numbers(leaf: Any) -> Any:
    """The leaf; a random key as the numbers it consists of."""
    dtype = getattr(leaf, "dtype", None)
    if isinstance(leaf, jax.Array) and dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


def _kind(leaf: Any) -> tuple:
    return np.shape(leaf), leaf.dtype, getattr(leaf, "weak_type", False)


def _written(leaf: Any) -> str:
    weak = " of weak type" if getattr(leaf, "weak_type", False) else ""
    return f"{leaf.dtype}{list(np.shape(leaf))}{weak}"
