"""Which launchers there are, and how users call them.

That is `python -m train.evaluate` in a checkout, and `jaxdlb evaluate` where a wheel has brought them, which calls
their package by another name. Code and documentation say the former; what is printed says what its reader can type.
"""

import re
from collections.abc import Mapping

COMMAND = "jaxdlb"
INSTALLED = __package__ != "train"
LAUNCHERS: Mapping[str, str] = {
    "train": "trains, compares with the heuristics, writes the run's folder; goes on with a run; sweeps",
    "evaluate": "evaluates a run's policy again, on the same or other clusters",
    "compare": "compares algorithms over tasks and training seeds: what several runs came to",
    "simulate": "plays a game for a given time, without any training",
    "sweep": "plays every rule at each of several values of a parameter, without any training",
    "certify": "solves a small game exactly: how far policies are from the best, and what deviating would bring",
    "render": "draws a game as an animated GIF",
    "robustness": "trains and compares on every cluster of a suite",
    "frontier": "trains a policy at each of several prices, and compares what it spends and misses with every rule",
    "live_farm": "has rules and policies hand out work to processes that run, and compares how long jobs take",
    "inputs": "writes what comes to the agents of a game in an episode",
    "service": "prints how one node of a serverless network serves requests",
}
_NAMED = re.compile(
    rf"\bpython\s+-m\s+(train(?:\.\w+)?)\b|(?<![\w./-])(train\.(?:{'|'.join(LAUNCHERS)}))\b",
)


def words(module: str, *, installed: bool = INSTALLED) -> list[str]:
    """The words that start a launcher, `module` being its name in a checkout: train, or train.evaluate."""
    return [COMMAND, module.removeprefix("train.")] if installed else ["python", "-m", module]


def as_called(text: str, *, installed: bool = INSTALLED) -> str:
    """A text that names launchers as they are called in a checkout, with the names that its reader calls them by."""
    if not installed:
        return text
    return _NAMED.sub(lambda found: " ".join(words(found[1] or found[2], installed=True)), text)
