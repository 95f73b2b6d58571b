"""Turns what hydra, OmegaConf and the library refuse into one sentence that names the field, the value and the rule."""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from jaxdlb.checks import did_you_mean, nearest

from . import launchers, paths, plugins

_QUOTES = "quotes around a value of more than letters, digits and -_./:%, as in 'key=\"…\"'"
_MOST_CHARACTERS = 200  # of a path in a message
_TOO_LARGE = "the sizes given take more memory than there is; ask for fewer nodes, environments, seeds or hidden units"
_TOO_DEEP = "what is given holds itself, or is nested too deeply; it must be values, and lists of a few levels"
STATUS = 2  # of a process that was given something wrong

_TYPES = {
    r"could not be converted to Integer": "an integer",
    r"could not be converted to Float": "a number",
    r"is not a valid bool": "true or false",
    r"is not a ListConfig, list or tuple": "a list, as in [1,2]",
    r"is not Optional": "a value other than null",
    r"is not a subclass of": "a group of keys, set one by one",
}


class Refusal(Exception):  # noqa: N818 - it is no error of the program
    """What a user gave is wrong; the message is the whole sentence. Nothing was written."""

    def __init__(self, sentence: str) -> None:
        super().__init__(launchers.as_called(sentence))


@contextlib.contextmanager
def refusals(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Whatever is found wrong inside becomes a `Refusal`; anything but wrong input passes as it is.

    Inside, only what was given is looked at, so a file that cannot be used was given too, and memory that does not
    suffice is asked for by sizes that were given.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError, OSError, yaml.YAMLError) as error:
        raise Refusal(sentence(error, overrides)) from error
    except RecursionError as error:
        raise Refusal(_TOO_DEEP) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):  # as JAX says it
            raise
        raise Refusal(_TOO_LARGE) from error


def sentence(error: Exception, overrides: Sequence[str] = ()) -> str:
    """One line on what is wrong with what was given, among it the command line's `overrides`."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, MissingConfigException):  # which is an OSError too
        text = _unknown_option(error)
    elif isinstance(error, OverrideParseException):
        text = _of_override(error)
    elif isinstance(cause, OmegaConfBaseException):
        text = _of_key(cause)
    elif isinstance(error, ConfigCompositionException):
        text = _of_composition(str(error))
    elif isinstance(error, OSError):
        text = _of_file(error, overrides)
    elif isinstance(error, yaml.YAMLError):
        text = _of_yaml(error)
    elif str(error).startswith("Config group override must be"):
        text = _of_group(overrides)
    else:
        text = str(error)
    return " ".join(text.split())


def unknown_key(key: str, known: Iterable[str], everywhere: Iterable[str] = ()) -> str:
    """The sentence on a key that does not exist, with the nearest one that does: beside it, or else anywhere."""
    parent, _, name = key.rpartition(".")
    names = sorted({str(each) for each in known} - {"hydra"})
    found = nearest(name, names)
    beside = _join(parent, found) if found is not None else None
    hint = _elsewhere(name, everywhere, cutoff=1.0) or beside or _elsewhere(name, everywhere)
    where = f" of {parent}" if parent else ""
    return f"{key} is no known key; the keys{where} are {', '.join(names)}{f'; did you mean {hint}?' if hint else ''}"


def dotted(node: DictConfig) -> list[str]:
    """Every key of the whole config that `node` is a part of, as dotted paths."""
    root = node._get_root()
    return list(_dotted_below(OmegaConf.to_container(root, throw_on_missing=False))) if root is not None else []


def _dotted_below(container: Any, parent: str = "") -> Iterator[str]:
    for name, child in container.items() if isinstance(container, dict) else ():
        yield _join(parent, str(name))
        yield from _dotted_below(child, _join(parent, str(name)))


def _elsewhere(name: str, everywhere: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The path whose last name is most like `name`, the shortest of several."""
    known = [path for path in everywhere if not path.startswith("hydra")]
    by_name = {path.rpartition(".")[2]: path for path in sorted(known, key=len, reverse=True)}
    found = nearest(name, by_name, cutoff)
    return by_name[found] if found is not None else None


def refuse_what_is_no_value(given: DictConfig, overrides: Sequence[Any]) -> None:
    """Raise ValueError for what OmegaConf would take: any number for true, or a mapping into a group of keys."""
    for override in overrides:
        key, value = override.key_or_group, override.value()
        found = OmegaConf.select(given, key, throw_on_resolution_failure=False)
        if isinstance(value, int | float) and not isinstance(value, bool) and isinstance(found, bool):
            raise ValueError(f"{key} is {value}; it must be true or false")
        group = isinstance(found, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(found))
        if isinstance(value, dict) and group:
            raise ValueError(f"{key} is {value}; it must be a group of keys, set one by one")


