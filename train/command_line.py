"""What a command line may hold, before hydra reads it.

hydra's grammar allows more than a launch has a use for: keys that are deleted, groups given as mappings, values taken
from elsewhere, settings of hydra itself. What is neither meant nor documented is refused here, in one sentence.
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence

from . import paths

# hydra's own keys that a user may set: who starts the jobs of a sweep, who chooses them, and where they are kept
_OF_HYDRA = ("hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.sweeper", "hydra.sweep")
_FOLDERS = "hydra.searchpath"  # what --config-dir stands for
_RERUN = "--experimental-rerun"  # unpickles the file that it names
_NUMBER = re.compile(r"(?<![\w.])[+-]?(\d[\d_]*\.?\d*|\.\d+)[eE][+-]?\d+(?!\w)")
_SMALLEST = sys.float_info.min  # above 0 that is as precise as others
_NO_NAME = re.compile(r"(^|[,(\s])[./\\]|\.\.|/$|\.ya?ml\b")  # the start of a path, or a file's name


def check(arguments: Iterable[str]) -> None:
    """Check what can be told from the text of each argument alone.

    Raises:
        ValueError: a character that cannot be printed, an option or a key of hydra that is not meant to be used, a key
            that is deleted, a group that is no name, a value taken from elsewhere, or a number that rounds to 0. Also
            if the working directory is gone.
    """
    for text in arguments:
        _check_text(text)
        key, equals, value = text.lstrip("+").partition("=")
        if equals and not text.startswith("-"):
            _check_key(key, value)
            _check_group(key, value)
            _check_value(key, value)
    try:
        os.getcwd()
    except OSError as error:
        raise ValueError(f"the working directory cannot be used: {error.strerror}; it must be a folder") from None


def value_of(key: str, arguments: Sequence[str]) -> str | None:
    """What the command line gives to a key, the last time; None where it does not."""
    found = [text.partition("=")[2] for text in arguments if text.lstrip("+").partition("=")[0] == key]
    return found[-1].strip("'\"") if found else None


def _check_text(text: str) -> None:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that cannot be printed; it must be text on one line")
    option = text.partition("=")[0]
    if len(option) > len("--e") and _RERUN.startswith(option):
        raise ValueError(f"{option} is no option here, since it unpickles a file; to repeat a run, give its settings")
    if text.startswith("~"):
        key = text[1:].partition("=")[0]
        raise ValueError(f"{key or 'the empty key'} cannot be deleted; give it a value, or null where that is allowed")


def _check_key(key: str, value: str) -> None:
    if "_target_" in key.split("."):
        raise ValueError(f"{key} is {value}; it must not be given, since nothing is made by the name of its class")
    if key.partition(".")[0].partition("/")[0] == "hydra" and not _is_meant(key, value):
        raise ValueError(
            f"{key} is {value or 'empty'}; it must not be given: of hydra's own keys only hydra/launcher, "
            "hydra/sweeper, hydra.searchpath with folders, and those of hydra.launcher, hydra.sweeper and hydra.sweep"
        )


def _is_meant(key: str, value: str) -> bool:
    """Whether a key of hydra's own is one to be set; folders to search are, and packages are not."""
    return key.startswith(_OF_HYDRA) or (key == _FOLDERS and "pkg:" not in value)


def _check_group(key: str, value: str) -> None:
    if key not in _groups():
        return
    if value[:1] + value[-1:] in ("{}", "[]"):
        raise ValueError(f"{key} is {value}; it must be a name, that of a file under conf/; set its keys one by one")
    if _NO_NAME.search(value.strip("'\"")):
        raise ValueError(f"{key} is {value!r}; it must be a name, that of a file under conf/ without folder or ending")


def _check_value(key: str, value: str) -> None:
    if "${" in value and not key.startswith("hydra"):
        raise ValueError(f"{key} is {value!r}; it must be the value itself, which is not taken from elsewhere")
    for number in _NUMBER.finditer(value):
        if abs(float(number.group())) < _SMALLEST and re.search("[1-9]", number.group(1)):
            raise ValueError(f"{key} is {value}; it must be numbers that do not round to 0, as {number.group()} does")


def _groups() -> set[str]:
    return {path.name for path in paths.CONF.iterdir() if path.is_dir()}
