"""Random parameters: any declared field drawn from a range, anew for every episode."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxdlb.annotations import annotation_of, dtype_of
from jaxdlb.checks import Interval, check_array, did_you_mean
from jaxdlb.parameters import NEVER, ONCE, SYMMETRIC, Declaration, Shorthands, declarations

Params = TypeVar("Params")
Range = Sequence[float]  # low and high, both included
Ranges = Mapping[str, Any]  # a Range for each field; for a law, the Ranges of its fields


def sampler(
    base: Params,
    ranges: Ranges,
    shorthands: Shorthands | None = None,
    *,
    validate: Callable[[Params], None],
) -> Callable[[PRNGKeyArray], Params]:
    """A pure function from a key to `base`, with every field in `ranges` drawn uniformly.

    The entries of an array are drawn independently, unless its declaration says otherwise; counts are drawn as
    integers, both ends included. The numbers drawn
    for a field depend only on the key and the field's own name. A range of None leaves the field as it is; without any
    range, every key gives `base`. Both ends of every range must give parameters that `validate` accepts.

    Raises:
        ValueError: an unknown field, a range whose ends are out of order, or one that contains a refused value.
    """
    shorthands = shorthands or {}
    given = {name: bounds for name, bounds in flat(ranges).items() if bounds is not None}
    for path, bounds in given.items():
        _check_range(path, bounds, base, shorthands)
    _check_shorthands(given, shorthands)
    for end in (0, 1):
        ends = {path: bounds[end] for path, bounds in given.items() if path not in shorthands}
        validate(functools.reduce(lambda params, item: _with_full(params, *item), ends.items(), base))

    def draw(key: PRNGKeyArray) -> Params:
        params = base
        for path in sorted(given, key=lambda path: path in shorthands):  # shorthands last: they depend on the fields
            field_key = jax.random.fold_in(key, _number_of(path))
            params = _with_drawn(field_key, params, path, given[path], shorthands)
        return params

    return draw if given else lambda key: base


def flat(ranges: Ranges, path: str = "") -> dict[str, Any]:
    """Ranges by the paths of their fields, such as "arrival_modulation.period"."""
    found: dict[str, Any] = {}
    for name, bounds in ranges.items():
        found |= flat(bounds, f"{path}{name}.") if isinstance(bounds, Mapping) else {f"{path}{name}": bounds}
    return found


def _declared_at(params: Any, path: str) -> tuple[Any, str, Declaration]:
    """The object that a path's last name belongs to, that name, and its declaration."""
    *outer, name = path.split(".")
    for step in outer:
        params = getattr(params, step, None)
    known = declarations(params) if dataclasses.is_dataclass(params) else {}
    return params, name, known[name]


def drawable(params: Any, path: str = "") -> list[str]:
    """What can be drawn from a range: numeric fields, including those of the laws in `params`."""
    paths: list[str] = []
    for name, each in declarations(params).items():
        if each.drawn == NEVER:
            continue
        paths += [path + name] if each.laws is None else drawable(getattr(params, name), f"{path}{name}.")
    return paths


def _check_range(path: str, bounds: Any, base: Any, shorthands: Shorthands) -> None:
    known = [*shorthands, *drawable(base)]
    if path not in known:
        hint = did_you_mean(path, known)
        raise ValueError(f"{path} cannot be drawn from a range; what can be drawn is {', '.join(known)}{hint}")
    allowed = shorthands[path].allowed if path in shorthands else _declared_at(base, path)[2].allowed
    assert isinstance(allowed, Interval)
    low, high = check_array(path, bounds, (2,), allowed)
    if low > high:
        raise ValueError(f"{path} has the range {low:g} to {high:g}; its low end must not exceed its high end")
    if path not in shorthands and _declared_at(base, path)[2].logarithmic and low <= 0 < high:
        raise ValueError(
            f"{path} has the range {low:g} to {high:g}; its low end must be above 0, since it is drawn by its logarithm"
        )


def _check_shorthands(given: Mapping[str, Any], shorthands: Shorthands) -> None:
    for name, each in shorthands.items():
        beside = [field for field in each.sets if field in given]
        if name in given and beside:
            raise ValueError(f"{name} and {beside[0]} both have a range; give only one, since {name} sets {beside[0]}")


def replaced(params: Any, path: str, value: Any) -> Any:
    """`params` with a new value at a path, which may lead into a law: "arrival_modulation.period"."""
    first, _, rest = path.partition(".")
    return dataclasses.replace(params, **{first: replaced(getattr(params, first), rest, value) if rest else value})


def fixed(params: Params, path: str, value: Any, shorthands: Shorthands | None = None) -> Params:
    """`params` with one value, which may be traced, in every entry of what could be drawn from a range.

    The path leads to a field or into a law, or names one of the `shorthands`.
    """
    if shorthands and path in shorthands:
        return shorthands[path].apply(params, value)
    owner, name, _ = _declared_at(params, path)
    dtype = dtype_of(annotation_of(owner, name))
    return replaced(params, path, jnp.full(jnp.shape(getattr(owner, name)), value, dtype))


def _with_full(params: Any, path: str, value: Any) -> Any:
    owner, name, _ = _declared_at(params, path)
    dtype = dtype_of(annotation_of(owner, name))
    with np.errstate(over="ignore"):  # infinity is refused like any other number
        return replaced(params, path, np.full(jnp.shape(getattr(owner, name)), value, dtype))


def _with_drawn(key: PRNGKeyArray, params: Any, path: str, bounds: Range, shorthands: Shorthands) -> Any:
    low, high = bounds
    if path in shorthands:
        short = shorthands[path]
        if short.draw is not None:
            return short.draw(key, params, low, high)
        return short.apply(params, jax.random.uniform(key, minval=low, maxval=high))
    owner, name, declaration = _declared_at(params, path)
    shape = jnp.shape(getattr(owner, name))
    draw = draw_orders if declaration.logarithmic and high > 0 else draw_numbers
    drawn = draw(key, () if declaration.drawn == ONCE else shape, low, high, dtype_of(annotation_of(owner, name)))
    if declaration.drawn == SYMMETRIC:
        drawn = jnp.where(jnp.tri(shape[0], dtype=bool), drawn.T, drawn)
    return replaced(params, path, jnp.broadcast_to(drawn, shape))


def draw_orders(key: PRNGKeyArray, shape: tuple[int, ...], low: float, high: float, dtype: Any) -> Array:
    """Numbers from `low` to `high` whose logarithm is uniform; rounded, unless `dtype` is float32."""
    drawn = jnp.exp(jax.random.uniform(key, shape, minval=np.log(low), maxval=np.log(high)))
    within = jnp.clip(drawn, low, high)
    return within if dtype == jnp.float32 else jnp.round(within).astype(dtype)


def draw_numbers(key: PRNGKeyArray, shape: tuple[int, ...], low: float, high: float, dtype: Any) -> Array:
    """Uniform numbers from `low` to `high`; whole ones, both ends included, unless `dtype` is float32."""
    if dtype == jnp.float32:
        return jax.random.uniform(key, shape, minval=low, maxval=high)
    # Drawn from 0 as uint32, since the inclusive high end may be the largest int32, and randint needs one more.
    steps = jax.random.randint(key, shape, 0, np.uint32(int(high) - int(low) + 1), dtype=jnp.uint32)
    return (int(low) + steps.astype(jnp.int32)).astype(dtype)


def _number_of(path: str) -> int:
    """A number below 2³² for a path, the same in every process."""
    return int.from_bytes(path.encode(), "little") % (2**32 - 5)
