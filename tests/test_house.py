"""The house of architecture.md: arrows run one way, and nobody knows a game or a learner by its name."""

import ast
import re
import sys
import tomllib

import pytest
from house import ROOT, circles, imports, loaded_by, modules, spoken

from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS

# From the ground up: a room may import those of lower floors, and of its own as far as BESIDE allows.
FLOORS = (
    {"annotations", "checks", "compilation", "memory", "writing", "columns"},
    {"game", "spaces", "parameters", "catalogue", "ranges", "descriptions"},
    {"mechanics", "networks", "drawing", "traces", "task_records"},
    {"policies", "recording"},
    {"games", "learners", "evaluation"},
    {"theory", "checkpoint", "live", "testing"},
    {"jaxdlb"},  # its face
    {"train", "benchmarks"},
)
BESIDE = {"games", "learners", "evaluation"}  # on one floor, and none imports another
SEE_THE_REGISTRY = {"jaxdlb", "checkpoint", "theory", "live", "train", "benchmarks"}
HOUSE = ("jaxdlb", "train", "benchmarks")
LAUNCHERS_ONLY = {"hydra", "omegaconf", "wandb", "train", "rich", "pytest", "hypothesis", "tests"}
TO_DRAW = {"matplotlib", "PIL"}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "hydra": "hydra-core",
    "orbax": "orbax-checkpoint",
    "omegaconf": "hydra-core",
    "yaml": "pyyaml",
}


def room(module):
    """The room that a module belongs to: `jaxdlb.policies.rules` to policies; the face of the library to jaxdlb."""
    first, *rest = module.split(".")
    return rest[0] if first == "jaxdlb" and rest else first


def floor(name):
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), None)


def inside():
    """Imports from one room of the house to another."""
    known = modules(*HOUSE)
    return [each for each in imports(*HOUSE) if each.target in known and room(each.source) != room(each.target)]


def test_every_room_has_its_place():
    assert {room(name) for name in modules(*HOUSE) if floor(room(name)) is None} == set()


def test_arrows_run_one_way():
    upwards = [str(each) for each in inside() if floor(room(each.target)) > floor(room(each.source))]
    assert upwards == []


def test_games_learners_and_evaluation_stand_beside_each_other():
    across = [str(each) for each in inside() if {room(each.source), room(each.target)} <= BESIDE]
    assert across == []


def test_rooms_do_not_import_in_a_circle():
    graph = {}
    for each in inside():
        graph.setdefault(room(each.source), set()).add(room(each.target))
    assert circles(graph) == []


def test_modules_do_not_import_in_a_circle():
    """A package's `__init__` gathers what stands in it, and is no party to a circle of its own modules."""
    known = modules(*HOUSE)
    graph = {}
    for each in imports(*HOUSE):
        if each.target in known and not known[each.target].is_package:
            graph.setdefault(each.source, set()).add(each.target)
    assert circles(graph) == []


def test_nobody_imports_a_game_but_the_registry():
    """Benchmarks may, as tests do: they measure the code of one game beside other code of the same game."""
    owners = {f"jaxdlb.games.{name}" for name in GAMES}
    strangers = [
        str(each)
        for each in imports("jaxdlb", "train")
        for owner in owners
        if f"{each.target}.".startswith(f"{owner}.")
        and not f"{each.source}.".startswith(f"{owner}.")
        and each.source != "jaxdlb.games"
    ]
    assert strangers == []


def test_the_registry_of_games_is_seen_by_few():
    seen = {room(each.source) for each in inside() if room(each.target) == "games"}
    assert seen - SEE_THE_REGISTRY == set()


def test_the_library_knows_no_launcher_and_no_test_framework():
    found = [str(each) for each in imports("jaxdlb") if each.target.split(".")[0] in LAUNCHERS_ONLY | {"benchmarks"}]
    assert found == []


def test_nothing_private_of_hydra_is_imported():
    """What a release of it may change without a word."""
    found = [str(each) for each in imports(*HOUSE) if each.target.startswith("hydra._")]
    assert found == []


def test_benchmarks_run_with_the_librarys_own_dependencies():
    found = [str(each) for each in imports("benchmarks") if each.target.split(".")[0] in LAUNCHERS_ONLY]
    assert found == []


@pytest.mark.parametrize("package", sorted(name for name, each in modules("jaxdlb").items() if each.is_package))
def test_what_draws_is_imported_when_something_is_drawn(package):
    """No package of the library loads matplotlib or Pillow when it is imported."""
    assert {name.split(".")[0] for name in loaded_by(package, "jaxdlb")} & TO_DRAW == set()


