"""The tables of the pages say what the code does: names, defaults, and what is allowed, tried at both ends."""

import dataclasses
import functools
import math
import re

import doc_pages
import numpy as np
import pytest
from doc_pages import PAGES, name_of, spans
from omegaconf import OmegaConf

from jaxdlb import evaluation
from jaxdlb.evaluation.tuning import GRIDS
from jaxdlb.games.dlb import DLB, Params, Ranges
from jaxdlb.games.dlb.game import METRICS
from jaxdlb.learners import MAPPOConfig
from jaxdlb.mechanics.arrivals import Constant
from jaxdlb.mechanics.peer_view import Own, Peer
from jaxdlb.networks import NetworkConfig
from jaxdlb.policies import HEURISTICS, heuristic, options_of
from train import compose, config, evaluate, render

GAME = DLB(heartbeats="per_link")
SPEEDS = np.linspace(0.2, 0.9, GAME.num_nodes)
WORDS = {
    "linspace": np.linspace,
    "mean": np.mean,
    "N": GAME.num_nodes,
    "q": SPEEDS,
    "true": True,
    "false": False,
    "null": None,
}
BOUNDS = {"D": GAME.max_delay, "K": GAME.capacity}
MANDATORY = "(must be given)"


def value_of(cell):
    """The value that a cell shows; what cannot be evaluated is a word. A remark in parentheses is left out."""
    text = cell.strip("`") if cell == MANDATORY else cell.partition(" (")[0].strip("`") or cell
    try:
        return eval(text.replace("·", "*"), {"__builtins__": {}}, WORDS)
    except (NameError, SyntaxError):
        return text


def value_of_default(cell):
    """As `value_of`, but calls of functions are whole."""
    try:
        return eval(cell.replace("·", "*"), {"__builtins__": {}}, WORDS)
    except (NameError, SyntaxError):
        return value_of(cell)


def same(shown, default):
    if isinstance(shown, str) or shown is None or isinstance(shown, bool):
        return shown == default and type(shown) is type(default)
    return np.allclose(np.asarray(default, np.float64), shown, rtol=1e-6)


def names(table):
    """The names in the first column, one or more a row."""
    return [name for row in table.rows for name in spans(row[0])]


def defaults(table):
    return dict(zip(names(table), map(value_of_default, table.column("default")), strict=True))


def assert_defaults(table, expected):
    shown = defaults(table)
    assert list(shown) == list(expected)
    wrong = {name: value for name, value in shown.items() if not same(value, expected[name])}
    assert not wrong, f"{wrong} are { ({name: expected[name] for name in wrong}) }"


def tries(allowed):
    """Values that the text of a cell allows, and values that it does not."""
    choices = spans(allowed)
    if choices:
        return choices, ["nonsense"]
    whole = "integer" in allowed
    nudge, far = (1, 1_000_000) if whole else (1e-3, 1e6)
    inside, outside = [], [math.nan, math.inf, -math.inf] + [1.5] * whole
    interval = re.search(r"([\[(])(\w+), (\w+)([\])])", allowed)
    above = re.search(r"([≥>]) (\w+)$", allowed)
    if interval:
        low, high = (BOUNDS.get(end) if end in BOUNDS else int(end) for end in interval.group(2, 3))
        ends = [(low, interval[1] == "[", -nudge), (high, interval[4] == "]", nudge)]
    elif above:
        ends = [(int(above[2]), above[1] == "≥", -nudge), (far, True, math.inf)]
    else:
        assert allowed == "finite", allowed
        ends = [(-far, True, -math.inf), (far, True, math.inf)]
    for end, closed, beyond in ends:
        inside.append(end if closed else end - beyond)
        outside.append(end + beyond if closed else end)
    return inside, outside


def assert_allowed(table, accept):
    """`accept(name, value)` raises ValueError exactly where a row says that a value is not allowed."""
    for name, cell in zip(names(table), table.column("allowed"), strict=True):
        if not cell or cell == "a law":
            continue
        inside, outside = tries(cell)
        for value in inside:
            accept(name, value)
        for value in outside:
            with pytest.raises(ValueError, match=name):
                accept(name, value)


