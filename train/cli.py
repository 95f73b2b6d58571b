"""What all launchers share: the exit status, and one sentence for everything that is wrong."""

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from train import errors, loop

Prepared = TypeVar("Prepared")


def run(prepare: Callable[[], Prepared], work: Callable[[Prepared], object], overrides: Sequence[str]) -> int:
    """Prepare, which writes nothing, then work; return the exit status.

    2: something given is wrong, as one line on stderr says; 1: training diverged, or the program has a fault, with a
    traceback; 0: all is well.

    Raises:
        SystemExit: a signal asked to stop; the status is 128 + its number.
    """
    try:
        with errors.refusals(overrides):
            prepared = prepare()
        work(prepared)
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    except loop.DivergedError:
        return 1  # the loggers have said why
    except loop.StoppedError as stopped:
        raise SystemExit(128 + stopped.signal_number) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def value_of(key: str, overrides: Sequence[str]) -> str:
    """The value that the command line gives to a key that must be given.

    Raises:
        ValueError: it is not given.
    """
    values = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == key]
    if not values or not values[-1]:
        raise ValueError(f"{key} is not given; it must be, as {key}=…")
    return values[-1].strip("'\"")