def _of_key(error: OmegaConfBaseException) -> str:
    key, message = error.full_key or str(error.key), _first_line(error.msg or str(error))
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        parent = error.parent_node
        return unknown_key(key, *((parent.keys(), dotted(parent)) if isinstance(parent, DictConfig) else ((),)))
    if isinstance(error, MissingMandatoryValue):
        return f"{key} is not given; it must be, as {key}=…"
    if isinstance(error, ConfigTypeError):
        return f"{key} cannot be deleted; give it a value, or null where that is allowed"
    if isinstance(error, ValidationError):
        return f"{key} is {_shown(error.value)}; it must be {_wanted(message)}"
    return f"{key}: {message}" if error.full_key or error.key is not None else message


def _wanted(message: str) -> str:
    for pattern, wanted in _TYPES.items():
        if re.search(pattern, message):
            return wanted
    return f"another value ({message})"


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)


def _unknown_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or ())
    if (plugin := plugins.not_installed(group, option)) is not None:
        return plugin
    if not options:
        return f"{group or option} is {option!r}; no such choice exists under conf/"
    return f"{group} is {option!r}; it must be one of {', '.join(options)}{did_you_mean(option, options, repr)}"


def _of_file(error: OSError, overrides: Sequence[str]) -> str:
    """What cannot be used, by the key that named it, if one did."""
    reason = error.strerror or type(error).__name__
    if error.filename is None:
        return f"a file cannot be used: {reason}"
    path = str(error.filename)
    for key, _, value in (text.partition("=") for text in overrides):
        named = value.strip("'\"")
        if named and (path == named or path.startswith(f"{named}/")):
            return f"{key} is {_cut(named)!r}; it must be what can be used, and {_cut(path)!r} cannot ({reason})"
    return f"{_cut(path)} cannot be used: {reason}"


def _cut(path: str) -> str:
    """A path that fits on a screen."""
    return path if len(path) <= _MOST_CHARACTERS else f"{path[:_MOST_CHARACTERS]}…"


def _of_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark is not None else "a file of settings"
    return f"{where}: {getattr(error, 'problem', None) or 'this'}; it must be plain YAML"


def _of_override(error: OverrideParseException) -> str:
    """What cannot be read; a run's folder that stands alone is one of the commonest."""
    text = str(error.override)
    if text and Path(text).is_dir():
        return (
            f"{text!r} stands alone; it must be written resume={text} (python -m train goes on with that run) or "
            f"checkpoint={text} (train.evaluate, train.certify, train.simulate and train.render)"
        )
    return f"{text!r} cannot be read; it must be written key=value, with {_QUOTES}"


def _of_group(overrides: Sequence[str]) -> str:
    """hydra does not say which override it was that chose something other than a name."""
    given = [text.partition("=")[::2] for text in overrides if "=" in text]
    groups = [(key, value) for key, value in given if not key or (paths.CONF / key).is_dir()]
    wrong = [(key, value) for key, value in groups if re.fullmatch(r"[\d.+-]*|true|false", value, re.IGNORECASE)]
    key, value = wrong[0] if wrong else ("a group", "no name")
    return f"{key or 'the empty key'} is {value}; it must be a name, that of a file under conf/"


def _of_composition(message: str) -> str:
    ambiguous = re.match(r"Ambiguous value for argument '([^=]*)=(.*)'", message)
    if ambiguous:
        key, value = ambiguous.groups()
        return f"{key} is {value}; it must be one value, or [{value}] for a list, or add --multirun to try each"
    composed = re.match(
        r"In '(.*?)': \w+ raised while composing config: (.*?) full_key: (\S+)", " ".join(message.split())
    )
    if composed:
        return _of_file_of_settings(*composed.groups())
    unmatched = re.match(r"Could not override '([^']*)'", message)
    if unmatched:
        return f"{unmatched.group(1)} is no group of choices; the groups are the folders under conf/, such as game"
    return message


def _of_file_of_settings(source: str, message: str, key: str) -> str:
    """What is wrong in a file of settings, which hydra tells in a text that ends with the key."""
    where = "the saved config" if source == "run" else f"{source}.yaml"
    value = re.match(r"Value '(.*)' of type", message)
    if value:
        return f"{key} is {value.group(1)} in {where}; it must be {_wanted(message)}"
    return f"{key} is no known key, and {where} holds it" if message.startswith("Key ") else f"{where}: {message}"


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "no reason given"


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name
