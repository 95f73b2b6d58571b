"""Things by name: those listed, those of a user's own package, and those that an installed package announces."""

import importlib
import sys

import pytest
from reference import ticking

import jaxdlb
from jaxdlb.catalogue import Catalogue
from jaxdlb.checks import did_you_mean, nearest
from jaxdlb.game import Entry
from jaxdlb.games import GAMES
from jaxdlb.policies import NODE_HEURISTICS, find_family

FRUIT = Catalogue("fruit", {"apple": 1, "pear": 2}, group="jaxdlb.tests.fruit", of=int)

MODULE = """
from reference import ticking

ENTRY = ticking.ENTRY
FRESH = ticking.EAGER
QUINCE = 7
TEXT = "no number"
"""

ENTRY_POINTS = """
[jaxdlb.tests.fruit]
quince = orchard.trees:QUINCE
text = orchard.trees:TEXT
gone = orchard.trees:GONE
missing = orchard.nowhere:QUINCE
apple = orchard.trees:QUINCE
[jaxdlb.games]
clockwork = orchard.trees:ENTRY
[jaxdlb.heuristics]
fresh = orchard.trees:FRESH
"""


@pytest.fixture
def orchard(tmp_path, monkeypatch):
    """A distribution as pip would have installed it: a package, its metadata, its entry points."""
    package = tmp_path / "orchard"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "trees.py").write_text(MODULE)
    (package / "broken.py").write_text("import nothing_of_that_name\n")
    (package / "faulty.py").write_text("object().attribute\n")
    metadata = tmp_path / "orchard-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "orchard"]:
        del sys.modules[name]


def refusal(call, *arguments, **keywords):
    with pytest.raises(ValueError) as raised:
        call(*arguments, **keywords)
    return str(raised.value)


def test_a_catalogue_is_a_mapping_of_what_is_listed():
    assert dict(FRUIT) == {"apple": 1, "pear": 2}
    assert (FRUIT["pear"], len(FRUIT), list(FRUIT), "plum" in FRUIT) == (2, 2, ["apple", "pear"], False)
    assert repr(FRUIT) == "Catalogue(fruit: apple, pear)"
    assert FRUIT.find("pear") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aple", "fruit is 'aple'; it must be one of apple, pear; did you mean 'apple'?"),
        ("xyz", "fruit is 'xyz'; it must be one of apple, pear"),
        ("", "fruit is ''; it must be one of apple, pear"),
        (None, "fruit is None; it must be one of apple, pear"),
        (3, "fruit is 3; it must be one of apple, pear"),
        (["pear"], "fruit is ['pear']; it must be one of apple, pear; did you mean 'pear'?"),
    ],
)
def test_what_is_unknown_is_refused_with_the_known_names_and_the_nearest(name, message):
    assert refusal(FRUIT.find, name) == message