def fields(type_):
    return {field.name: field.default for field in dataclasses.fields(type_)}


def check_sizes(table):
    assert_defaults(table, fields(DLB))
    assert_allowed(table, lambda name, value: DLB(**{name: value}))


def check_params(table):
    params = GAME.default_params()
    expected = {field.name: getattr(params, field.name) for field in dataclasses.fields(Params)}
    assert isinstance(expected["arrival_modulation"], Constant)
    assert_defaults(table, expected | {"arrival_modulation": "constant"})
    assert_allowed(table, lambda name, value: GAME.validate(GAME.default_params(**{name: value})))
    shapes = [f"[{'N' if np.ndim(value) else ''}]" for value in expected.values()]
    shapes[list(expected).index("arrival_modulation")] = ""
    assert table.column("shape") == shapes


def check_modulations(table):
    rows = list(zip(names_of(table, "law"), names_of(table, "setting"), strict=True))
    laws = config.MODULATIONS
    expected = [
        (kind, name) for kind, law in laws.items() for name in [f.name for f in dataclasses.fields(law)] or [None]
    ]
    assert rows == expected
    cells = zip(rows, map(value_of, table.column("default")), table.column("allowed"), strict=True)
    for (kind, name), default, allowed in cells:
        if name is None:
            continue
        assert same(default, fields(laws[kind])[name])
        inside, outside = tries(allowed)
        for value in inside:
            laws[kind](**{name: value}).validate()
        for value in outside:
            with pytest.raises(ValueError, match=name):
                laws[kind](**{name: value}).validate()


def names_of(table, title):
    return [next(iter(spans(cell)), None) for cell in table.column(title)]


def check_ranges(table):
    shown = dict(zip(names(table), map(value_of, table.column("in ")), strict=True))
    assert list(shown) == list(fields(Ranges))
    assert shown == plain(("game=dlb_randomised",), "game.randomise")


@functools.cache
def composed(*overrides):
    return compose.from_conf(overrides)


def plain(overrides, path):
    node = composed(*overrides)
    return OmegaConf.to_container(OmegaConf.select(node, path) if path else node)


def check_config(path, *overrides, without=(), whole=True):
    """Every key at `path`, in whatever order, or some of them."""

    def check(table):
        node = plain(overrides, path)
        keys = set(node) - set(without)
        keys -= {name for name in keys if isinstance(node[name], dict)}
        shown = set(names(table))
        assert shown == keys if whole else shown <= keys
        assert_defaults(table, {name: node[name] for name in names(table)})

    return check


def check_own_keys(schema):
    """The keys that a command has beside those of the settings it builds on."""

    def check(table):
        expected = {name: fields(schema)[name] for name in schema.__annotations__}
        order = names(table)
        assert set(order) == set(expected)
        assert_defaults(table, {name: MANDATORY if expected[name] == "???" else expected[name] for name in order})

    return check


def check_groups(table):
    for group, cell in zip(names(table), table.column("choices"), strict=True):
        choices = {path.stem for path in (config.CONF / group).glob("*.yaml")}
        assert {span for span in spans(cell) if re.fullmatch(r"\w+", span)} == choices, group
    folders = [path for path in config.CONF.rglob("*") if path.is_dir() and list(path.glob("*.yaml"))]
    assert set(names(table)) == {path.relative_to(config.CONF).as_posix() for path in folders}


def check_heuristics(table):
    assert names(table) == list(HEURISTICS)
    for name, cell in zip(names(table), table.column("options"), strict=True):
        options = {option: value_of(value) for option, value in re.findall(r"`(\w+)` = (\w+)", cell)}
        assert tuple(options) == options_of(name)
        assert heuristic(name, **options) == heuristic(name)


def check_grids(table):
    shown = {
        name: value_of(f"[{row[1].partition(' (')[0]}]") for name, row in zip(names(table), table.rows, strict=True)
    }
    expected = {option: list(values) for grid in GRIDS.values() for option, values in grid.items()}
    assert shown == expected


