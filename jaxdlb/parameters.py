"""A parameter is declared once, where its type stands; everything else about it follows from that line.

    @struct.dataclass
    class Params:
        completion_prob: Float[Array, " N"] = parameter(POSITIVE_PROBABILITY, per_size(…))  # q: …
        transfer_delay: Int[Array, ""] = parameter(COUNT, 1, at_most="max_delay")  # d: rounds a sent task travels
        arrival_modulation: Modulation = law(LAWS)  # how p varies with time

The annotation gives shape and dtype, with the game's `dims` for the names of dimensions; `parameter` the range and the
default; the comment the meaning. Arrays (`make`), checks (`check`), random draws (`ranges`), keys of the command line
and tables in the documentation (`descriptions`) are made from these. The same declaration serves the laws that a
parameter may follow, the sizes of a game, and the settings of a learner or a network, whose annotations are plain
Python types.
"""

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdlb.catalogue import Catalogue, did_you_mean
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
)

Declared = TypeVar("Declared")

_KEY = "declaration"


@dataclasses.dataclass(frozen=True)
class PerSize:
    """A default that depends on the sizes: `of(game)`, and how tables write it."""

    text: str
    of: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What `parameter` or `law` says of a field."""

    allowed: Interval | tuple[str, ...] | None  # a range, a choice among names, or anything of the annotated type
    default: Any  # MISSING: it must be given
    at_most: str | None = None  # the size of the game that bounds it
    laws: Catalogue | None = None

    def within(self, sizes: Any) -> Interval:
        """The range, bounded by the game's size where there is one."""
        assert isinstance(self.allowed, Interval)
        return self.allowed if self.at_most is None else self.allowed.up_to(getattr(sizes, self.at_most))


@dataclasses.dataclass(frozen=True)
class Shorthand:
    """A further keyword of `default_params` that stands for other fields, as the offered load does for arrivals.

    `apply(params, value) -> params` sets them; it is traced where the value is drawn at random.
    """

    allowed: Interval
    default: float  # where neither it nor what it sets is given
    sets: tuple[str, ...]
    apply: Callable[[Any, Any], Any]
    bound: Callable[[Any], float] | None = None  # the most that the other fields allow
    meaning: str = ""

    def within(self, params: Any) -> Interval:
        """The range with these parameters."""
        return self.allowed if self.bound is None else self.allowed.up_to(self.bound(params))


Shorthands = Mapping[str, Shorthand]


def parameter(
    allowed: Interval | tuple[str, ...] | None, default: Any = dataclasses.MISSING, *, at_most: str | None = None
) -> Any:
    """A field that holds numbers of a range, or one of several names.

    The default of an array is a number for all its entries, an array, or a `PerSize`; `at_most` names a size of the
    game that bounds the range from above.
    """
    return _field(Declaration(allowed, default, at_most))


def law(laws: Mapping[str, type]) -> Any:
    """A field that holds one of several laws, pytrees with fields of their own; the first is the default."""
    catalogue = Catalogue("kind", dict(laws))
    return _field(Declaration(None, next(iter(catalogue.values())), laws=catalogue))


def per_size(text: str, of: Callable[[Any], Any]) -> PerSize:
    """A default that depends on the game's sizes, and how tables write it."""
    return PerSize(text, of)


