"""Checks that follow from a game's declarations: refusals, ranges, and parameters at the ends of what is allowed."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb import parameters, ranges
from jaxdlb.annotations import annotation_of, shape_of
from jaxdlb.checks import LARGEST_INT, Interval, Switch
from jaxdlb.game import Entry, Game
from jaxdlb.parameters import Declaration, Shorthands
from jaxdlb.testing.claims import claim, claim_alike, claim_refused, claim_same


@dataclasses.dataclass(frozen=True)
class Field:
    """A declared numeric parameter, which may belong to a law."""

    path: str
    declaration: Declaration
    value: Any
    free: bool  # whether an axis may have any length
    law: tuple[str, str] | None  # the name of the law's field and its kind, if it belongs to a law

    def keywords(self, value: Any) -> dict[str, Any]:
        """The keywords of `default_params` that set it."""
        if self.law is None:
            return {self.path: value}
        name, kind = self.law
        return {name: {"kind": kind, self.path.removeprefix(f"{name}."): value}}


def variants(game: Game, params: Any) -> list[Any]:
    """`params`, and two variants with as many fields as possible at the low end and at the high end of their ranges."""
    several = [params]
    for end in (0, 1):
        variant = params
        for field in _fields(game, params):
            variant = _if_accepted(game, variant, field, _ends(field, game)[end])
        several.append(variant)
    return several


def check_sizes(game: Game) -> None:
    """The game refuses sizes that their declarations forbid."""
    instance: Any = game  # a dataclass
    for name, each in parameters.declarations(instance).items():
        for bad in _forbidden_settings(each.allowed):
            claim_refused(
                functools.partial(dataclasses.replace, instance, **{name: bad}),
                name,
                f"the size {name} accepts {bad!r}, which its declaration forbids",
            )


def check_refusals(game: Game, params: Any) -> None:
    """`validate` and `default_params` refuse what declarations forbid: wrong values, wrong shapes and unknown names."""
    seen: set[tuple[str, Any]] = set()
    for base in _bases(game, params):
        for field in _fields(game, base):
            if (field.path, field.law) not in seen:
                _check_field(game, base, field)
            seen.add((field.path, field.law))
    unknown = "no_parameter_has_this_name"
    claim_refused(
        lambda: game.default_params(**{unknown: 1}), unknown, "default_params accepts a parameter that does not exist"
    )


def check_shorthands(game: Game, params: Any, shorthands: Shorthands) -> None:
    """A shorthand refuses values that it forbids, and cannot be given together with a field that it sets."""
    for name, each in shorthands.items():
        for bad in _forbidden(each.allowed):
            claim_refused(
                functools.partial(game.default_params, **{name: bad}),
                name,
                f"default_params accepts {name} = {bad:g}, which must be {each.allowed}",
            )
        for field in each.sets:
            both = {name: each.default, field: getattr(params, field)}
            sentence = f"default_params accepts {name} together with {field}, which {name} sets"
            claim_refused(functools.partial(game.default_params, **both), name, sentence)


def check_fresh(game: Game, entry: Entry, params: Any) -> None:
    """What the entry says is the same cluster with fresh news is valid, by array operations alone, and fresh."""
    if entry.fresh is None:
        return
    traced, fresh = jax.eval_shape(entry.fresh, params), entry.fresh(params)
    claim_alike(params, traced, "the parameters and those with fresh news must match")
    claim_same(fresh, entry.fresh(fresh), "fresh news must change nothing where news is fresh already")
    try:
        game.validate(fresh)
    except ValueError as refusal:
        raise AssertionError(f"validate must accept the parameters with fresh news: {refusal}") from refusal


def check_ranges(game: Game, params: Any, shorthands: Shorthands) -> None:
    """Every field that is not said to be fixed, and every shorthand, can be drawn; what is drawn is valid."""
    key = jax.random.key(0)
    fields = {field.path: field for field in _fields(game, params)}
    for path in ranges.drawable(params):
        field = fields[path]
        low, high = _accepted_range(game, params, field)
        drawn = ranges.sampler(params, {path: (low, high)}, shorthands, validate=game.validate)(key)
        claim_alike(params, drawn, f"the parameters and those with {path} drawn from a range must match")
        game.validate(drawn)
        value = np.asarray(_at(drawn, path))
        within = np.all((value >= value.dtype.type(low)) & (value <= value.dtype.type(high)))
        claim(within, f"{path} drawn from the range {low:g} to {high:g} is {value}")
    for name, each in shorthands.items():
        bounds = (each.default, each.default)
        game.validate(ranges.sampler(params, {name: bounds}, shorthands, validate=game.validate)(key))


def _check_field(game: Game, base: Any, field: Field) -> None:
    allowed = field.declaration.within(game)
    value = np.array(field.value, np.float64)
    for bad in _forbidden(allowed):
        entries = value.copy()
        entries[(-1,) * entries.ndim] = bad
        _check_refused(game, base, field, entries, f"{bad:g}, which must be {allowed}")
    for wrong in _wrong_shapes(value, field.free):
        _check_refused(game, base, field, wrong, f"an array of shape {wrong.shape} instead of {value.shape}")


def _check_refused(game: Game, base: Any, field: Field, bad: np.ndarray, what: str) -> None:
    other = ranges.replaced(base, field.path, bad)
    claim_refused(lambda: game.validate(other), field.path, f"validate accepts for {field.path} {what}")
    made = field.keywords(bad)
    claim_refused(lambda: game.default_params(**made), field.path, f"default_params accepts for {field.path} {what}")


def _forbidden(allowed: Interval) -> list[float]:
    """Numbers just outside a range, fractions if integers are required, and values that are not finite."""
    never = [math.nan, math.inf, -math.inf]
    if isinstance(allowed, Switch):
        return [-1.0, 2.0, 0.5, *never]
    ends = [(allowed.low, allowed.low_open, -1), (allowed.high, allowed.high_open, 1)]
    outside = [_beyond(end, side, allowed.integer) for end, _, side in ends if math.isfinite(end)]
    on_open_ends = [end for end, is_open, _ in ends if is_open and math.isfinite(end)]
    halves = [allowed.low + 0.5] if allowed.integer else []
    return [*outside, *on_open_ends, *halves, *never]


def _beyond(end: float, side: int, integer: bool) -> float:
    return end + side * (1 if integer else max(1e-6, 1e-6 * abs(end)))


def _forbidden_settings(allowed: Any) -> list[Any]:
    if isinstance(allowed, tuple):
        return ["no such choice", None, 1]
    if isinstance(allowed, Switch):
        return [2, "yes", None]
    if allowed is None:
        return []
    below = _beyond(allowed.low, -1, allowed.integer) if math.isfinite(allowed.low) else math.nan
    return [int(below) if allowed.integer else below, "many", math.nan]


def _wrong_shapes(value: np.ndarray, free: bool) -> Iterator[np.ndarray]:
    yield np.broadcast_to(value, (2, *value.shape))
    if value.ndim and not free:
        yield np.concatenate([value, value[:1]])


def _fields(game: Game, params: Any) -> Iterator[Field]:
    """Every declared numeric parameter, including those of the laws in `params`."""
    for path, type_, name, declaration, value in parameters.walk(params):
        if declaration.laws is not None:
            continue
        dims = shape_of(annotation_of(type_, name))
        free = any(not each.isdigit() and each not in game.dims for each in dims)
        yield Field(path, declaration, value, free, _law_of(params, path))


def _law_of(params: Any, path: str) -> tuple[str, str] | None:
    name, dot, _ = path.partition(".")
    if not dot:
        return None
    laws = parameters.declarations(params)[name].laws
    assert laws is not None
    return name, parameters.kind_of(laws, type(getattr(params, name)))


def _bases(game: Game, params: Any) -> Iterator[Any]:
    """The defaults, and the defaults with each law that can be given by its kind alone."""
    yield params
    for name, each in parameters.declarations(params).items():
        for kind in each.laws or ():
            try:
                yield game.default_params(**{name: kind})
            except ValueError:  # the law has a field without a default
                continue


def _ends(field: Field, game: Game) -> tuple[float, float]:
    """The ends of what is allowed or, if an end is open or infinite, values on the way to it."""
    allowed, value = field.declaration.within(game), np.asarray(field.value, np.float64)
    least, most = float(value.min()), float(value.max())
    low = allowed.low if math.isfinite(allowed.low) else least - 1
    high = allowed.high if allowed.high < LARGEST_INT else min(2 * abs(most) + 3, allowed.high)
    if allowed.low_open and low == allowed.low:
        low += (least - low) / 2
    if allowed.high_open and high == allowed.high:
        high += (most - high) / 2
    return low, high


def _full(field: Field, value: float) -> jax.Array:
    like = jnp.asarray(field.value)
    return jnp.asarray(np.full(like.shape, value, like.dtype))


def _if_accepted(game: Game, params: Any, field: Field, value: float) -> Any:
    """`params` with the field replaced if `validate` accepts that, since fields may depend on each other."""
    other = ranges.replaced(params, field.path, _full(field, value))
    return other if _accepts(game, other) else params


def _accepts(game: Game, params: Any) -> bool:
    try:
        game.validate(params)
    except ValueError:
        return False
    return True


def _accepted_range(game: Game, params: Any, field: Field) -> tuple[float, float]:
    """The ends of the range; an end that is refused by itself is replaced by the field's least or greatest entry.

    So is a low end of 0 where logarithms are drawn.
    """
    ends = _ends(field, game)
    accepted = [_accepts(game, ranges.replaced(params, field.path, _full(field, end))) for end in ends]
    accepted[0] &= ends[0] > 0 or not field.declaration.logarithmic
    value = np.asarray(field.value, np.float64)
    low, high = (
        end if good else other for end, good, other in zip(ends, accepted, (value.min(), value.max()), strict=True)
    )
    return float(low), float(high)


def _at(params: Any, path: str) -> Any:
    for name in path.split("."):
        params = getattr(params, name)
    return params
