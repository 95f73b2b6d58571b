"""A parameter is declared once, where its type is stated; everything else about it follows from that line.

    @struct.dataclass
    class Params:
        completion_prob: Float[Array, " N"] = parameter(POSITIVE_PROBABILITY, per_size(…))  # q: …
        transfer_delay: Int[Array, ""] = parameter(COUNT, 1, at_most="max_delay")  # d: rounds of travel
        arrival_modulation: Modulation = law(LAWS)  # how p varies over time

The annotation gives the shape, whose dimensions are named in the game's `dims`, and the dtype; `parameter` gives the
range and the default; the comment gives the meaning. Arrays (`make`), checks (`check`), random draws (`ranges`),
command-line keys and tables in the documentation (`descriptions`) are derived from these. The same declaration serves
the laws that a parameter may follow, the sizes of a game and the settings of a learner, whose annotations are plain
Python types.
"""

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxdlb.annotations import annotation_of, dtype_of, free_dims, is_array, shape_at
from jaxdlb.catalogue import Catalogue
from jaxdlb.checks import (
    LARGEST_INT,
    Interval,
    Switch,
    as_numbers,
    broadcast_array,
    check_array,
    check_choice,
    check_size,
    check_switch,
    check_whole,
    did_you_mean,
    shown,
)

Declared = TypeVar("Declared")

_KEY = "declaration"
EACH, ONCE, SYMMETRIC, NEVER = "each", "once", "symmetric", "never"  # how entries of an array come from a range


@dataclasses.dataclass(frozen=True)
class PerSize:
    """A default that depends on the sizes, `of(game)`; tables show it as `text`."""

    text: str
    of: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What `parameter` or `law` states about a field."""

    allowed: Interval | tuple[str, ...] | None  # a range, a choice among names, or None: anything of the right type
    default: Any  # MISSING if a value must be given
    at_most: str | None = None  # the name of the game's size that is its upper bound
    laws: Catalogue | None = None
    drawn: str = EACH  # from a range: each entry by itself, one number for all, a symmetric matrix, or not at all
    logarithmic: bool = False  # whether it is the logarithm that is drawn uniformly from a range

    @property
    def default_kind(self) -> str:
        """The kind of the law that holds by default."""
        assert self.laws is not None
        return kind_of(self.laws, self.default if isinstance(self.default, type) else type(self.default))

    def within(self, sizes: Any) -> Interval:
        """The range, cut at the game's size if `at_most` names one."""
        assert isinstance(self.allowed, Interval)
        return self.allowed if self.at_most is None else self.allowed.up_to(getattr(sizes, self.at_most))


@dataclasses.dataclass(frozen=True)
class Shorthand:
    """An additional keyword of `default_params` that sets other fields, as the offered load sets arrivals.

    `apply(params, value) -> params` sets them; it is traced if the value is drawn at random. What takes more than one
    number to draw from a range says so by `draw(key, params, low, high) -> params`.
    """

    allowed: Interval
    default: float  # if neither the keyword nor a field that it sets is given; of an optional one, no more than usual
    sets: tuple[str, ...]  # names of those fields
    apply: Callable[[Any, Any], Any]
    draw: Callable[[PRNGKeyArray, Any, float, float], Any] | None = None
    optional: bool = False  # whether the fields have defaults of their own, and it counts only where it is given
    bound: Callable[[Any], float] | None = None  # the most that the other fields allow
    meaning: str = ""

    def within(self, params: Any) -> Interval:
        """The allowed range, given the other parameters."""
        return self.allowed if self.bound is None else self.allowed.up_to(self.bound(params))


Shorthands = Mapping[str, Shorthand]


def parameter(
    allowed: Interval | tuple[str, ...] | None,
    default: Any = dataclasses.MISSING,
    *,
    at_most: str | None = None,
    drawn: str = EACH,
    logarithmic: bool = False,
) -> Any:
    """A field that holds numbers within a range, or one of several names.

    The default of an array is a number for all entries, an array, or a `PerSize`; `at_most` names a size of the game
    that bounds the range from above; `drawn` says how its entries come from a range (`EACH`, `ONCE`, …), and
    `logarithmic` that all orders of magnitude in it are as likely.
    """
    return _field(Declaration(allowed, default, at_most, drawn=drawn, logarithmic=logarithmic))


def law(laws: Mapping[str, type], default: Any = None) -> Any:
    """A field that holds one of several laws, which are pytrees with their own fields.

    The default is an instance of one of them; unless it is given, the first as it is by itself.
    """
    catalogue = Catalogue("kind", dict(laws))
    return _field(Declaration(None, next(iter(catalogue.values())) if default is None else default, laws=catalogue))


def per_size(text: str, of: Callable[[Any], Any]) -> PerSize:
    """A default that depends on the game's sizes, `of(game)`; tables show it as `text`."""
    return PerSize(text, of)