def _field(declaration: Declaration) -> Any:
    metadata, default = {_KEY: declaration}, declaration.default
    if declaration.laws is not None:
        return dataclasses.field(default_factory=default, metadata=metadata)
    if default is dataclasses.MISSING or isinstance(default, PerSize):
        return dataclasses.field(metadata=metadata)
    if isinstance(default, np.ndarray | jax.Array | list):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def declarations(type_: Any) -> dict[str, Declaration]:
    """The declared fields of a dataclass, in their order."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(type_) if _KEY in field.metadata}


def make(
    type_: type[Declared], sizes: Any, values: Mapping[str, Any], shorthands: Shorthands | None = None
) -> Declared:
    """An instance of arrays: the defaults at these `sizes` (a game), with `values` in their place.

    A single number stands for all entries of an array, but for one whose length is free; None stands for the default;
    a law is an instance of its class, its kind, or a mapping of `kind` and fields. A default beyond the size that
    bounds it is that size. What stands here may be called while JAX traces a function, but not with traced values.

    Raises:
        ValueError: an unknown name; a shorthand beside what it sets; an entry out of range, of the wrong shape or
            traced; a field that must be given and is not.
    """
    with jax.ensure_compile_time_eval():
        return _made_of(type_, sizes, values, shorthands or {})


def _made_of(type_: type[Declared], sizes: Any, values: Mapping[str, Any], shorthands: Shorthands) -> Declared:
    given = {name: value for name, value in values.items() if value is not None}
    _check_known(type_, sizes, given, shorthands)
    short = {name: each for name, each in shorthands.items() if _takes_part(name, each, given)}
    pending = {field for each in short.values() for field in each.sets}
    declared = declarations(type_)
    fields = {
        name: _blank(type_, name, sizes)
        if name in pending
        else _made(type_, name, each, given.get(name, _default(each, sizes)), sizes)
        for name, each in declared.items()
    }
    made: Any = type_(**fields)
    for name, each in short.items():
        value = given.get(name, each.default)
        _refuse_traced(name, value)
        check_array(name, value, (), each.within(made))
        made = each.apply(made, jnp.float32(value))
    if pending:
        check(made, sizes)
    return made


def check(instance: Any, sizes: Any = None) -> None:
    """Check every declared field on the host: arrays against their shape and range, settings against their choices.

    `sizes` is the game, whose `dims` give the shapes; settings, whose fields are plain, need none.

    Raises:
        ValueError: names the field, the offending entry and what is allowed.
    """
    for path, type_, name, declaration, value in walk(instance):
        if _is_array(type_, name):
            _check_entries(path, type_, name, value, declaration.within(sizes), sizes)
        elif declaration.laws is not None:
            _check_law(path, declaration.laws, type(value), value)
        elif declaration.allowed is not None:
            _check_setting(path, declaration.allowed, value)


def kind_of(laws: Mapping[str, type], type_: type) -> str:
    """Under which name a law's class stands."""
    return next(kind for kind, each in laws.items() if each is type_)


def shape_of(annotation: Any) -> tuple[str, ...]:
    """The names of an array annotation's dimensions, as in ("N",)."""
    return tuple(_array_type(annotation).dim_str.split())


def is_array(annotation: Any) -> bool:
    """Whether an annotation is that of an array, alone or as one alternative."""
    return any(hasattr(option, "dim_str") for option in _options(annotation))


