"""Train: `python -m train [group=choice …] [key=value …]`; `-m` sweeps, `resume=<run>` goes on with a run.

`--dry_run` compiles the training program, tells what memory it would take, and writes nothing.

Exit status: 0 when all went well; 1 when training diverged; 2 when something given is wrong, of which one line on
stderr says what, and then nothing has been written; 128 + the signal's number when a signal stopped it, after a
checkpoint.
"""

import sys
from collections.abc import Sequence

from . import errors, known_keys, own_conf, signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status.

    Raises:
        SystemExit: a signal asked to stop, or something other than training was asked of hydra.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if (status := look(given)) != 0:
        return status
    from . import jobs  # which imports JAX

    known_keys.remember(given)
    return jobs.main(own_conf.as_override(given), __doc__ or "")


def start(given: Sequence[str]) -> int:
    """Run the command line as a process of its own does: as `main`, with compilation tuned."""
    signals.answer_at_once()  # while JAX is imported, too
    if (status := look(given)) != 0:
        return status
    from . import cli  # which imports JAX

    cli.tune()
    return main(given)


def look(given: Sequence[str]) -> int:
    """The exit status of a command line that is known to be wrong without JAX, which is said on stderr; else 0."""
    try:
        with errors.refusals():
            own_conf.as_override(given)
        known_keys.check(given)
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    return 0


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