def check_columns(table):
    expected = {name: header for name, (header, _) in evaluation.COLUMNS.items()}
    assert dict(zip(names(table), table.column("in tables"), strict=True)) == expected


def check_json(table):
    one = evaluation.Estimate(0.0, 0.0, 0.0)
    result = evaluation.PolicyResult("local", "heuristic", {"utility": one}, one)
    found = evaluation.to_json(evaluation.Evaluation((result,), "local", 2, 2, 0, {}))
    assert set(names(table)) == set(found)
    assert {"name", "kind", "columns", "difference"} == set(found["results"][0]) <= set(spans(table.rows[0][1]))


def names_are(expected):
    def check(table):
        assert names(table) == list(expected)

    return check


def check_network(table):
    assert_defaults(table, {name: list(v) if isinstance(v, tuple) else v for name, v in fields(NetworkConfig).items()})


def check_networks(table):
    assert set(names(table)) == {path.stem for path in (config.CONF / "network").glob("*.yaml")}
    settings = [span for header in table.header for span in spans(header)]
    for name, *cells in table.rows:
        node = plain((f"network={name.strip('`')}",), "network")
        assert [value_of(cell) for cell in cells] == [node[setting] for setting in settings], name


def check_learner(table):
    assert_defaults(table, fields(MAPPOConfig))
    assert_allowed(table, lambda name, value: MAPPOConfig(**{name: value}))


CHECKS = {
    "dlb sizes": check_sizes,
    "dlb params": check_params,
    "own columns": names_are(column.name for column in Own),
    "peer columns": names_are(column.name for column in Peer),
    "dlb metrics": names_are(METRICS),
    "modulations": check_modulations,
    "ranges": check_ranges,
    "NetworkConfig": check_network,
    "networks": check_networks,
    "MAPPOConfig": check_learner,
    "heuristics": check_heuristics,
    "grids": check_grids,
    "columns": check_columns,
    "json": check_json,
    "groups": check_groups,
    "config top": check_config("", without=("game", "learner", "network", "logger", "evaluation")),
    "config evaluation": check_config("evaluation"),
    "config game.trace": check_config("game.trace"),
    "config learner, some": check_config("learner", whole=False),
    "config logger=wandb": check_config("logger", "logger=wandb", without=("name",)),
    "config evaluate": check_own_keys(evaluate.EvaluateSettings),
    "config render": check_own_keys(render.RenderSettings),
}
TABLES = [(page, table) for page in PAGES for table in doc_pages.tables(page)]
NAMED = {table.name: table for _, table in TABLES if table.name}


def test_every_table_with_defaults_is_checked_and_every_check_has_its_table():
    assert set(NAMED) == set(CHECKS)
    assert len([table for _, table in TABLES if table.name]) == len(CHECKS)
    unchecked = [name_of(page) for page, table in TABLES if "default" in table.header and not table.name]
    assert not unchecked


@pytest.mark.parametrize("name", CHECKS)
def test_a_table_says_what_the_code_does(name):
    CHECKS[name](NAMED[name])


@pytest.mark.parametrize("name", ["dlb params", "MAPPOConfig", "config evaluation"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_default_that_is_wrong_would_be_noticed(name, place):
    table = NAMED[name]
    column = table.header.index("default")
    rows = [list(row) for row in table.rows]
    rows[place][column] = "12345"
    with pytest.raises(AssertionError):
        CHECKS[name](dataclasses.replace(table, rows=rows))


@pytest.mark.parametrize("wrong", ["≥ 0", "integer ≥ 0", "(0, 1]", "[0, 2]"])
def test_a_range_that_is_wrong_would_be_noticed(wrong):
    table = NAMED["MAPPOConfig"]
    gamma = [list(row) for row in table.rows if "`gamma`" in row[0]]
    gamma[0][table.header.index("allowed")] = wrong
    with pytest.raises((ValueError, pytest.fail.Exception)):
        assert_allowed(dataclasses.replace(table, rows=gamma), lambda name, value: MAPPOConfig(**{name: value}))