def _options(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if not hasattr(annotation, "dim_str") else (annotation,)


def _array_type(annotation: Any) -> Any:
    return next(option for option in _options(annotation) if hasattr(option, "dim_str"))


def annotation_of(type_: Any, name: str) -> Any:
    """The annotation of a dataclass's field, evaluated where the module postpones that."""
    annotation = next(field.type for field in dataclasses.fields(type_) if field.name == name)
    owner = type_ if isinstance(type_, type) else type(type_)
    return typing.get_type_hints(owner)[name] if isinstance(annotation, str) else annotation


def _is_array(type_: Any, name: str) -> bool:
    return is_array(annotation_of(type_, name))


def dtype_of(annotation: Any) -> Any:
    """The dtype that an array annotation asks for: int32, bool or float32."""
    dtypes = _array_type(annotation).dtypes
    return jnp.int32 if "int32" in dtypes else jnp.bool_ if "bool" in dtypes else jnp.float32


def _default(declaration: Declaration, sizes: Any) -> Any:
    default = declaration.default
    if isinstance(default, PerSize):
        return default.of(sizes)
    if declaration.at_most is None or default is dataclasses.MISSING:
        return default
    return np.minimum(default, declaration.within(sizes).high)


def _made(type_: type, name: str, declaration: Declaration, value: Any, sizes: Any) -> Any:
    if declaration.laws is not None:
        return _made_law(name, declaration.laws, value, sizes)
    if value is dataclasses.MISSING:
        raise ValueError(f"{name} is not given; it must be {declaration.allowed}")
    _refuse_traced(name, value)
    annotation, allowed, array = annotation_of(type_, name), declaration.within(sizes), as_numbers(name, value)
    shape = _shape(annotation, sizes, array)
    _check_free(name, array, annotation, sizes)
    array = (check_array if _free(annotation, sizes) else broadcast_array)(name, array, shape, allowed)
    return jnp.asarray(_held(name, array, dtype_of(annotation), allowed))


def _held(name: str, array: np.ndarray, dtype: Any, allowed: Interval) -> np.ndarray:
    """The array in the type in which it is held, whose rounding may not leave the range."""
    with np.errstate(over="ignore"):
        held = array.astype(dtype)
    bad = np.argwhere(~allowed.contains(held.astype(np.float64)))
    if len(bad):
        entry = tuple(bad[0])
        where = f"{name}[{', '.join(map(str, entry))}]" if entry else name
        raise ValueError(f"{where} is {array[entry]:g}, which float32 holds as {held[entry]:g}; it must be {allowed}")
    return held


def _refuse_traced(name: str, value: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        raise ValueError(
            f"{name} is traced, and parameters are checked on the host; it must be a number there: make the parameters "
            "outside of jit, vmap and grad, or put a traced array in their place with dataclasses.replace"
        )


def _made_law(name: str, laws: Catalogue, value: Any, sizes: Any) -> Any:
    """The law with every field an array."""
    type_, fields = _law_and_fields(name, laws, value)
    unknown = [field for field in fields if field not in declarations(type_)]
    if unknown:
        known = ", ".join(declarations(type_)) or "none"
        kind = kind_of(laws, type_)
        hint = did_you_mean(unknown[0], declarations(type_))
        raise ValueError(f"{name}.{unknown[0]} is not a field of the kind {kind!r}; its fields are {known}{hint}")
    with prefixed(name):
        return make(type_, sizes, fields)


def _law_and_fields(name: str, laws: Catalogue, value: Any) -> tuple[type, Mapping[str, Any]]:
    if isinstance(value, str):
        value = {"kind": value}
    if isinstance(value, Mapping):
        kind = value.get("kind")
        with prefixed(name):
            type_ = laws.find(next(iter(laws)) if kind is None else kind)
        return type_, {field: each for field, each in value.items() if field != "kind"}
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
    """Put a path before the field with which the sentence on something refused inside begins."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


def _blank(type_: type, name: str, sizes: Any) -> Array:
    """Zeros in the place of a field that a shorthand is about to set."""
    annotation = annotation_of(type_, name)
    return jnp.zeros(_shape(annotation, sizes, np.zeros(())), dtype_of(annotation))


def _shape(annotation: Any, sizes: Any, array: np.ndarray) -> tuple[int, ...]:
    """The shape that the annotation and the sizes ask for; a free dimension is as long as the array has it."""
    dims, names = getattr(sizes, "dims", {}), shape_of(annotation)
    ends = (*array.shape[-len(names) :], *([1] * len(names)))
    return tuple(int(name) if name.isdigit() else dims.get(name, ends[axis]) for axis, name in enumerate(names))


def _free(annotation: Any, sizes: Any) -> list[str]:
    """The dimensions whose length neither the annotation nor the sizes tell."""
    return [name for name in shape_of(annotation) if not name.isdigit() and name not in getattr(sizes, "dims", {})]


def _check_free(name: str, array: np.ndarray, annotation: Any, sizes: Any) -> None:
    if array.size == 0 and _free(annotation, sizes):
        raise ValueError(f"{name} is empty; it must hold at least one sample")


def _check_entries(path: str, type_: Any, name: str, value: Any, allowed: Interval, sizes: Any) -> None:
    _refuse_traced(path, value)
    annotation, array = annotation_of(type_, name), as_numbers(path, value)
    _check_free(path, array, annotation, sizes)
    check_array(path, array, _shape(annotation, sizes, array), allowed)


def _check_setting(path: str, allowed: Any, value: Any) -> None:
    """Of a plain Python type: true or false, a name, a number in a range, or a list of them."""
    if isinstance(allowed, Switch):
        check_switch(path, value)
    elif isinstance(allowed, tuple):
        check_choice(path, value, allowed)
    elif isinstance(value, tuple | list):
        _check_list(path, allowed, value)
    elif allowed.integer and allowed.high >= LARGEST_INT:
        check_size(path, value, int(allowed.low))
    elif allowed.integer:
        check_whole(path, value, allowed)
    else:
        check_array(path, value, (), allowed)


def _check_list(path: str, allowed: Interval, values: Sequence[Any]) -> None:
    if not values:
        raise ValueError(f"{path} is empty; it must hold at least one entry")
    for index, value in enumerate(values):
        _check_setting(f"{path}[{index}]", allowed, value)


def walk(instance: Any, path: str = "") -> Iterator[tuple[str, Any, str, Declaration, Any]]:
    """Every declared field, those of the laws among them: path, class, name, declaration and value."""
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
                f"{name} is {given[name]} and {beside[0]} is given too; give one of them, since {name} sets {beside[0]}"
            )


def _takes_part(name: str, shorthand: Shorthand, given: Mapping[str, Any]) -> bool:
    return name in given or not any(field in given for field in shorthand.sets)
