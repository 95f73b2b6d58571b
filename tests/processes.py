"""Processes that tests start as users would."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def own_environment(root: Path = ROOT) -> dict[str, str]:
    """The environment of a process that imports from `root` and compiles as it does for users, not for the suite."""
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return own | {"PYTHONPATH": str(root)}


def quick_environment(root: Path = ROOT) -> dict[str, str]:
    """The same, compiling as the suite does: for what is said of processes, whatever they compute."""
    return own_environment(root) | {"PYTHONUNBUFFERED": "1", "XLA_FLAGS": os.environ["XLA_FLAGS"]}
