"""The tables of the pages say what the code does: most are written from the declarations, the rest is checked here."""

import functools
import json
import re
import tempfile
import tomllib
from pathlib import Path

import doc_pages
import pytest
from doc_pages import PAGES, ROOT, name_of, spans
from omegaconf import OmegaConf

from docs import tables, validation
from docs.validation_tails import CASES as TAILS
from jaxdlb import evaluation
from jaxdlb.games import GAMES
from jaxdlb.games.dlb import DLB
from jaxdlb.learners import LEARNERS
from jaxdlb.mechanics.peer_view import Own, Peer
from jaxdlb.policies import make_heuristic
from train import build, compose, paths, provenance

HEURISTICS = GAMES["dlb"].heuristics
WRITTEN = tables.tables()
VALUES = {"true": True, "false": False, "null": None}


def value_of(cell):
    """The value that a cell shows."""
    text = cell.strip("`")
    if text in VALUES:
        return VALUES[text]
    if re.fullmatch(r"\d+\.\d+", text):
        return float(text)
    return int(text) if text.isdigit() else [int(each) for each in re.findall(r"\d+", text)] or text


def names(table):
    """The names in the first column, one or more a row."""
    return [name for row in table.rows for name in spans(row[0])]


@functools.cache
def composed(*overrides):
    return compose.from_conf(overrides)


def check_groups(table):
    for group, cell in zip(names(table), table.column("choices"), strict=True):
        choices = {path.stem for path in (paths.CONF / group).glob("*.yaml")}
        assert {span for span in spans(cell) if re.fullmatch(r"\w+", span)} == choices, group
    folders = [path for path in paths.CONF.rglob("*") if path.is_dir() and list(path.glob("*.yaml"))]
    assert set(names(table)) == {path.relative_to(paths.CONF).as_posix() for path in folders}


def check_heuristics(table):
    assert names(table) == list(HEURISTICS)
    for name, cell in zip(names(table), table.column("options"), strict=True):
        options = {option: value_of(value) for option, value in re.findall(r"`(\w+)` = ([\w.]+)", cell)}
        assert tuple(options) == HEURISTICS[name].options
        assert make_heuristic(HEURISTICS, name, **options) == make_heuristic(HEURISTICS, name)


def check_json(table):
    one = evaluation.Estimate(0.0, 0.0, 0.0)
    result = evaluation.PolicyResult("local", "heuristic", {"utility": one}, {"utility": one})
    found = evaluation.to_json(evaluation.Evaluation((result,), "local", {"utility": ("utility", "")}, 2, 2, 0, {}))
    assert set(names(table)) == set(found)
    fields = {"name", "kind", "columns", "differences", "num_seeds", "part_of", "interquartile"}
    assert fields == set(found["results"][0]) <= set(spans(table.rows[0][1]))


def check_provenance(table):
    settings = compose.settings(compose.from_conf([]), [])
    with tempfile.TemporaryDirectory() as folder:
        provenance.write(Path(folder), settings, build.scenario(settings.game), "", update=0)
        found = json.loads((Path(folder) / provenance.FILE).read_text(encoding="utf-8"))
    assert names(table) == list(found)
    _, resolved, launches = table.column("value")
    assert set(found["resolved"]) <= set(spans(resolved))
    assert set(found["launches"][0]) <= set(spans(launches))


def check_networks(table):
    assert set(names(table)) == {path.stem for path in (paths.CONF / "network").glob("*.yaml")}
    settings = [span for header in table.header for span in spans(header)]
    for name, *cells in table.rows:
        node = OmegaConf.to_container(composed(f"network={name.strip('`')}").network)
        assert [value_of(cell) for cell in cells] == [node[setting] for setting in settings], name


def check_extras(table):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(names(table)) == set(project["optional-dependencies"])