def test_an_object_of_any_module_is_found(orchard):
    assert FRUIT.find("orchard.trees:QUINCE") == 7


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("nowhere.at.all:X", "and 'nowhere.at.all' cannot be imported (No module named 'nowhere')"),
        ("orchard.trees:PLUM", "and 'orchard.trees' has no 'PLUM'"),
        ("orchard.trees:", "and 'orchard.trees' has no ''"),
        (":QUINCE", "and '' cannot be imported (Empty module name)"),
        ("orchard.broken:X", "and 'orchard.broken' cannot be imported (No module named 'nothing_of_that_name')"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(orchard, name, rest):
    assert refusal(FRUIT.find, name) == f"fruit is {name!r}; it must be package.module:OBJECT, {rest}"


def test_a_relative_module_is_refused():
    assert "'.trees' cannot be imported" in refusal(FRUIT.find, ".trees:QUINCE")


def test_a_mistake_in_the_users_own_module_is_shown_as_it_is(orchard):
    """A traceback into that module says more than any sentence of ours."""
    with pytest.raises(AttributeError, match="attribute"):
        FRUIT.find("orchard.faulty:X")


def test_an_object_of_another_class_is_refused(orchard):
    expected = "it must be package.module:OBJECT of the class int, and this is 'no number'"
    assert refusal(FRUIT.find, "orchard.trees:TEXT") == f"fruit is 'orchard.trees:TEXT'; {expected}"
    assert refusal(FRUIT.find, "text") == f"fruit is 'text'; {expected}"


def test_what_an_installed_package_announces_is_found_by_its_name(orchard):
    assert FRUIT.find("quince") == 7
    assert FRUIT.find("apple") == 1  # what is listed goes first
    known = "apple, pear, quince, text, gone, missing"
    assert refusal(FRUIT.find, "quinc") == f"fruit is 'quinc'; it must be one of {known}; did you mean 'quince'?"


def test_what_is_announced_and_not_there_is_refused_with_the_reason(orchard):
    assert refusal(FRUIT.find, "gone").endswith("and 'orchard.trees' has no 'GONE'")
    assert refusal(FRUIT.find, "missing").endswith(
        "and 'orchard.nowhere' cannot be imported (No module named 'orchard.nowhere')"
    )


def test_a_catalogue_without_a_group_knows_what_is_listed_alone(orchard):
    closed = Catalogue("fruit", {"apple": 1})
    assert refusal(closed.find, "orchard.trees:QUINCE") == "fruit is 'orchard.trees:QUINCE'; it must be one of apple"
    assert refusal(closed.find, "quince") == "fruit is 'quince'; it must be one of apple"


# Games and heuristics


@pytest.mark.parametrize("name", ["reference.ticking:ENTRY", "orchard.trees:ENTRY", "clockwork"])
def test_a_game_of_a_users_own_package_is_made_like_any_other(orchard, name):
    assert jaxdlb.make(name, num_workers=3) == ticking.Ticking(num_workers=3)
    assert "workers is not a size of" in refusal(jaxdlb.make, name, workers=3)


def test_every_game_listed_is_an_entry_under_its_own_name():
    assert all(isinstance(entry, Entry) and entry.name == entry.game.name == name for name, entry in GAMES.items())


def test_what_is_no_game_is_refused(orchard):
    assert "of the class Entry, and this is 7" in refusal(jaxdlb.make, "orchard.trees:QUINCE")


@pytest.mark.parametrize("name", ["reference.ticking:EAGER", "orchard.trees:FRESH", "fresh"])
def test_a_heuristic_of_a_users_own_package_is_made_like_any_other(orchard, name):
    assert jaxdlb.heuristic(name, rest=5).name == "eager(rest=5)"
    assert find_family(NODE_HEURISTICS, name) is ticking.EAGER
    assert refusal(jaxdlb.heuristic, name, test=5).endswith("its options are rest; did you mean rest?")


def test_what_is_no_heuristic_is_refused(orchard):
    assert "of the class Family, and this is 7" in refusal(jaxdlb.heuristic, "orchard.trees:QUINCE")


def test_a_name_of_two_games_is_the_first_ones_unless_the_game_is_said():
    first, other = jaxdlb.heuristic("local"), jaxdlb.heuristic("local", game="edge")
    assert first == jaxdlb.heuristic("local", game="dlb") == jaxdlb.heuristic("local", game="rack")
    assert type(first) is not type(other)
    assert jaxdlb.heuristic("water_level") == jaxdlb.heuristic("water_level", game="edge")


def test_a_heuristic_may_be_asked_of_a_game_that_is_not_listed(orchard):
    assert jaxdlb.heuristic("eager", game="clockwork").name == "eager(rest=3)"
    assert refusal(jaxdlb.heuristic, "local", game="clockwork").startswith(
        "heuristic is 'local'; it must be one of idle"
    )


# Names that are alike


def test_the_nearest_name():
    assert nearest("migration", ["migration_cost", "steal_cost"]) == "migration_cost"
    assert nearest("zzz", ["migration_cost"]) is None
    assert did_you_mean("steel", ["steal"]) == "; did you mean steal?"
    assert did_you_mean("zzz", ["steal"]) == ""
    assert did_you_mean("steel", []) == ""
