"""A first look at a command line, before anything heavy is imported."""

import json
import subprocess
import sys

import pytest
from processes import own_environment

from train import errors, known_keys
from train.__main__ import main


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "jaxdlb" / "keys.json"


def refusal_of(*arguments):
    with pytest.raises(errors.Refusal) as refusal:
        known_keys.check(arguments)
    return str(refusal.value)


@pytest.mark.parametrize(
    "given",
    [
        ["learner.learning_rte=1"],
        ["num_seeds=2"],
        ["learner=ippo", "learner.gama=1"],
        ["game.params.laod=0.5"],
        ["colour=1"],
    ],
)
def test_what_was_remembered_refuses_in_the_words_of_the_whole_check(given, cache, capfd):
    assert not cache.exists()
    assert main(given) == errors.STATUS  # nothing is known yet
    whole = capfd.readouterr().err.strip()
    assert cache.exists()
    assert refusal_of(*given) == whole


def test_other_groups_have_other_keys(cache):
    known_keys.remember([])
    known_keys.remember(["logger=wandb"])
    known_keys.check(["logger=wandb", "logger.project=mine"])
    known_keys.check(["logger.name=wandb", "logger.project=mine"])
    known_keys.remember(["logger.name=wandb"])
    known_keys.check(["logger.name=wandb", "logger.project=mine"])
    assert "logger.project is no known key" in refusal_of("logger.project=mine")
    known_keys.check(["network=pointer", "nonsense=1"])  # never seen: left to the whole check


def test_what_can_be_right_is_left_to_the_whole_check(cache):
    known_keys.remember([])
    known_keys.check(
        ["seed=3", "game.params.load=0.5", "+colour=1", "~seed", "hydra.job.name=x", "-m", "--help", "runs"]
    )


def test_an_experiment_and_a_run_that_goes_on_choose_their_own_groups(cache):
    known_keys.remember(["experiment=smoke"])
    known_keys.remember([])
    known_keys.check(["experiment=smoke", "seed=3"])
    known_keys.check(["resume=run", "logger.project=mine"])
    assert refusal_of("experiment=smoke", "colour=1")


def test_the_keys_of_a_users_own_package_are_not_kept(cache):
    known_keys.remember(["game.name=jaxdlb.games.dlb:ENTRY"])
    assert not cache.exists()


def test_a_change_of_any_source_forgets_what_was_known(cache, monkeypatch):
    known_keys.remember([])
    assert refusal_of("colour=1")
    monkeypatch.setattr(known_keys, "_changed", lambda path: 1)
    known_keys.check(["colour=1"])


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"stamp": "other", "known": {}})])
def test_a_file_that_is_something_else_is_not_believed(text, cache):
    cache.parent.mkdir()
    cache.write_text(text)
    known_keys.check(["colour=1"])
    known_keys.remember([])
    assert refusal_of("colour=1")


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    known_keys.remember([])
    known_keys.check(["colour=1"])


def test_a_mistyped_key_is_refused_without_jax(cache):
    known_keys.remember([])
    code = "import sys; from train.__main__ import main; sys.exit(main(['colour=1']) != 2 or 'jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=own_environment(), check=False).returncode == 0
