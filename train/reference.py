"""Every key of a config with its value and what it means, as YAML with comments."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from . import config, paths

_WIDTH = 120
_COMMENT = 34  # the column where comments begin


def keys(given: DictConfig) -> str:
    """All keys of a composed config as YAML, each with its meaning behind it; hydra's own are left out."""
    return "\n".join(_lines(given, depth=0))


def groups(own: Iterable[Path] = ()) -> str:
    """The groups that files under `conf/` and in a user's `own` folders can be chosen from, and their choices."""
    choices: dict[str, set[str]] = {}
    for file in (file for folder in (paths.CONF, *own) for file in folder.glob("*/*.yaml")):
        choices.setdefault(file.parent.name, set()).add(file.stem)
    return "\n".join(f"  {name}: {', '.join(sorted(each))}" for name, each in sorted(choices.items()))


def _lines(node: DictConfig, depth: int) -> Iterator[str]:
    type_ = OmegaConf.get_type(node)
    words: Mapping[str, str] = config.words_of(type_) if isinstance(type_, type) else {}
    for name in map(str, node):
        if name == "hydra":
            continue
        child = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(child, DictConfig):
            yield from _commented(f"{'  ' * depth}{name}:", words.get(name, ""))
            yield from _lines(child, depth + 1)
        else:
            value = "???" if OmegaConf.is_missing(node, name) else _written(child)
            yield from _commented(f"{'  ' * depth}{name}: {value}", words.get(name, ""))


def _commented(text: str, meaning: str) -> Iterator[str]:
    """A line of YAML with its comment, which goes on below where it is long."""
    if not meaning:
        yield text
        return
    first, *rest = textwrap.wrap(meaning, _WIDTH - _COMMENT - 2)
    if len(text) >= _COMMENT:
        yield text
        text = ""
    yield f"{text:<{_COMMENT}}# {first}"
    yield from (f"{'':<{_COMMENT}}# {line}" for line in rest)


def _written(value: Any) -> str:
    """A value on one line, as the command line takes it."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if isinstance(plain, list | dict):
        return yaml.safe_dump(plain, default_flow_style=True, width=float("inf"), sort_keys=False).strip()
    return OmegaConf.to_yaml({"value": plain}).removeprefix("value:").strip()
