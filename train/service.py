"""How one node serves requests: `python -m train.service [rate=60] [warm_time=0.5] [instances=30] [key=value …]`.

Prints what the service model of serverless functions says of a node at a steady rate: the probabilities of a rejection
and of a cold start, the instances that are warm, the mean service time in seconds, and rejections per second.

Exit status: 0 when all went well; 2 when something given is wrong, of which one line on stderr says what.
"""

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from jaxdlb.games import GAMES

from . import cli, compose

SETTINGS: type[Any] = next(entry.node for entry in GAMES.values() if entry.node is not None)


def prepare(arguments: Sequence[str]) -> Any:
    """The node that is asked for.

    Raises:
        ValueError, OmegaConfBaseException: something given is wrong.
    """
    for text in arguments:
        if "=" not in text:
            raise ValueError(f"{text} is no key with its value; it must be one, as in rate=60")
    given = OmegaConf.from_dotlist(compose.understood(arguments, SETTINGS))
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SETTINGS), given))


def execute(node: Any) -> None:
    """Print how the node fares."""
    for name, (number, meaning) in node.fares().items():
        print(f"{name:<14}{number:>14.6f}  {meaning}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name), and return the exit status."""
    return cli.main_of_keys(__doc__, SETTINGS, prepare, execute, arguments)


if __name__ == "__main__":
    cli.tune()
    sys.exit(main())
