"""The command `jaxdlb`: every launcher by a word, its help, and completion in a shell."""

import importlib
import os
import subprocess
import sys
import tomllib

import pytest
from command_line import ROOT
from house import modules
from processes import own_environment

import jaxdlb
from train import cli, command, launchers


@pytest.fixture
def called(train_launcher, monkeypatch):
    """Calls the command in this process, which it leaves as it was."""
    monkeypatch.setattr(cli, "tune", lambda: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return train_launcher("train.command")


def test_every_launcher_is_listed():
    started = {name for name, each in modules("train").items() if '__name__ == "__main__"' in each.path.read_text()}
    assert started == {"train.__main__", *(f"train.{name}" for name in launchers.LAUNCHERS if name != "train")}


@pytest.mark.parametrize("name", launchers.LAUNCHERS)
def test_a_word_starts_its_launcher(name, called):
    module = importlib.import_module("train.__main__" if name == "train" else f"train.{name}")
    done = called(name, "--help")
    assert done.status == 0 and done.out.startswith(module.__doc__.strip())


def test_a_launchers_refusal_is_the_commands(called):
    done = called("simulate", "policy=local", "duration=soon")
    assert done.status == 2 and done.err == "duration is 'soon'; it must be a number\n"


def test_a_package_of_ones_own_may_lie_in_the_working_directory(called, here, own_packages):
    (here / "own_game_of_mine.py").write_text("from jaxdlb.games.dlb import ENTRY\n")
    assert called("simulate", "--help", "game.name=own_game_of_mine:ENTRY").status == 0


def test_help_and_version(called):
    assert called("--version").out == f"jaxdlb {jaxdlb.__version__}\n"
    done = called("--help")
    assert done.status == 0 and all(f"  {name} " in done.out for name in launchers.LAUNCHERS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "jaxdlb stands alone; it must be followed by a launcher (train, evaluate, "),
        (["evalute"], "'evalute' is no launcher of jaxdlb; it must be one of train, evaluate, "),
        (["seed=1"], "'seed=1' is no launcher of jaxdlb; it must be one of train, "),
        (["-sc", "install=csh"], "--shell-completion is 'install=csh'; it must be install or uninstall or query, "),
        (["train", "-sc"], "--shell-completion is '-sc'; it must be "),
    ],
)
def test_what_is_no_launcher_is_refused_in_one_line(given, said, called):
    done = called(*given)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(said)


def test_the_nearest_launcher_is_suggested(called):
    assert called("evalute").err.endswith("; did you mean evaluate?\n")


def test_what_the_command_needs_is_in_the_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {requirement.split(">")[0] for extra in ("train", "plots") for requirement in extras[extra]}
    assert {{"PIL": "pillow", "hydra": "hydra-core"}.get(name, name) for name in command.NEEDED} <= brought


def test_a_mistyped_key_is_refused_without_jax(tmp_path):
    environment = own_environment() | {"XDG_CACHE_HOME": str(tmp_path)}
    code = "import sys; from train import {0}; {1}"
    known = code.format("known_keys", "known_keys.remember([])")
    refused = code.format("command", "sys.exit(command.main(['train', 'sed=1']) != 2 or 'jax' in sys.modules)")
    for each in (known, refused):
        assert subprocess.run([sys.executable, "-c", each], env=environment, check=False).returncode == 0


# What is said to users


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("to go on: python -m train resume=a", "to go on: jaxdlb train resume=a"),
        ("as in train.evaluate, and those of python\n-m train.", "as in jaxdlb evaluate, and those of jaxdlb train."),
        ("(train.render and train.simulate)", "(jaxdlb render and jaxdlb simulate)"),
        ("runs/train.render, my.train.render, train.py, python -m pip", None),
    ],
)
def test_texts_name_launchers_as_their_reader_calls_them(text, said):
    assert launchers.as_called(text, installed=True) == (said or text)
    assert launchers.as_called(text, installed=False) == text


# Completion


@pytest.fixture
def completed(called, monkeypatch):
    """What a shell is told of a line that is being written."""

    def complete(line):
        monkeypatch.setenv("COMP_LINE", line)
        done = called("-sc", "query=bash")
        assert (done.status, done.err) == (0, "")
        return done.out.split()

    return complete


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("jaxdlb ", {*launchers.LAUNCHERS}),
        ("jaxdlb train ", {"game=", "learner.", "seed=", "total_agent_rounds="}),
        ("jaxdlb train game=rack_h", {"game=rack_heterogeneous", "game=rack_homogeneous"}),
        ("jaxdlb train -m total_agent_rounds=2e6 learner.ga", {"learner.gae_lambda=", "learner.gamma="}),
        ("jaxdlb evaluate che", {"checkpoint=", "checkpoint_interval="}),
    ],
)
def test_launchers_groups_choices_and_keys_are_completed(line, among, completed):
    assert among <= set(completed(line))


@pytest.mark.parametrize(
    "line",
    ["jaxdlb trian ", "jaxdlb train game=[ se", "jaxdlb train -cd no se"],
)
def test_where_there_is_nothing_to_complete_nothing_is_said(line, completed):
    assert completed(line) == []


def test_settings_of_ones_own_are_completed(completed, here):
    (here / "own" / "game").mkdir(parents=True)
    (here / "own" / "game" / "mine.yaml").write_text("defaults: [dlb]\n")
    assert completed("jaxdlb train --config-dir own game=m") == ["game=mine"]


def test_bash_completes_the_command(tmp_path):
    program = tmp_path / "jaxdlb"
    code = "import sys; from train.command import main; sys.argv[0] = 'jaxdlb'; sys.exit(main())"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(jaxdlb train --shell-completion install=bash)"
        complete -p jaxdlb
        COMP_LINE='jaxdlb train learner.learning_r' COMP_POINT=31 COMP_CWORD=2
        COMP_WORDS=($COMP_LINE)
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
    """
    environment = own_environment() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == [
        "complete -o default -o nospace -F hydra_bash_completion jaxdlb",
        "learner.learning_rate=",
    ]
