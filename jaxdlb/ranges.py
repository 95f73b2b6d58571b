"""Random parameters: any declared field drawn from a range, anew for every episode."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxdlb.checks import Interval, check_array
from jaxdlb.parameters import Declaration, Shorthands, annotation_of, declarations, dtype_of

Params = TypeVar("Params")
Range = Sequence[float]  # low and high, both included
Ranges = Mapping[str, Any]  # a Range by field; of a law, its own Ranges


def sampler(
    base: Params,
    ranges: Ranges,
    shorthands: Shorthands | None = None,
    *,
    validate: Callable[[Params], None],
) -> Callable[[PRNGKeyArray], Params]:
    """A pure function from a key to `base` with every field in `ranges` drawn uniformly.

    An array's entries are drawn independently; counts are drawn as integers, both ends included. A field's numbers
    depend on the key and its own name alone. None in place of a range leaves the field as it is; without any range
    every key gives `base`. Both ends of every range must make parameters that `validate` accepts.

    Raises:
        ValueError: an unknown field, a range whose ends are out of order, or one that holds a value that is refused.
    """
    shorthands = shorthands or {}
    given = {name: bounds for name, bounds in _flat(ranges).items() if bounds is not None}
    for path, bounds in given.items():
        _check_range(path, bounds, base, shorthands)
    for end in (0, 1):
        ends = {path: jnp.asarray(bounds[end]) for path, bounds in given.items() if path not in shorthands}
        validate(functools.reduce(lambda params, item: _with_full(params, *item), ends.items(), base))

    def draw(key: PRNGKeyArray) -> Params:
        params = base
        for path in sorted(given, key=lambda path: path in shorthands):  # these count on the fields
            field_key = jax.random.fold_in(key, _number_of(path))
            params = _with_drawn(field_key, params, path, given[path], shorthands)
        return params

    return draw if given else lambda key: base


def _flat(ranges: Ranges, path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, bounds in ranges.items():
        flat |= _flat(bounds, f"{path}{name}.") if isinstance(bounds, Mapping) else {f"{path}{name}": bounds}
    return flat


def _declared_at(params: Any, path: str) -> tuple[Any, str, Declaration]:
    """The object that a path's last name belongs to, that name, and its declaration."""
    *outer, name = path.split(".")
    for step in outer:
        params = getattr(params, step, None)
    known = declarations(params) if dataclasses.is_dataclass(params) else {}
    if name not in known or known[name].laws is not None:
        raise ValueError(f"{path} is nothing that can be drawn from a range; it must be a parameter that is a number")
    return params, name, known[name]


def _check_range(path: str, bounds: Any, base: Any, shorthands: Shorthands) -> None:
    allowed = shorthands[path].allowed if path in shorthands else _declared_at(base, path)[2].allowed
    assert isinstance(allowed, Interval)
    low, high = check_array(path, bounds, (2,), allowed)
    if low > high:
        raise ValueError(f"{path} has the range {low:g} to {high:g}; its low end must not exceed its high end")


def _with(params: Any, path: str, value: Array) -> Any:
    first, _, rest = path.partition(".")
    return dataclasses.replace(params, **{first: _with(getattr(params, first), rest, value) if rest else value})


def _with_full(params: Any, path: str, value: Array) -> Any:
    owner, name, _ = _declared_at(params, path)
    return _with(params, path, jnp.broadcast_to(value, jnp.shape(getattr(owner, name))))


def _with_drawn(key: PRNGKeyArray, params: Any, path: str, bounds: Range, shorthands: Shorthands) -> Any:
    low, high = bounds
    if path in shorthands:
        return shorthands[path].apply(params, jax.random.uniform(key, minval=low, maxval=high))
    owner, name, _ = _declared_at(params, path)
    shape = jnp.shape(getattr(owner, name))
    if dtype_of(annotation_of(owner, name)) == jnp.float32:
        return _with(params, path, jax.random.uniform(key, shape, minval=low, maxval=high))
    drawn = jax.random.randint(key, shape, int(low), int(high) + 1, dtype=jnp.int32)
    return _with(params, path, drawn.astype(dtype_of(annotation_of(owner, name))))


def _number_of(path: str) -> int:
    """A number below 2³² for a name, the same in every process."""
    return int.from_bytes(path.encode(), "little") % (2**32 - 5)
