"""What a user may set of a game, a learner and a network, as dataclasses that hydra checks keys and types against.

They follow from the registries of the library: for each game its sizes, parameters, ranges and recorded input, for each
learner its settings, so that each name and each default stands once, there. The files under `conf/` choose among them.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from jaxdlb import descriptions, parameters
from jaxdlb.annotations import dtype_of, is_array, shape_of
from jaxdlb.catalogue import Catalogue
from jaxdlb.game import Entry
from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS, Evolution, LearnerEntry
from jaxdlb.networks import NetworkConfig
from jaxdlb.parameters import Declaration, PerSize, Shorthand, Shorthands

from .settings import GameSettings, LearnerSettings, LoggerSettings, Settings, WandbSettings

SCHEDULE = "schedule_updates"  # the setting of a learner that is null where it takes as many updates as the run has
REGISTRIES: Mapping[str, Catalogue] = {
    "game": GAMES,
    "learner": LEARNERS,
    "logger": Catalogue("logger", {"console": None, "wandb": None}),
}
_FOREIGN: dict[tuple[str, str], type] = {}  # schemas of users' own packages, by group and what the group calls them
Fields = dict[str, tuple[Any, Any]]  # type and default of each field


def schema(
    name: str,
    library: type,
    changed: Fields | None = None,
    *,
    base: type = object,
    added: Mapping[str, str] | None = None,
) -> type:
    """A mutable dataclass with the fields and defaults of a dataclass of the library, and those of `changed`.

    `changed` maps a field, new or not, to its type and default. hydra can check and override such a class, but not a
    frozen one, and not types of arrays: of those only their default's type is asked for. What is `added` to the meaning
    of a field stands behind the library's words.
    """
    fields = {field.name: (_plain_type(field), field.default) for field in dataclasses.fields(library)}
    words = {key: text + (added or {}).get(key, "") for key, text in _words(library).items()}
    return _dataclass(name, fields | (changed or {}), words, base)


def game_schema(entry: Entry) -> type:
    """A game's sizes; under `params` its parameters, under `randomise` their ranges, under `trace` a recorded input."""
    params = params_schema(f"{entry.name}_params", entry.params, entry.shorthands)
    ranges = ranges_schema(f"{entry.name}_ranges", entry.params, entry.shorthands)
    parts: Fields = {"params": (params, params), "randomise": (ranges, ranges)}
    if entry.recorded is not None:
        recorded = schema(f"{entry.name}_recorded", entry.recorded)
        parts["trace"] = (recorded, recorded)
    return schema(f"{entry.name}_game", entry.game, parts, base=GameSettings)


def params_schema(name: str, declared: type, shorthands: Shorthands) -> type:
    """A game's parameters with their defaults; null where it depends on the sizes, or a shorthand may set the field.

    A scalar must be a number; a parameter with entries may be one number for all or a list; a law has the fields of
    all its kinds, null for those that were not given.
    """
    fields: Fields = {short: (float | None, None) for short in shorthands}
    for field in dataclasses.fields(declared):
        fields[field.name] = _parameter_type(f"{name}_{field.name}", field, parameters.declarations(declared))
    for field_name in {each for short in shorthands.values() for each in short.sets}:
        fields[field_name] = fields[field_name][0], None
    return _dataclass(name, fields, _words(declared) | _words_of_shorthands(shorthands), object)


def ranges_schema(name: str, declared: type, shorthands: Shorthands) -> type:
    """For each parameter the range that it is drawn from in every episode; of a law, a mapping of such ranges."""
    declarations = parameters.declarations(declared)
    names = [*shorthands, *(name for name, each in declarations.items() if each.drawn != parameters.NEVER)]
    words = {name: "[low, high], drawn anew for every episode" for name in names}
    fields: Fields = {each: (Any, None) for each in names}
    for field, declaration in declarations.items():
        if declaration.laws is not None:
            own = {each.name: each.meaning for law in declaration.laws.values() for each in descriptions.describe(law)}
            ranges = _dataclass(f"{name}_{field}", {each: (Any, None) for each in own}, own, object)
            fields[field], words[field] = (ranges, ranges), "ranges of the fields of the law that is played"
    return _dataclass(name, fields, words, object)


def learner_schema(name: str, entry: LearnerEntry) -> type:
    """A learner's settings; null for those chosen for the game, and for a schedule that is as long as the run.

    Under `evolution` is how a population of it evolves.
    """
    chosen, evolution = {SCHEDULE, *entry.by_game}, _evolution()
    changed: Fields = {
        each.name: (_plain_type(each) | None, None) for each in dataclasses.fields(entry.config) if each.name in chosen
    }
    changed |= dict.fromkeys(entry.policies, (Any, None))
    changed["evolution"] = (evolution, evolution)
    added = dict.fromkeys(entry.by_game, "; null: as suits the game")
    return schema(f"{name}_learner", entry.config, changed, base=LearnerSettings, added=added)


@functools.cache
def _evolution() -> type:
    return schema("evolution", Evolution)


@functools.cache
def groups() -> Mapping[str, Mapping[str, type]]:
    """The schemas of each group of settings, by name."""
    return {
        "game": {name: game_schema(entry) for name, entry in GAMES.items()},
        "learner": {name: learner_schema(name, learner) for name, learner in LEARNERS.items()},
        "network": {"actor_critic": schema("network_settings", NetworkConfig)},
        "logger": {"console": LoggerSettings, "wandb": WandbSettings},
    }


def __getattr__(name: str) -> type:
    """A schema of `groups` by its name, by which settings are pickled when a sweep sends them to another process."""
    made = {} if name.startswith("_") else _made()
    if name not in made:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return made[name]


