"""The command `jaxdlb`: its first word is a launcher, and the rest is that launcher's command line.

Nothing heavy is imported until the first word is known to be right.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from jaxdlb import __version__
from jaxdlb.checks import did_you_mean

from .launchers import COMMAND, LAUNCHERS

HELP = ("-h", "--help", "help")
VERSION = ("-V", "--version")
COMPLETION = ("-sc", "--shell-completion")
NEEDED = ("hydra", "matplotlib", "PIL", "rich")  # of the extra `train`; a logger asks for what it needs itself
_WRONG = 2  # errors.STATUS, which a process without the extra cannot import


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name) in a process of its own, and return the exit status.

    Raises:
        SystemExit: as the launchers do.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    first, rest = (given[0], given[1:]) if given else ("", [])
    if first in HELP:
        print(described())
        return 0
    if first in VERSION:
        print(f"{COMMAND} {__version__}")
        return 0
    refused = _refused(first)
    if refused is not None:
        print(refused, file=sys.stderr)
        return _WRONG
    sys.path.append("")  # the working directory, where users' own packages may lie, as `python -m` has it
    if set(COMPLETION) & set(given):
        from . import completion

        return completion.main("".join(given[-1:]))
    return launch(first, rest)


def described() -> str:
    """What --help prints: every launcher with what it does."""
    lines = [f"  {name:<11} {does}" for name, does in LAUNCHERS.items()]
    return "\n".join(
        [
            f"{COMMAND} <launcher> [group=choice …] [key=value …]",
            "",
            *lines,
            "",
            f"{COMMAND} <launcher> --help tells every key, its value and what it means.",
            f'eval "$({COMMAND} -sc install=bash)" has bash complete launchers, groups and keys.',
        ]
    )


def launch(name: str, given: Sequence[str]) -> int:
    """Run a launcher's command line as a process of its own does, whose compilation is tuned.

    Training is asked first whether a key is mistyped, which takes no JAX; tuning does.
    """
    if name == "train":
        from . import __main__ as training

        return training.start(given)
    launcher = importlib.import_module(f".{name}", __package__)
    from . import cli

    cli.tune()
    return launcher.main(given)


def _refused(first: str) -> str | None:
    """The sentence on a first word that is wrong, or on a launcher that cannot be had; None where all is well."""
    known = ", ".join(LAUNCHERS)
    if not first:
        return f"{COMMAND} stands alone; it must be followed by a launcher ({known}) or --help"
    if first not in LAUNCHERS and first not in COMPLETION:
        hint = did_you_mean(first, LAUNCHERS)
        return f"{first!r} is no launcher of {COMMAND}; it must be one of {known}, or --help{hint}"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        asked = COMMAND if first in COMPLETION else f"{COMMAND} {first}"
        return (
            f"{asked} needs {', '.join(missing)}, which this environment lacks; "
            f"pip install '{COMMAND}[train]' brings what is missing"
        )
    return None
