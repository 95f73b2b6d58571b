"""--config-dir: a user's own folder of settings beside those that come with the launchers."""

import shutil
from pathlib import Path

import pytest
from command_line import TINY

from train import own_conf


@pytest.fixture
def own(here):
    """A folder of settings with a game, an experiment and a logger in it; its name has a blank."""
    files = {
        "game/mine.yaml": "defaults: [dlb, _self_]\nnum_nodes: 5\n",
        "experiment/mine.yaml": "# @package _global_\ndefaults:\n  - override /game: mine\nseed: 11\n",
        "logger/mine.yaml": "defaults: [console]\n",
    }
    for name, text in files.items():
        path = here / "my conf" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return "my conf"


@pytest.mark.parametrize(
    "line",
    [
        ["--config-dir", "my conf", "experiment=mine", "--cfg", "job"],
        ["--cfg", "job", "experiment=mine", "-cd", "my conf"],
        ["game=mine", "seed=11", "--help", "--config-dir", "my conf"],
    ],
)
def test_train_looks_into_it_wherever_the_flag_stands(line, train, own):
    done = train(*line)
    assert done.status == 0 and done.err == ""
    assert "num_nodes: 5 " in done.out and "seed: 11 " in done.out


def test_help_lists_its_choices_beside_the_others(train, own):
    game = next(line for line in train("--help", "--config-dir", own).out.splitlines() if line.startswith("  game: "))
    assert "dlb" in game and "mine" in game


def test_every_job_of_a_sweep_is_checked_in_it(train, own):
    done = train("-m", "--config-dir", own, "game=mine", "game.params.load=2,3")
    assert done.status == 2 and done.err.startswith("game.params.load is 2")


@pytest.mark.parametrize("module", ["train.simulate", "train.render"])
def test_other_launchers_look_into_it(module, train_launcher, own):
    done = train_launcher(module)("--config-dir", own, "game=mine", "policy=local", "game.params.load=2", "duration=9")
    assert done.status == 2
    refused = "game.params.load is 2" if module == "train.simulate" else "duration is no known key"
    assert done.err.startswith(refused)


def test_an_evaluation_and_a_run_that_goes_on_look_into_it(mlp_run, evaluate_, train, own, here):
    shutil.copytree(mlp_run, here / "run")
    done = evaluate_("--config-dir", own, "checkpoint=run", "game=mine", "evaluation.num_episodes=0")
    assert done.status == 2 and done.err.startswith("evaluation.num_episodes is 0")
    again = ["resume=run", "logger=mine", "seed=9"]
    assert train(*again).err.startswith("logger is 'mine'; it must be one of")
    assert train(*again, "-cd", own).err == "seed is 9; it must stay 0 in a run that is resumed\n"


def test_what_is_of_the_same_name_stays_as_it_is(train, own):
    (Path(own) / "game" / "dlb.yaml").write_text("nonsense: 1\n")
    done = train("--config-dir", own, "--cfg", "job", *TINY)
    assert done.status == 0 and "nonsense" not in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--config-dir", "nowhere"], "--config-dir is 'nowhere'; it must be a folder that holds folders of settings"),
        (["--config-dir"], "--config-dir is ''; it must be a folder"),
        (["-cd", "file"], "-cd is 'file'; it must be a folder"),
        (["--help", "hydra.searchpath=[a"], "'hydra.searchpath=[a' cannot be read; it must be written key=value"),
        (["-cd", ".", "hydra.searchpath=[a]"], "hydra.searchpath is given besides --config-dir; it must not be"),
    ],
)
def test_what_is_no_folder_is_refused(line, said, train, evaluate_, here):
    (here / "file").touch()
    for launcher in (train, evaluate_):
        done = launcher(*line)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert done.err.startswith(said)


def test_several_folders_may_be_given():
    (override,) = own_conf.as_override(["-cd", "/", "--config-dir", "/usr"])
    assert override == 'hydra.searchpath=["file:///","file:///usr"]'
    assert own_conf.folders([override]) == [Path("/"), Path("/usr")]
