"""Writes the tables of the documentation from the code's own declarations: `python -m docs.tables [--check]`.

Above each table in a page, a comment names it, as in `<!-- table: dlb params -->`. The tables named here are rewritten
in place; all others are written by hand. With --check nothing is written, and the exit status is 1 if a page would
change.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from jaxdlb.descriptions import describe, describe_laws, meanings
from jaxdlb.game import Entry
from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS, Evolution
from jaxdlb.networks import NetworkConfig
from jaxdlb.parameters import declarations
from jaxdlb.ranges import flat
from train import (
    build,
    certify,
    compare,
    compose,
    config,
    evaluate,
    frontier,
    inputs,
    live_farm,
    render,
    robustness,
    service,
    simulate,
    sweep,
)
from train.settings import (
    AcrossSettings,
    DistributedSettings,
    EvaluationSettings,
    FrontierSettings,
    LearnerSettings,
    Settings,
    WandbSettings,
)

ROOT = Path(__file__).resolve().parents[1]
Rows = list[list[str]]
MARKER = "<!-- table: "


def main(arguments: list[str] | None = None) -> int:
    """Write the tables or, with --check, say which pages would change."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page would change")
    check = parser.parse_args(arguments).check
    pages = {page: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))}
    written = {page: with_tables(text, tables()) for page, text in pages.items()}
    changed = [page for page in pages if written[page] != pages[page]]
    for page in changed:
        print(f"{page.relative_to(ROOT)} {'disagrees with the code; run make docs' if check else 'written'}")
        if not check:
            page.write_text(written[page], encoding="utf-8")
    return 1 if check and changed else 0


def with_tables(text: str, known: Mapping[str, Callable[[], Rows]]) -> str:
    """A page in which every table that is `known`, by its name, replaces the one under its comment."""
    lines, kept, skipping = text.split("\n"), [], False
    for line in lines:
        skipping = skipping and line.startswith("|")
        if skipping:
            continue
        kept.append(line)
        name = line.removeprefix(MARKER).removesuffix(" -->")
        if line.startswith(MARKER) and name in known:
            kept += markdown(known[name]())
            skipping = True
    return "\n".join(kept)


def tables() -> dict[str, Callable[[], Rows]]:
    """A function that makes each table, by the name in its comment; the first row is the header."""
    of_games = {
        f"{name} {what}": (lambda make=make, entry=entry: make(entry))
        for name, entry in GAMES.items()
        for what, make in GAME_TABLES.items()
    }
    of_learners = {f"{name} settings": (lambda each=each: settings(each.config)) for name, each in LEARNERS.items()}
    return {
        **of_games,
        **of_learners,
        "network settings": lambda: settings(NetworkConfig),
        "evolution settings": lambda: settings(Evolution, key="key, under `learner.evolution`"),
        "config top": lambda: keys("", Settings),
        "config evaluation": lambda: keys("evaluation", EvaluationSettings),
        "config distributed": lambda: keys("distributed", DistributedSettings),
        "config learner": lambda: own_keys(LearnerSettings, LearnerSettings()),
        "config logger=wandb": lambda: keys("logger", WandbSettings, "logger=wandb"),
        "config certify": lambda: own_keys(certify.CertifySettings, certify.CertifySettings()),
        "config compare": lambda: own_keys(compare.CompareSettings, compare.CompareSettings()),
        "config evaluate": lambda: own_keys(evaluate.EvaluateSettings, evaluate.EvaluateSettings()),
        "config robustness": lambda: own_keys(robustness.RobustnessSettings, robustness.RobustnessSettings()),
        "config simulate": lambda: own_keys(simulate.SimulateSettings, simulate.SimulateSettings()),
        "config sweep": lambda: own_keys(sweep.SweepSettings, sweep.SweepSettings()),
        "config frontier": lambda: own_keys(frontier.FrontierSettings, frontier.FrontierSettings()),
        "config live": lambda: own_keys(live_farm.LiveSettings, live_farm.LiveSettings()),
        "config across": lambda: keys("across", AcrossSettings),
        "config evaluation.frontier": lambda: keys("evaluation.frontier", FrontierSettings),
        "config inputs": lambda: own_keys(inputs.InputsSettings, inputs.InputsSettings()),
        "config service": lambda: settings(service.SETTINGS, key="key"),
        "config render": lambda: own_keys(render.RenderSettings, render.RenderSettings()),
    }


def markdown(rows: Rows) -> list[str]:
    """The lines of a table."""
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [
        "|".join(["", *(f" {cell} " if cell else " " for cell in row), ""])
        for row in (header, ["---"] * len(header), *body)
    ]


def sizes(entry: Entry) -> Rows:
    """A game's sizes."""
    header = ["size", "symbol", "default", "allowed", "meaning"]
    return [header, *([_code(d.name), d.symbol, d.default, d.allowed, d.meaning] for d in describe(entry.game))]