def _field(declaration: Declaration) -> Any:
    metadata, default = {_KEY: declaration}, declaration.default
    if declaration.laws is not None:
        factory = default if isinstance(default, type) else lambda: default
        return dataclasses.field(default_factory=factory, metadata=metadata)
    if default is dataclasses.MISSING or isinstance(default, PerSize):
        return dataclasses.field(metadata=metadata)
    if isinstance(default, np.ndarray | jax.Array | list):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def declarations(type_: Any) -> dict[str, Declaration]:
    """The declared fields of a dataclass, in order."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(type_) if _KEY in field.metadata}


def make(
    type_: type[Declared], sizes: Any, values: Mapping[str, Any], shorthands: Shorthands | None = None
) -> Declared:
    """An instance whose fields are arrays: the defaults at these `sizes` (a game), with `values` replacing some.

    A single number fills all entries of an array, unless the array's length is free; None stands for the default. A law
    is given as an instance of its class, as its kind, or as a mapping of `kind` and fields. A default above the size
    that bounds it becomes that size. This may be called while JAX traces a function, but not with traced values.

    Raises:
        ValueError: an unknown name; a shorthand together with a field that it sets; an entry that is out of range, of
            the wrong shape or traced; a required field that is missing.
    """
    with jax.ensure_compile_time_eval():
        return _make(type_, sizes, values, shorthands or {})


def _make(type_: type[Declared], sizes: Any, values: Mapping[str, Any], shorthands: Shorthands) -> Declared:
    given = {name: value for name, value in values.items() if value is not None}
    _check_known(type_, sizes, given, shorthands)
    active = {name: each for name, each in shorthands.items() if _applies(name, each, given)}
    pending = {field for each in active.values() for field in each.sets}
    declared = declarations(type_)
    fields = {
        name: _placeholder(type_, name, sizes)
        if name in pending
        else _make_field(type_, name, each, given.get(name, _default_at(each, sizes)), sizes)
        for name, each in declared.items()
    }
    instance: Any = type_(**fields)
    for name, each in active.items():
        value = given.get(name, each.default)
        _refuse_traced(name, value)
        check_array(name, value, (), each.within(instance))
        instance = each.apply(instance, jnp.float32(value))
    if pending:
        check(instance, sizes)
    return instance


def check(instance: Any, sizes: Any = None) -> None:
    """Check every declared field on the host: arrays against their shapes and ranges, settings against what is allowed.

    `sizes` is the game, whose `dims` give the shapes; settings need none, since their fields are plain values.

    Raises:
        ValueError: names the field, the offending entry and what is allowed; or `instance` is no dataclass.
    """
    if not dataclasses.is_dataclass(instance):
        raise ValueError(f"the parameters are {shown(instance)}; they must be an instance of a dataclass")
    for path, type_, name, declaration, value in walk(instance):
        if is_array(annotation_of(type_, name)):
            _check_entries(path, type_, name, value, declaration.within(sizes), sizes)
        elif declaration.laws is not None:
            _check_law(path, declaration.laws, type(value), value)
        elif declaration.allowed is not None and not _is_left_out(value, declaration.default):
            is_list = typing.get_origin(annotation_of(type_, name)) is tuple
            (_check_list if is_list else _check_setting)(path, declaration.allowed, value)


def _is_left_out(value: Any, default: Any) -> bool:
    """Whether a setting is null, or an empty list, as it is by default."""
    if isinstance(value, tuple | list):
        return not value and isinstance(default, tuple) and not default
    return value is None is default


def kind_of(laws: Mapping[str, type], type_: type) -> str:
    """The name of a law's class among `laws`."""
    return next(kind for kind, each in laws.items() if each is type_)


def _default_at(declaration: Declaration, sizes: Any) -> Any:
    default = declaration.default
    if isinstance(default, PerSize):
        default = default.of(sizes)
    if declaration.at_most is None or default is dataclasses.MISSING:
        return default
    return np.minimum(default, declaration.within(sizes).high)


def _make_field(type_: type, name: str, declaration: Declaration, value: Any, sizes: Any) -> Any:
    if declaration.laws is not None:
        return _make_law(name, declaration, value, sizes)
    if value is dataclasses.MISSING:
        raise ValueError(f"{name} is not given; it must be {declaration.allowed}")
    _refuse_traced(name, value)
    annotation, allowed, array = annotation_of(type_, name), declaration.within(sizes), as_numbers(name, value)
    shape = shape_at(annotation, sizes, array)
    _check_not_empty(name, array, annotation, sizes)
    array = (check_array if free_dims(annotation, sizes) else broadcast_array)(name, value, shape, allowed)
    return jnp.asarray(_cast(name, array, dtype_of(annotation), allowed))


def _cast(name: str, array: np.ndarray, dtype: Any, allowed: Interval) -> np.ndarray:
    """The array converted to `dtype`; raises ValueError if rounding takes an entry out of the range."""
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype)
    bad = np.argwhere(~allowed.contains(rounded.astype(np.float64)))
    if len(bad):
        entry = tuple(bad[0])
        where = f"{name}[{', '.join(map(str, entry))}]" if entry else name
        was, became = f"{array[entry]:g}", f"{rounded[entry]:g}"
        raise ValueError(f"{where} is {was}, which float32 holds as {became}; it must be {allowed}")
    return rounded