def check_versions(table):
    """The lower bounds that are declared, and the versions that are pinned; the newest are those of the day."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [f"python{project['requires-python']}", *project["dependencies"]]
    declared += [each for extra in project["optional-dependencies"].values() for each in extra]
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(declared), re.MULTILINE))
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pins["python"] = bounds["python"]
    for name, oldest, tested in zip(names(table), table.column("oldest"), table.column("tested"), strict=True):
        assert re.fullmatch(rf"{re.escape(bounds[name])}(\.0)*", oldest), name
        assert tested == pins[name], name


def names_are(expected):
    def check(table):
        assert names(table) == list(expected)

    return check


def check_validation(cases):
    """The simulated numbers are those of the day when the page was written; what theory says of them is of today."""

    def check(table):
        expected = [
            [case.name, case.game.columns[name].header, validation.theoretical(exact)]
            for case in cases()
            for name, exact in case.exact.items()
        ]
        assert [row[:3] for row in table.rows] == expected

    return check


def check_slow_rounds(table):
    assert [table.header, *table.rows] == validation.slow_rounds()


def check_power_of_two(table):
    """Theory is of today, and intervals that were simulated lie within 2% of it."""
    expected = [(str(k), validation.theoretical(x)) for case in TAILS for k, x in enumerate(case.fixed_point, start=1)]
    assert list(zip(table.column("at least"), table.column("fixed point"), strict=True)) == expected
    for cell in table.column("difference"):
        off, half = map(float, cell.split(" ± "))
        assert abs(off) + half < 2


def check_chains(table):
    assert all(float(cell) < 1e-6 for cell in table.column("largest difference"))


def check_solved_heuristics(table):
    """All but those that the page names as left out; and none is far from what was simulated."""
    assert set(HEURISTICS) - {name.strip("`") for name in names(table)} == {"round_robin", "surplus_split"}
    assert all(abs(float(cell)) < 2 for cell in table.column("difference"))


CHECKS = {
    "own columns": names_are(column.name for column in Own),
    "peer columns": names_are(column.name for column in Peer),
    "networks": check_networks,
    "heuristics": check_heuristics,
    "json": check_json,
    "provenance": check_provenance,
    "groups": check_groups,
    "extras": check_extras,
    "versions": check_versions,
    "validation power of two": check_power_of_two,
    "validation slow rounds": check_slow_rounds,
    "validation chains": check_chains,
    "validation heuristics": check_solved_heuristics,
    **{name: check_validation(cases) for name, cases in validation.SECTIONS.items()},
}
TABLES = [(page, table) for page in PAGES for table in doc_pages.tables(page)]
NAMED = {table.name: table for _, table in TABLES if table.name}


def test_every_named_table_is_written_or_checked_once():
    assert len([table for _, table in TABLES if table.name]) == len(NAMED)
    assert not set(WRITTEN) & set(CHECKS)
    assert set(CHECKS) <= set(NAMED) <= set(CHECKS) | set(WRITTEN)
    unchecked = [name_of(page) for page, table in TABLES if "default" in table.header and not table.name]
    assert not unchecked


def test_every_game_and_learner_has_its_tables():
    for name in GAMES:
        assert {f"{name} {what}" for what in ("sizes", "params", "metrics", "columns")} <= set(NAMED)
    for name, entry in LEARNERS.items():
        same = [other for other, each in LEARNERS.items() if issubclass(entry.config, each.config)]
        assert any(f"{each} settings" in NAMED for each in same), name


@pytest.mark.parametrize("name", CHECKS)
def test_a_table_says_what_the_code_does(name):
    CHECKS[name](NAMED[name])


def test_the_tables_are_those_that_the_declarations_give(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("| `migration_cost` | c_m | [] | 0.1 |", "| `migration_cost` | c_m | [] | 0.2 |"),
        ("| an integer in [0, max_delay] |", "| an integer in [0, 9] |"),
        ("| `horizon` |", "| `horizons` |"),
    ],
)
def test_a_table_that_is_wrong_would_be_noticed(right, wrong):
    page = (ROOT / "docs" / "games" / "dlb.md").read_text(encoding="utf-8")
    assert right in page
    assert tables.with_tables(page.replace(right, wrong), WRITTEN) == page


def test_what_a_table_shows_as_default_is_what_the_game_takes():
    params = DLB().default_params()
    rows = {name: row for name, row in zip(names(NAMED["dlb params"]), NAMED["dlb params"].rows, strict=True)}
    for name in ("migration_cost", "drop_cost", "transfer_delay", "heartbeat_period", "horizon"):
        assert float(rows[name][3]) == pytest.approx(float(getattr(params, name)))
