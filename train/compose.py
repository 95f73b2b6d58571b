"""Composes settings from `conf/` and the command line, or from a run's saved config and the command line."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jaxdlb.writing import write_whole

from . import command_line, config, errors, paths, saved_config
from .settings import Settings

# Where each group of a saved config takes its schema from; the key `name` says which schema it was.
_SCHEMAS = {"game": "schema/game", "learner": "schema/learner", "network": "schema/network", "logger": "schema/logger"}
_DECIMAL = re.compile(r"\d+(_\d+)*(\.\d*)?([eE][+]?\d+)?")
_ONLY_SCHEMA = {"network": "actor_critic"}


def settings(given: DictConfig, overrides: Sequence[str]) -> Any:
    """The settings that hydra composed, as a dataclass.

    Raises:
        ValueError, OmegaConfBaseException: a key that does not exist though it was added by force, a mandatory value
            that is missing, or a number where true or false is wanted.
    """
    _refuse_unknown(given)
    errors.refuse_what_is_no_value(given, _parse(overrides))
    return OmegaConf.to_object(given)


def from_conf(overrides: Sequence[str], schema: type = Settings) -> DictConfig:
    """What `python -m train` composes from the same command line; `schema` is a kind of `settings.Settings`."""
    with loader(schema):
        return compose("config", overrides=understood(overrides, schema))


@contextlib.contextmanager
def loader(schema: type = Settings) -> Iterator[ConfigLoader]:
    """What hydra reads `conf/` by, where `schema` says which settings there are."""
    with _hydra():
        ConfigStore.instance().store(name="settings", node=schema)
        try:
            yield GlobalHydra.instance().config_loader()
        finally:
            ConfigStore.instance().store(name="settings", node=Settings)


def understood(overrides: Sequence[str], schema: type = Settings) -> list[str]:
    """The command line as hydra takes it.

    `game.name=…` takes the group of that game, which may be one of a user's own package, and so do `learner.name` and
    `logger.name`; `experiment=null` is what there is without it; an integer may be written as 2e6.

    Raises:
        ValueError: no such game or learner, or what `command_line.check` refuses.
    """
    command_line.check(overrides)
    kept = [_group_of(text, overrides) for text in overrides if text != "experiment=null"]
    return [_with_integers(text, config.integer_keys(schema)) for text in kept]


def _with_integers(text: str, keys: frozenset[str]) -> str:
    key, equals, value = text.partition("=")
    if key.lstrip("+") not in keys:
        return text
    return f"{key}{equals}{_DECIMAL.sub(lambda number: _as_integer(number.group()), value)}"


def _as_integer(number: str) -> str:
    return str(int(float(number))) if float(number).is_integer() else number


def _group_of(text: str, overrides: Sequence[str]) -> str:
    """The choice of a group that a name stands for, unless the group is chosen besides."""
    key, _, name = text.partition("=")
    group = key.removesuffix(".name")
    if key == group or group not in config.REGISTRIES or any(other.startswith(f"{group}=") for other in overrides):
        return text
    return text if "," in name else f"{group}={_choice_of(group, name)}"


def _choice_of(group: str, name: str) -> str:
    """What a group calls the choice of a name, be it of a user's own package."""
    return name if name in config.REGISTRIES[group] else config.register_foreign(group, name)


def from_run(folder: Path, overrides: Sequence[str], schema: type, *, resumed: bool = False) -> DictConfig:
    """A run's saved config with `overrides`, of the structure of the dataclass `schema`, a kind of `settings.Settings`.

    An override of a group, such as `game=dlb`, takes that group afresh from `conf/` and drops what was saved of it.
    Paths and the logger count only where the run is `resumed`.

    Raises:
        ValueError: no saved config in the folder, or one that cannot be read, or that names code or files to read that
            the command line does not name.
    """
    saved = saved_config.kept(saved_config.read(folder), overrides, resumed=resumed, source=folder / saved_config.FILE)
    with _hydra():
        same = {f"{group}.name={saved[group].get('name')}" for group in config.REGISTRIES}
        overrides = understood([text for text in overrides if text not in same], schema)
        chosen = {o.key_or_group: o.value() for o in _parse(overrides) if o.key_or_group in _SCHEMAS}
        groups = {group: option for group, option in chosen.items() if isinstance(option, str)}
        defaults = ["run_schema", *_defaults(saved, groups), "_self_"]
        for group in groups:
            saved.pop(group, None)
        store = ConfigStore.instance()
        store.store(name="run_schema", node=schema)
        store.store(name="run", node={"defaults": defaults, **saved})
        rest = [text for text, o in zip(overrides, _parse(overrides), strict=True) if o.key_or_group not in groups]
        return compose("run", overrides=rest)