def test_what_is_imported_is_declared():
    """At import: a dependency of the library; within a function or to draw: one of an extra, at least."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = {_distribution(each) for each in project["dependencies"]}
    extras = {_distribution(each) for extra in project["optional-dependencies"].values() for each in extra}
    missing = []
    for each in imports("jaxdlb", "train"):
        top = each.target.split(".")[0]
        if top in sys.stdlib_module_names or top in HOUSE:
            continue
        optional = each.lazy or top in TO_DRAW or each.source.startswith("train")
        if DISTRIBUTIONS.get(top, top) not in (always | extras if optional else always):
            missing.append(str(each))
    assert missing == []


def _distribution(requirement):
    return re.match(r"[\w-]+", requirement).group()


# Names


def own_modules(kind, name):
    """Where a game or a learner may be called by its name: where its types, settings and functions stand."""
    if kind == "game":
        return {each for each in modules("jaxdlb") if f"{each}.".startswith(f"jaxdlb.games.{name}.")}
    entry = LEARNERS[name]
    return {entry.config.__module__, entry.make.__module__, f"jaxdlb.learners.{name}"}


def class_of(kind, name):
    return GAMES[name].game.__name__ if kind == "game" else LEARNERS[name].config.__name__


def speaks_of(text, is_string, name, class_name):
    """Whether an identifier or a string names a game or a learner.

    The class is a name wherever it stands as a whole. The registry's name is one as a string of its own or as part of a
    key or a path, such as "game=rack"; and wherever it stands if it is an acronym, as the class tells ("DLB",
    "MAPPOConfig"). So a game called `farm` or `cluster` leaves those words to everybody's sentences.
    """
    if re.search(rf"(?<![a-zA-Z]){class_name}(?![a-zA-Z])", text):
        return True
    if name.upper() in class_name and re.search(rf"(?<![a-zA-Z]){name}(?![a-z])", text, re.IGNORECASE):
        return True
    return is_string and not re.search(r"\s", text) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def registry_lines(tree):
    """The lines on which a package gathers what stands in it: its imports, `__all__`, and the one assignment."""
    gathering = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) or _is_registry(node)]
    return {line for node in gathering for line in range(node.lineno, node.end_lineno + 1)}


def _is_registry(node):
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return any(isinstance(each, ast.Name) and each.id in {"GAMES", "LEARNERS", "__all__"} for each in targets)


NAMES = [("game", name) for name in GAMES] + [("learner", name) for name in LEARNERS]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_nobody_knows_it_by_its_name_but_itself_and_its_registry(kind, name):
    gathers = {"game": {"jaxdlb.games"}, "learner": {"jaxdlb.learners", "jaxdlb.learners.registry"}}[kind]
    found = []
    for module in modules("jaxdlb", "train").values():
        allowed = registry_lines(module.tree) if module.name in gathers else set()
        if module.name not in own_modules(kind, name):
            found += [
                f"{module.name}:{line} says {text!r}"
                for line, text, is_string in spoken(module.tree)
                if line not in allowed and speaks_of(text, is_string, name, class_of(kind, name))
            ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_string", "name", "class_name", "expected"),
    [
        ("dlb", True, "dlb", "DLB", True),
        ("a sentence about dlb", True, "dlb", "DLB", True),
        ("dlb_params", False, "dlb", "DLB", True),
        ("jaxdlb", False, "dlb", "DLB", False),
        ("MAPPOConfig", False, "mappo", "MAPPOConfig", True),
        ("MAPPO", False, "mappo", "MAPPOConfig", True),
        ("random_cluster", False, "cluster", "Cluster", False),
        ("one cluster of many", True, "cluster", "Cluster", False),
        ("cluster", True, "cluster", "Cluster", True),
        ("game=cluster", True, "cluster", "Cluster", True),
        ("jaxdlb.games.cluster", True, "cluster", "Cluster", True),
        ("Cluster", False, "cluster", "Cluster", True),
        ("ClusterEnv", False, "cluster", "Cluster", False),
        ("tracking", True, "rack", "Rack", False),
    ],
)
def test_the_rule_of_names(text, is_string, name, class_name, expected):
    assert speaks_of(text, is_string, name, class_name) is expected


# The readers of the code themselves


def test_the_reader_of_imports_sees_those_in_functions_and_follows_those_outside():
    lazy = {str(each).rsplit(":")[0] for each in imports("jaxdlb") if each.lazy}
    assert lazy  # there are some, as in what draws
    assert "jaxdlb.policies.rules" in loaded_by("jaxdlb", "jaxdlb")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_the_reader_of_names_leaves_docstrings_out():
    tree = ast.parse('"""dlb"""\ndef f(dlb):\n    "dlb"\n    return g(mappo="dlb").ippo\n')
    assert sorted((text, is_string) for _, text, is_string in spoken(tree)) == [
        ("dlb", False),
        ("dlb", True),
        ("f", False),
        ("g", False),
        ("ippo", False),
        ("mappo", False),
    ]