def _refuse_traced(name: str, value: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        raise ValueError(
            f"{name} is traced, and parameters are checked on the host; it must be a number there: make parameters "
            "outside jit, vmap and grad, or insert a traced array with dataclasses.replace"
        )


def _make_law(name: str, declaration: Declaration, value: Any, sizes: Any) -> Any:
    """The law, with every field as an array; what is not given of the default's kind is as in the default."""
    laws, default = declaration.laws, declaration.default
    assert laws is not None
    type_, fields = _law_and_fields(name, declaration, value)
    unknown = [field for field in fields if field not in declarations(type_)]
    if unknown:
        known = ", ".join(declarations(type_)) or "none"
        kind = kind_of(laws, type_)
        hint = did_you_mean(unknown[0], declarations(type_))
        raise ValueError(f"{name}.{unknown[0]} is not a field of the kind {kind!r}; its fields are {known}{hint}")
    if type(default) is type_:
        fields = {field: getattr(default, field) for field in declarations(type_)} | fields
    with prefixed(name):
        return make(type_, sizes, fields)


def _law_and_fields(name: str, declaration: Declaration, value: Any) -> tuple[type, dict[str, Any]]:
    laws = declaration.laws
    assert laws is not None
    if isinstance(value, str):
        value = {"kind": value}
    if isinstance(value, Mapping):
        kind = value.get("kind")
        with prefixed(name):
            type_ = laws.find(declaration.default_kind if kind is None else kind)
        return type_, {field: each for field, each in value.items() if field != "kind" and each is not None}
    if isinstance(value, type):
        _check_law(name, laws, value, value)
        return value, {}
    _check_law(name, laws, type(value), value)
    return type(value), {field: getattr(value, field) for field in declarations(value)}


def _check_law(name: str, laws: Catalogue, type_: type, value: Any) -> None:
    if type_ not in laws.values():
        raise ValueError(f"{name} is {value!r}; it must be one of the laws {', '.join(laws)}")


@contextlib.contextmanager
def prefixed(path: str) -> Iterator[None]:
    """Prepend a path to the name of the field with which any ValueError raised inside begins."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


def _placeholder(type_: type, name: str, sizes: Any) -> Array:
    """Zeros for a field that a shorthand is about to set."""
    annotation = annotation_of(type_, name)
    return jnp.zeros(shape_at(annotation, sizes, np.zeros(())), dtype_of(annotation))


def _check_not_empty(name: str, array: np.ndarray, annotation: Any, sizes: Any) -> None:
    if array.size == 0 and free_dims(annotation, sizes):
        raise ValueError(f"{name} is empty; it must hold at least one sample")


def _check_entries(path: str, type_: Any, name: str, value: Any, allowed: Interval, sizes: Any) -> None:
    _refuse_traced(path, value)
    annotation, array = annotation_of(type_, name), as_numbers(path, value)
    _check_not_empty(path, array, annotation, sizes)
    _cast(path, check_array(path, value, shape_at(annotation, sizes, array), allowed), dtype_of(annotation), allowed)


def _check_setting(path: str, allowed: Any, value: Any) -> None:
    """Check a setting of a plain Python type: true or false, a name, or a number in a range."""
    if isinstance(allowed, Switch):
        check_switch(path, value)
    elif isinstance(allowed, tuple):
        check_choice(path, value, allowed)
    elif allowed.integer and allowed.high >= LARGEST_INT:
        check_size(path, value, int(allowed.low))
    elif allowed.integer:
        check_whole(path, value, allowed)
    else:
        _cast(path, check_array(path, value, (), allowed), jnp.float32, allowed)


def _check_list(path: str, allowed: Any, values: Any) -> None:
    """Check a list of settings, each by itself."""
    if not isinstance(values, tuple | list):
        raise ValueError(f"{path} is {values!r}; it must be a list, of which each is {allowed}")
    if not values:
        raise ValueError(f"{path} is empty; it must hold at least one entry")
    for index, value in enumerate(values):
        _check_setting(f"{path}[{index}]", allowed, value)


def walk(instance: Any, path: str = "") -> Iterator[tuple[str, Any, str, Declaration, Any]]:
    """Every declared field, including those of the laws: path, class, name, declaration and value."""
    for name, declaration in declarations(instance).items():
        value = getattr(instance, name)
        yield path + name, type(instance), name, declaration, value
        if declaration.laws is not None:
            yield from walk(value, f"{path}{name}.")


def _check_known(type_: type, sizes: Any, given: Mapping[str, Any], shorthands: Shorthands) -> None:
    known = [*shorthands, *declarations(type_)]
    for name in given:
        if name not in known:
            owner, hint = getattr(sizes, "name", type_.__name__), did_you_mean(name, known)
            raise ValueError(f"{name} is not a parameter of {owner}; the parameters are {', '.join(known)}{hint}")
    for name, each in shorthands.items():
        beside = [field for field in each.sets if field in given]
        if name in given and beside:
            raise ValueError(
                f"{name} is {given[name]} and {beside[0]} is given too; give only one, since {name} sets {beside[0]}"
            )


def _applies(name: str, shorthand: Shorthand, given: Mapping[str, Any]) -> bool:
    return name in given or not (shorthand.optional or any(field in given for field in shorthand.sets))
