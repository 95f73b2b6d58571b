"""What all launchers share: help, the exit status, and one sentence for everything that is wrong."""

import contextlib
import dataclasses
import errno
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from omegaconf import OmegaConf

from jaxdlb import compilation

from . import compose, errors, launchers, loop, own_conf, reference, signals
from .settings import Settings

Prepared = TypeVar("Prepared")
HELP = ("-h", "--help")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of which Python does not say what file they are about


class FailedError(Exception):
    """What was asked for could not be done to its end; the message is the whole sentence."""


def main(
    description: str | None,
    schema: type,
    prepare: Callable[[Sequence[str]], Prepared],
    work: Callable[[Prepared], object],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a launcher's command line (without the program's name), and return the exit status.

    --help prints the `description`, and every key of `schema` (a kind of `settings.Settings`) with what it means.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if set(HELP) & set(given):
        return run(lambda: helped(description or "", own_conf.as_override(given), schema), print, given)
    return run(lambda: prepare(own_conf.as_override(given)), work, given)


def main_of_keys(
    description: str | None,
    schema: type,
    prepare: Callable[[Sequence[str]], Prepared],
    work: Callable[[Prepared], object],
    arguments: Sequence[str] | None = None,
) -> int:
    """Like `main`, of a launcher whose keys are the fields of `schema` alone, which no group chooses."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if set(HELP) & set(given):
        print(_described(description or "", reference.keys(OmegaConf.structured(schema))))
        return 0
    return run(lambda: prepare(given), work, given)


def helped(description: str, arguments: Sequence[str], schema: type = Settings, groups: str = "") -> str:
    """What --help prints: every key with the groups and values that the rest of the command line chooses.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: something given besides is wrong.
    """
    overrides = [text for text in arguments if not text.startswith("-")]
    if "checkpoint" in {field.name for field in dataclasses.fields(schema)}:
        overrides = [text for text in overrides if not text.startswith("checkpoint=")]
    keys = reference.keys(compose.from_conf(overrides, schema))
    return _described(description, keys, groups)


def _described(description: str, keys: str, groups: str = "") -> str:
    return launchers.as_called(f"{description.strip()}\n\n{groups}Keys, their values and what they mean:\n{keys}")


def tune() -> None:
    """What a process of a launcher sets up before its first computation.

    How signals are answered, XLA's options, where programs are kept, and that warnings meant for users come without a
    place in the code.
    """
    signals.answer_at_once()
    compilation.tune_for_cpu()
    compilation.use_cache()
    as_usual = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *rest: (
        f"warning: {message}\n" if category is UserWarning else as_usual(message, category, *rest)
    )


def run(prepare: Callable[[], Prepared], work: Callable[[Prepared], object], overrides: Sequence[str]) -> int:
    """Prepare, which writes nothing, then work; return the exit status.

    2: something given is wrong, as one line on stderr says; 1: training diverged or work failed, as a line says too, or
    the program has a fault, with a traceback; 0: all is well.

    Raises:
        SystemExit: a signal asked to stop; the status is 128 + its number.
    """
    try:
        with errors.refusals(overrides), told_later():
            prepared = prepare()
        work(prepared)
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    except loop.DivergedError:
        return 1  # the loggers have said why
    except FailedError as failed:
        print(failed, file=sys.stderr)
        return 1
    except signals.StoppedError as stopped:
        raise SystemExit(128 + stopped.signal_number) from None  # the loggers have said so
    except KeyboardInterrupt:
        print("stopped by SIGINT", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except OSError as error:
        if error.filename is not None:
            print(f"{error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        elif error.errno in _FULL:
            print(f"a file cannot be written: {error.strerror}", file=sys.stderr)
        else:
            traceback.print_exc()
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def told_later() -> Iterator[None]:
    """Warnings inside are told at the end, and not at all of what is refused: its one sentence says what is wrong."""
    with warnings.catch_warnings(record=True) as kept:
        yield
    for each in kept:
        warnings.showwarning(each.message, each.category, each.filename, each.lineno)


def value_of(key: str, overrides: Sequence[str]) -> str:
    """The value that the command line gives to a key that must be given.

    Raises:
        ValueError: it is not given.
    """
    values = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == key]
    if not values or not values[-1]:
        raise ValueError(f"{key} is not given; it must be, as {key}=…")
    return values[-1].strip("'\"")