@functools.cache
def _made() -> Mapping[str, type]:
    every = (each for schemas in groups().values() for schema in schemas.values() for each in _with_parts(schema))
    return {each.__name__: each for each in every}


def _with_parts(schema: type) -> Iterator[type]:
    yield schema
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type) and isinstance(field.type, type):
            yield from _with_parts(field.type)


@functools.cache
def register() -> None:
    """Tell hydra, once, of the schemas, which files under `conf/` name in their defaults, and of `${times:…}`."""
    OmegaConf.register_new_resolver("times", lambda *factors: math.prod(factors), replace=True)
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    for group, schemas in groups().items():
        for name, node in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=node)


@functools.cache
def integer_keys(schema: type = Settings) -> frozenset[str]:
    """The keys that want an integer, or a list of them, as dotted paths; `schema` is a kind of `Settings`."""
    known = [(group, each) for group, schemas in groups().items() for each in schemas.values()]
    foreign = [(group, each) for (group, _), each in _FOREIGN.items()]
    below = {key for group, each in [*known, *foreign] for key in _integers(each, f"{group}.")}
    return frozenset(below | set(_integers(schema)))


def _integers(type_: Any, path: str = "") -> Iterator[str]:
    for field in dataclasses.fields(type_):
        if field.type in (int, int | None, tuple[int, ...]):
            yield path + field.name
        elif dataclasses.is_dataclass(field.type):
            yield from _integers(field.type, f"{path}{field.name}.")


def register_foreign(group: str, name: str) -> str:
    """Tell hydra of a game or a learner of a user's own package, and return what its group calls it.

    Raises:
        ValueError: there is none of that name.
    """
    called = re.sub(r"\W", "_", name)
    entry = REGISTRIES[group].find(name)
    node = game_schema(entry) if group == "game" else learner_schema(called, entry)
    store = ConfigStore.instance()
    store.store(group=f"schema/{group}", name=called, node=node)
    own = {"defaults": [{f"/schema/{group}@_here_": called}, "_self_"], "name": name}
    store.store(group=group, name=called, node=own)
    _FOREIGN[group, called] = node
    integer_keys.cache_clear()
    return called


def words_of(type_: type) -> Mapping[str, str]:
    """For each field of a schema, what it means; fields that nothing is said of are missing."""
    return getattr(type_, "words", None) or descriptions.meanings(type_)


def _dataclass(name: str, fields: Fields, words: Mapping[str, str], base: type) -> type:
    entries = [(field, type_, _default(value)) for field, (type_, value) in fields.items()]
    made = dataclasses.make_dataclass(name, entries, bases=(base,))
    made.__module__ = __name__
    made.words = {**(words_of(base) if dataclasses.is_dataclass(base) else {}), **words}  # type: ignore[attr-defined]
    return made


def _default(value: Any) -> Any:
    """Mutable defaults are made anew for each instance; a class stands for an instance of it."""
    if isinstance(value, type):
        return dataclasses.field(default_factory=value)
    return dataclasses.field(default=value)


def _plain_type(field: dataclasses.Field) -> Any:
    """What hydra may check; of an array the type of its default."""
    annotation: Any = field.type
    return type(field.default) if is_array(annotation) or annotation is Any else annotation


def _parameter_type(name: str, field: dataclasses.Field, declared: Mapping[str, Declaration]) -> tuple[Any, Any]:
    """Type and default of a game's parameter."""
    declaration = declared[field.name]
    if declaration.laws is not None:
        law = law_schema(name, declaration)
        return law, law
    default = declaration.default
    default = None if default is dataclasses.MISSING or isinstance(default, PerSize) else default
    if shape_of(field.type):
        return Any, default
    number: Any = {"i": int, "b": bool}.get(jnp.dtype(dtype_of(field.type)).kind, float)
    return number | None, default


def law_schema(name: str, declaration: Declaration) -> type:
    """The kind of a law, and the fields of all kinds: null leaves the default; another kind's is refused."""
    laws = declaration.laws
    assert laws is not None
    fields: Fields = {"kind": (str, declaration.default_kind)}
    words = {"kind": f"one of {', '.join(laws)}"}
    for kind, described in descriptions.describe_laws(declaration).items():
        for each in described:
            fields[each.name] = (Any, None)
            words[each.name] = f"of {kind}: {_with_default(each)}"
    return _dataclass(name, fields, words, object)


def _words(declared: type) -> dict[str, str]:
    """What each field means, with its symbol, what is allowed, and its default where null stands for it."""
    described = {each.name: _sentence(each) for each in descriptions.describe(declared)}
    return dict(descriptions.meanings(declared)) | described


def _sentence(each: descriptions.Described) -> str:
    symbol = f"{each.symbol}: " if each.symbol else ""
    return f"{symbol}{each.meaning}" + (f" ({each.allowed})" if each.allowed else "") + _null(each.default)


def _with_default(each: descriptions.Described) -> str:
    return f"{each.meaning} ({each.allowed}); null: {each.default or 'must be given'}"


def _null(default: str) -> str:
    return f"; null: {default}" if default and not re.fullmatch(r"[-\d.e]+|\w+|\[.*\]", default) else ""


def _words_of_shorthands(shorthands: Shorthands) -> dict[str, str]:
    return {name: each.meaning + _unless(each) for name, each in shorthands.items()}


def _unless(shorthand: Shorthand) -> str:
    return f"; null: {shorthand.default:g}, unless {_listed(shorthand.sets)} is given" if shorthand.sets else ""


def _listed(names: Iterable[str]) -> str:
    return " or ".join(names)
