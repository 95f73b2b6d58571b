"""Train: `python -m train [group=choice …] [key=value …]`; `-m` sweeps, `resume=<run>` goes on with a run.

`--dry_run` compiles the training program, tells what memory it would take, and writes nothing.

Exit status: 0 when all went well; 1 when training diverged; 2 when something given is wrong, of which one line on
stderr says what, and then nothing has been written; 128 + the signal's number when a signal stopped it, after a
checkpoint.
"""

import sys
from collections.abc import Sequence

from . import errors, known_keys


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
    return jobs.main(given, __doc__ or "")


def look(given: Sequence[str]) -> int:
    """The exit status of a command line with a key that is known not to exist, which is said on stderr; else 0."""
    try:
        known_keys.check(given)
    except errors.Refusal as refusal:
        print(refusal, file=sys.stderr)
        return errors.STATUS
    return 0


if __name__ == "__main__":
    if (status := look(sys.argv[1:])) == 0:
        from . import cli

        cli.tune()
        status = main()
    sys.exit(status)