def params(entry: Entry) -> Rows:
    """A game's parameters, preceded by the shorthands that set some of them."""
    header = ["field", "symbol", "shape", "default", "allowed", "meaning"]
    short = [
        [
            _code(name),
            "",
            "[]",
            "" if each.optional else f"{each.default:g}",
            str(each.allowed).removeprefix("a finite number "),
            each.meaning,
        ]
        for name, each in entry.shorthands.items()
    ]
    sets = {field: name for name, each in entry.shorthands.items() if not each.optional for field in each.sets}
    rows = [
        [
            _code(d.name),
            d.symbol,
            d.shape or "",
            f"by `{sets[d.name]}`" if d.name in sets else d.default,
            "a law" if d.allowed.startswith("a law") else d.allowed,
            d.meaning,
        ]
        for d in describe(entry.params)
    ]
    return [header, *short, *rows]


def laws(entry: Entry) -> Rows:
    """The laws that a game's parameters may follow, and their fields."""
    rows: Rows = [["parameter", "kind", "field", "default", "allowed", "meaning"]]
    for name, declaration in declarations(entry.params).items():
        described = describe_laws(declaration)
        for kind, law in (declaration.laws or {}).items():
            fields = [[_code(d.name), d.default or "must be given", d.allowed, d.meaning] for d in described[kind]]
            rows += [[_code(name), _code(kind), *row] for row in fields or [["", "", "", _first_line(law)]]]
    return rows


def metrics(entry: Entry) -> Rows:
    """A game's metrics."""
    return [["metric", "meaning"], *([_code(name), meaning] for name, meaning in entry.game().metrics.items())]


def columns(entry: Entry) -> Rows:
    """The columns of a game's tables."""
    found = entry.game().columns
    rows = [[_code(name), "–, but warned of" if c.warning else c.header, c.meaning] for name, c in found.items()]
    return [["column", "in tables", "meaning"], *rows]


def recorded(entry: Entry) -> Rows:
    """The settings of a game's recorded input."""
    if entry.recorded is None:
        raise ValueError(f"{entry.name} takes no recorded input")
    return settings(entry.recorded, key="key, under `game.trace`")


def ranges(entry: Entry) -> Rows:
    """The ranges in the game's preset for random instances, `conf/game/<name>_randomised.yaml`."""
    preset = f"{entry.name}_randomised"
    given = build.given_ranges(compose.settings(compose.from_conf([f"game={preset}"]), []).game.randomise)
    rows = [[_code(name), str(list(bounds))] for name, bounds in flat(given).items()]
    return [["key, under `game.randomise`", f"in `game={preset}`"], *rows]


def grids(entry: Entry) -> Rows:
    """The values of each option that are tried when a game's heuristics are tuned."""
    game = entry.game()
    tried: dict[str, Iterable[Any]] = {}
    for family in entry.heuristics.values():
        tried |= family.grid(game) if family.grid else {}
    rows = [
        [_code(name), ", ".join(_plain(each) for each in values)] for name, values in tried.items() if name != "width"
    ]
    return [["options", "grid"], *rows]


def boxes(entry: Entry) -> Rows:
    """Where each option is searched when a game's heuristics are tuned."""
    game = entry.game()
    spans = {name: span for each in entry.heuristics.values() if each.box for name, span in each.box(game).items()}
    rows = [
        [_code(name), _plain(span.low), _plain(span.high), "logarithmic" if span.logarithmic else "linear"]
        for name, span in spans.items()
    ]
    return [["options", "from", "to", "scale"], *rows]


GAME_TABLES: Mapping[str, Callable[[Entry], Rows]] = {
    "sizes": sizes,
    "params": params,
    "laws": laws,
    "metrics": metrics,
    "columns": columns,
    "recorded": recorded,
    "ranges": ranges,
    "grids": grids,
    "boxes": boxes,
}


def settings(declared: type, key: str = "setting") -> Rows:
    """The declared settings of a learner, a network or a recorded input; without a column that has no entry."""
    header = [key, "symbol", "default", "allowed", "meaning"]
    rows = [[_code(d.name), d.symbol, d.default, d.allowed, d.meaning] for d in describe(declared)]
    kept = [any(column) for column in zip(*rows, strict=True)]
    return [list(itertools.compress(row, kept)) for row in (header, *rows)]


def keys(path: str, schema: type, *overrides: str) -> Rows:
    """The keys of a group of settings, except for groups within it, with the defaults of the command line."""
    given = compose.from_conf(list(overrides))
    node = OmegaConf.to_container(OmegaConf.select(given, path) if path else given, throw_on_missing=False)
    assert isinstance(node, dict)
    words = config.words_of(schema)
    plain = {str(name): value for name, value in node.items() if not isinstance(value, dict) and name != "hydra"}
    first = f"key, under `{path}`" if path else "key"
    return [[first, "default", "meaning"], *([_code(k), _plain(v), words.get(k, "")] for k, v in plain.items())]


def own_keys(type_: Any, defaults: Any, key: str = "key") -> Rows:
    """The keys that a dataclass adds to those it inherits."""
    words = meanings(type_)
    rows = [[_code(name), _plain(getattr(defaults, name)), words[name]] for name in type_.__annotations__]
    return [[key, "default", "meaning"], *rows]


def _first_line(type_: type) -> str:
    return (type_.__doc__ or "").split("\n")[0]


def _plain(value: Any) -> str:
    """A value as the command line takes it."""
    if value == "???":
        return "(must be given)"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    sys.exit(main())
