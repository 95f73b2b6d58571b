"""What a benchmark says: on which machine it ran, a table to read, and the same as JSON."""

import argparse
import dataclasses
import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import jaxlib

import jaxdlb
from benchmarks import devices
from benchmarks.timing import Spread
from jaxdlb.writing import quantity

MIB = 2**20
_TO_STDOUT = "-"


class Parser(argparse.ArgumentParser):
    """The options that all benchmarks share; a wrong argument is answered by one sentence and exit status 2."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        self.add_argument(
            "--json", type=_writable_path, metavar="PATH", help="also write the results as JSON; - for standard output"
        )
        self.add_argument("--repeats", type=count, default=5, help="timed repeats, of which the median is reported")
        self.add_argument(
            "--min-seconds", type=positive, default=0.1, help="least time of a repeat, filled with calls of the program"
        )
        self.add_argument("--seed", type=int, default=0, help="of the random numbers")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def count(text: str) -> int:
    """An integer ≥ 1 from the command line."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not an integer ≥ 1")
    return value


def positive(text: str) -> float:
    """A finite number > 0 from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number > 0")
    return value


def setting(text: str) -> tuple[str, Any]:
    """A name and its value from `name=value` on the command line; what is no JSON is a word."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text} is not of the form name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _writable_path(text: str) -> str:
    """A path to write to; refused before anything is measured if it cannot be written."""
    path = Path(text)
    folder = path.parent
    if text != _TO_STDOUT and (path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{text} cannot be written; it must be a file in an existing, writable folder")
    return text


def machine(device: jax.Device) -> dict[str, Any]:
    """What the numbers were measured on, and how busy the machine already was (one-minute load average)."""
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "num_devices": jax.device_count(),
        "cpu_model": _cpu_model(),
        "cores": devices.usable_cores(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "jaxdlb": jaxdlb.__version__,
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def publish(
    destination: str | None, device: jax.Device, settings: dict[str, Any], results: list[dict[str, Any]], text: str
) -> None:
    """Print `text` under a description of the machine, and write everything as JSON where `--json` says.

    With `-` standard output holds the JSON alone, and the text goes to standard error.
    """
    about = machine(device)
    heading = (
        "{platform}: {num_devices} × {device_kind}, jax {jax}\n"
        "{cpu_model}, {cores} cores, load average {load_average:.1f}\n".format(**about)
    )
    print(heading + text, file=sys.stderr if destination == _TO_STDOUT else sys.stdout)
    if destination is None:
        return
    document = {"machine": about, "settings": settings, "results": results}
    encoded = json.dumps(document, indent=2, default=dataclasses.asdict) + "\n"
    if destination == _TO_STDOUT:
        sys.stdout.write(encoded)
    else:
        Path(destination).write_text(encoded)


def progress(text: str) -> None:
    """Say on standard error what is being measured."""
    print(f"measuring {text}", file=sys.stderr, flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned to the right under their headers."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (headers, *rows)]
    return "\n".join(lines) + "\n"


def with_range(values: Spread) -> str:
    """The median, and the least and greatest measured."""
    return f"{quantity(values.median)} ({quantity(values.low)}–{quantity(values.high)})"


def mebibytes(num_bytes: int | None) -> str:
    """Bytes in MiB, or a dash where they are not known."""
    return "–" if num_bytes is None else f"{num_bytes / MIB:.1f}"
