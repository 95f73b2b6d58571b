"""What holds of every game in the registry; a new game is under these tests as soon as it is listed."""

import functools
import re
from pathlib import Path

import jax
import pytest
from matplotlib import rcParams

from jaxdlb import parameters
from jaxdlb.checks import Interval
from jaxdlb.descriptions import describe
from jaxdlb.games import GAMES, make
from jaxdlb.recording import record
from jaxdlb.testing import check_game

ROOT = Path(__file__).parents[2]


def small(name, choice=0):
    """A game with every count two above its least, and of every choice the first name, or the last at −1.

    What is read from a file is left out.
    """
    declared = parameters.declarations(GAMES[name].game)
    choices = {size: each.allowed for size, each in declared.items() if isinstance(each.allowed, tuple)}
    names = {size: [each for each in names if each != "trace"][choice] for size, names in choices.items()}
    counts = {
        size: min(each.default, int(each.allowed.low) + 2)
        for size, each in declared.items()
        if isinstance(each.allowed, Interval) and each.allowed.integer and each.default is not None
    }
    return make(name, **names, **counts)


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("choice", [0, -1], ids=["with the first choices", "with the last"])
def test_it_keeps_the_interface_of_games(name, choice):
    check_game(small(name, choice), GAMES[name])


@pytest.mark.parametrize("name", GAMES)
def test_its_conf_file_names_it(name):
    text = (ROOT / "conf" / "game" / f"{name}.yaml").read_text()
    assert re.search(rf"^name: {re.escape(name)}$", text, re.MULTILINE)


@pytest.mark.parametrize("name", GAMES)
def test_its_page_names_every_size_parameter_shorthand_and_metric(name):
    page = (ROOT / "docs" / "games" / f"{name}.md").read_text()
    entry, game = GAMES[name], make(name)
    laws = [law for each in parameters.declarations(entry.params).values() for law in (each.laws or {}).values()]
    fields = [each.name for type_ in (entry.game, entry.params, *laws) for each in describe(type_)]
    missing = [word for word in (*fields, *entry.shorthands, *game.metrics) if f"`{word}`" not in page]
    assert missing == []


@pytest.mark.parametrize("name", GAMES)
def test_every_field_says_what_it_means(name):
    entry = GAMES[name]
    laws = [law for each in parameters.declarations(entry.params).values() for law in (each.laws or {}).values()]
    for type_ in (entry.game, entry.params, *laws):
        assert [each.name for each in describe(type_) if not each.meaning] == []


@pytest.mark.parametrize("name", GAMES)
def test_its_folder_has_the_rooms_of_every_game(name):
    folder = ROOT / "jaxdlb" / "games" / name
    rooms = {file.stem for file in folder.glob("*.py")}
    assert {"__init__", "types", "dynamics", "views", "generator", "game"} <= rooms
    assert GAMES[name].game.__module__ == f"jaxdlb.games.{name}.game"
    assert GAMES[name].params.__module__ == f"jaxdlb.games.{name}.types"


VIEWERS = [name for name, entry in GAMES.items() if entry.viewer]
NUM_ROUNDS = 4


@functools.cache
def recordings_of(name):
    """Two policies of a game in the same episode."""
    game, entry = small(name), GAMES[name]
    policies = [family.make() for family in list(entry.heuristics.values())[:2]]
    params = game.default_params()
    return {policy.name: record(game, policy, params, jax.random.key(0), NUM_ROUNDS) for policy in policies}


@pytest.mark.parametrize("name", VIEWERS)
def test_its_viewer_draws_and_leaves_the_global_settings_of_the_plotting_library_alone(name, tmp_path):
    viewer, recordings, before = GAMES[name].viewer(), recordings_of(name), dict(rcParams)
    figures = viewer.figures(recordings)
    assert figures and all(caption for caption, _ in figures.values())
    viewer.animation(recordings, tmp_path / "game.gif", num_frames=2, frames_per_round=1)
    assert (tmp_path / "game.gif").read_bytes()[:6] == b"GIF89a"
    assert dict(rcParams) == before


@pytest.mark.parametrize("name", VIEWERS)
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"first_round": NUM_ROUNDS}, f"first_round is {NUM_ROUNDS}; it must be within 0 … "),
        ({"first_round": -1}, "first_round is -1; it must be within 0"),
        ({"num_frames": 0}, "num_frames is 0; it must be"),
        ({"frames_per_round": 0}, "frames_per_round is 0; it must be"),
    ],
)
def test_an_impossible_animation_is_refused_and_nothing_written(name, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        GAMES[name].viewer().animation(recordings_of(name), tmp_path / "game.gif", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", VIEWERS)
def test_without_recordings_there_is_nothing_to_draw(name, tmp_path):
    viewer = GAMES[name].viewer()
    with pytest.raises(ValueError, match="recordings is empty"):
        viewer.figures({})
    with pytest.raises(ValueError, match="recordings is empty"):
        viewer.animation({}, tmp_path / "game.gif")