def without_globs(overrides: Sequence[str]) -> list[str]:
    """The command line with the choices of a group written out where a pattern stands for them.

    hydra's own sweeper reads `game=glob(rack*)`, others only `game=choice(rack_llm,…)`.
    """
    with _hydra():
        globs = {each.input_line: each for each in _parse(overrides) if each.value_type == ValueType.GLOB_CHOICE_SWEEP}
        return [_written_out(globs[text]) if text in globs else text for text in overrides]


def _written_out(glob: Override) -> str:
    return f"{glob.get_key_element()}=choice({','.join(glob.sweep_string_iterator())})"


def sweep(overrides: Sequence[str]) -> tuple[list[Override], DictConfig]:
    """The overrides of the jobs of a sweep, among them hydra.sweeper.params, and hydra's own settings.

    Raises:
        HydraException, OmegaConfBaseException: an override that cannot be read, or is wrong for hydra itself.
    """
    with _hydra():
        given = _parse(overrides)
        fixed = [text for text, each in zip(overrides, given, strict=True) if not each.is_sweep_override()]
        own = compose("config", overrides=fixed, return_hydra_config=True).hydra
        params = OmegaConf.select(own, "sweeper.params") or {}
        of_jobs = [each for each in given if not each.is_hydra_override()]
        return [*_parse([f"{key}={text}" for key, text in params.items()]), *of_jobs], own


def save(given: DictConfig, folder: Path) -> None:
    """Write the resolved settings into a run's folder, whole or not at all."""
    write_whole(folder / saved_config.FILE, OmegaConf.to_yaml(given, resolve=True))


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """hydra looking into `conf/`, unless a launcher already has it do so."""
    config.register()
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        yield


def _parse(overrides: Sequence[str]) -> list[Override]:
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


def _defaults(saved: dict[str, Any], groups: dict[str, str]) -> list[dict[str, str]]:
    """hydra's defaults list: the groups chosen afresh from `conf/`, the schema alone for the others."""
    return [
        {group: groups[group]} if group in groups else {f"{schema}@{group}": _schema_of(group, saved)}
        for group, schema in _SCHEMAS.items()
    ]


def _schema_of(group: str, saved: dict[str, Any]) -> str:
    name = _ONLY_SCHEMA.get(group) or str(saved[group].get("name"))
    return _choice_of(group, name) if group in config.REGISTRIES else name


def _refuse_unknown(node: DictConfig, key: str = "") -> None:
    """Raise ValueError for a key that the node's dataclass does not have: hydra's `+key=…` adds any."""
    type_ = OmegaConf.get_type(node)
    known = [field.name for field in dataclasses.fields(type_)] if dataclasses.is_dataclass(type_) else list(node)
    for name in map(str, node):
        full = f"{key}.{name}" if key else name
        if name not in known:
            raise ValueError(errors.unknown_key(full, known, set(errors.dotted(node)) - {full}))
        child = _child(node, name)
        if isinstance(child, DictConfig):
            _refuse_unknown(child, full)


def _child(node: DictConfig, name: Any) -> Any:
    """A node's child, or None for a value that is missing, null or an interpolation that cannot be resolved."""
    with contextlib.suppress(OmegaConfBaseException):
        return node[name] if not OmegaConf.is_missing(node, name) else None
    return None
