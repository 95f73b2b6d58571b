"""What hydra would take and no launch means, names that are no places, and sizes that no machine has: all refused."""

import errno
import os
import re
import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import TINY, assert_refused

import jaxdlb
from jaxdlb.games import GAMES
from train import cli, command_line, errors, sizes, writable
from train.loggers import names
from train.settings import EvaluationSettings, WandbSettings

NOT_MEANT = {
    # keys that are deleted
    "~seed": "seed cannot be deleted; give it a value, or null where that is allowed",
    "~evaluation": "evaluation cannot be deleted",
    "~experiment": "experiment cannot be deleted",
    "~game.params.load": "game.params.load cannot be deleted",
    "~": "the empty key cannot be deleted",
    # groups that are no names
    "game={name: dlb}": "game is {name: dlb}; it must be a name, that of a file under conf/; set its keys one by one",
    "logger={name: wandb}": "logger is {name: wandb}; it must be a name",
    "game=[dlb]": "game is [dlb]; it must be a name",
    "game=/dlb": "game is '/dlb'; it must be a name",
    "game=../game/dlb": "game is '../game/dlb'; it must be a name",
    "game=dlb.yaml": "game is 'dlb.yaml'; it must be a name, that of a file under conf/ without folder or ending",
    "experiment=../game/dlb": "experiment is '../game/dlb'; it must be a name",
    "-m game=dlb,../game/rack": "game is 'dlb,../game/rack'; it must be a name",
    # hydra's own
    "hydra.verbose=nonsense": "hydra.verbose is nonsense; it must not be given: of hydra's own keys only",
    "hydra.searchpath=[pkg://nowhere]": "hydra.searchpath is [pkg://nowhere]; it must not be given",
    "hydra.mode=MULTIRUN": "hydra.mode is MULTIRUN; it must not be given",
    "hydra/job_logging=stdout": "hydra/job_logging is stdout; it must not be given",
    "+hydra.callbacks.mine._target_=os.system": "hydra.callbacks.mine._target_ is os.system; it must not be given",
    "hydra.launcher._target_=os.system": "since nothing is made by the name of its class",
    "--experimental-rerun=job.pickle": "--experimental-rerun is no option here, since it unpickles a file",
    "--experimental-re=job.pickle": "--experimental-re is no option here",
    # values from elsewhere, and none
    "seed=${game.num_nodes}": "seed is '${game.num_nodes}'; it must be the value itself",
    "seed=${nowhere}": "seed is '${nowhere}'; it must be the value itself",
    "runs_dir=${oc.env:HOME}": "runs_dir is '${oc.env:HOME}'; it must be the value itself",
    "game.params=${game}": "game.params is '${game}'; it must be the value itself",
    "game.params.load=1e-400": "game.params.load is 1e-400; it must be numbers that do not round to 0, as 1e-400 does",
    "game.randomise.load=[1e-400,0.5]": "must be numbers that do not round to 0, as 1e-400 does",
    "-m game.params.load=0.5,2e-400": "must be numbers that do not round to 0, as 2e-400 does",
    "run_dir='a\x1b[31mb'": "holds a character that cannot be printed",
    "run_dir='a\nb'": "holds a character that cannot be printed; it must be text on one line",
}

WRONG = {
    "learner.name=../../x": "learner is '../../x'; it must be one of",
    "evaluation={num_episodes: 4}": "evaluation is {'num_episodes': 4}; it must be a group of keys, set one by one",
    "game.params.arrival_modulation={kind: step}": "it must be a group of keys, set one by one",
    "game.params.load=0.5 game.randomise.arrival_prob=[0.1,0.2]": "game.params.load is 0.5 and "
    "game.randomise.arrival_prob is given too; give only one, since load sets arrival_prob",
    "game.params.arrival_prob=0.2 game.randomise.load=[0.1,0.2]": "game.params.arrival_prob is 0.2 and "
    "game.randomise.load is given too",
    "game.trace.kind=count": "game.trace.kind is 'count'; it must be one of counts, instants",
    "logging_interval=3000000000": "logging_interval is 3000000000; it must be at most 2147483647",
    "learner.num_seeds=1e30": "learner.num_seeds is 1e+30; it must be at most 2147483647",
    "learner.num_seeds=2e9": "learner.num_seeds is 2000000000; it must be smaller, since what is observed in a rollout",
    "game.capacity=1e18": "game.capacity is 1000000000000000000; it must be at most 2147483647",
    "evaluation.num_episodes=2e9": "evaluation.num_episodes is 2000000000; it must be smaller",
    "network=mlp_gru network.hidden=[1000000000]": "network.hidden[0] is 1000000000; it must be smaller, since the "
    "weights of the network would take at least",
    "game.num_nodes=2e9": "game.num_nodes is 2000000000; it must be smaller",
    "run_dir=": "run_dir is ''; it must be the name of a folder",
    "runs_dir=loop/runs": "runs_dir is 'loop/runs'; it must be a folder that can be written (Too many levels of",
    "run_dir=dangling": "it must be a folder that can be written ('",
    "run_dir=/proc/run": "run_dir is '/proc/run'; it must be a folder that can be written (No such file",
    f"run_dir=new/{'x' * 300}": "it must be a folder that can be written (File name too long)",
    f"run_dir={'/'.join(['y' * 200] * 20)}": "it must be a folder that can be written (File name too long)",
    f"resume={'x' * 300}": f"resume is '{'x' * 200}…'; it must be what can be used, and",
}


@pytest.fixture
def links(here):
    (here / "loop").symlink_to("loop")
    (here / "dangling").symlink_to("nowhere")
    return sorted(here.iterdir())


@pytest.mark.parametrize("given", NOT_MEANT)
def test_what_hydra_would_take_and_no_launch_means_is_refused(given):
    with pytest.raises(ValueError, match=re.escape(NOT_MEANT[given])):
        command_line.check([*TINY, *(given.split(" ") if given.startswith("-m") else [given])])


@pytest.mark.parametrize("given", ["~seed", "game={name: dlb}", "hydra.verbose=nonsense", "seed=${nowhere}", ""])
def test_nothing_is_written_or_said_besides(given, train, here):
    assert_refused(train(*TINY, given), {**NOT_MEANT, "": "'' cannot be read; it must be written key=value"}[given])
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("given", WRONG)
def test_what_contradicts_itself_fits_nowhere_or_cannot_be_written_is_refused(given, train, here, links):
    arguments = [given] if "{" in given else given.split(" ")
    assert_refused(train(*TINY, *arguments), WRONG[given])
    assert sorted(here.iterdir()) == links


@pytest.mark.parametrize(
    ("module", "given", "sentence"),
    [
        ("train.simulate", ["policy=local", "duration=9", "~seed"], "seed cannot be deleted"),
        ("train.simulate", ["policy=local", "duration=9", "output=/proc/x"], "output is '/proc/x'; it must be"),
        ("train.certify", ["output=/proc/x"], "output is '/proc/x'; it must be"),
        ("train.render", ["policy=local", "output=/proc/game.gif"], "output is '/proc'; it must be a folder that can"),
        ("train.evaluate", ["checkpoint=${oc.env:HOME}"], "checkpoint is '${oc.env:HOME}'; it must be"),
        ("train.robustness", ["only=[reference]", "output=/proc/x"], "output is '/proc/x'; it must be"),
    ],
)
def test_every_launcher_refuses_so(module, given, sentence, train_launcher, here):
    assert_refused(train_launcher(module)(*given), sentence)
    assert list(here.iterdir()) == []


def test_a_launch_from_a_folder_that_is_gone_is_refused(train, here):
    here.rmdir()
    assert_refused(train(*TINY), "the working directory cannot be used: No such file or directory")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_whether_a_folder_can_be_written_is_found_out_by_trying_and_leaves_nothing(number, tmp_path, monkeypatch):
    writable.check_folder("run_dir", tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    tried = []

    def refuse(suffix, prefix, folder):
        tried.append(folder)
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(ValueError, match=rf"^run_dir is .*; it must be a folder .* \({os.strerror(number)}\)$"):
        writable.check_folder("run_dir", tmp_path / "a" / "b")
    assert tried == [tmp_path]


def test_a_file_is_not_written_over_a_folder_a_device_or_a_dangling_link(tmp_path):
    (tmp_path / "link.gif").symlink_to(tmp_path / "nowhere" / "game.gif")
    for path in (tmp_path, Path("/proc/game.gif"), tmp_path / "link.gif", tmp_path / f"{'x' * 300}.gif"):
        with pytest.raises(ValueError, match=r"output is .*; it must be a "):
            writable.check_file("output", path)
    writable.check_file("output", tmp_path / "game.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["link.gif"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"project": ""}, "logger.project is ''; it must be 1 to 128 characters without any of"),
        ({"project": "a/b"}, "logger.project is 'a/b'; it must be 1 to 128 characters without any of"),
        ({"project": "x" * 129}, "it must be 1 to 128 characters"),
        ({"entity": "a b/c"}, "logger.entity is 'a b/c'; it must be"),
        ({"group": "x" * 129}, "logger.group is '"),
        ({"tags": ["fine", ""]}, "logger.tags[1] is ''; it must be 1 to 64 characters"),
        ({"tags": ["x" * 65]}, "logger.tags[0] is '"),
    ],
)
def test_names_that_wandb_refuses_are_refused_before_training(given, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        names.check(WandbSettings(name="wandb", **given))
    names.check(WandbSettings(name="wandb", project="x" * 128, tags=["x" * 64], group="a/b"))


def test_what_wandb_itself_refuses_is_refused_here_too():
    import wandb

    for given in ({"project": "a/b"}, {"project": "x" * 129}, {"tags": [""]}, {"tags": ["x" * 65]}):
        with pytest.raises(ValueError, match=r"logger\."):
            names.check(WandbSettings(name="wandb", **given))
        theirs = {"run_tags" if key == "tags" else key: value for key, value in given.items()}
        with pytest.raises((wandb.errors.UsageError, ValueError)):
            wandb.Settings(**theirs)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "the sizes given take more memory than there is"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12000000000 bytes."), "more memory than there is"),
        (RecursionError(), "what is given holds itself, or is nested too deeply"),
        (PermissionError(13, "Permission denied", "runs/one"), "runs_dir is 'runs'; it must be what can be used, and"),
        (FileNotFoundError(2, "No such file or directory"), "a file cannot be used: No such file or directory"),
    ],
)
def test_what_fails_while_a_launch_is_checked_is_one_sentence(error, sentence):
    with pytest.raises(errors.Refusal, match=re.escape(sentence)), errors.refusals(["runs_dir=runs"]):
        raise error


def test_other_errors_are_faults_of_the_program():
    with pytest.raises(RuntimeError, match="the program"), errors.refusals():
        raise RuntimeError("a fault of the program")


def test_warnings_do_not_stand_before_a_refusal_and_are_not_lost_otherwise(capsys):
    def warned(value):
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
        if value is None:
            raise ValueError("value is null; it must be a number")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.run(lambda: warned(None), lambda prepared: None, []) == 2
        assert capsys.readouterr().err == "value is null; it must be a number\n"
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert cli.run(lambda: warned(1), lambda prepared: None, []) == 0


def test_amounts_are_what_arrays_of_the_sizes_hold():
    game = jaxdlb.make("dlb", num_nodes=5)
    (parameters,) = sizes.of_cluster(game, GAMES["dlb"].params)
    held = [leaf for leaf in jax.tree.leaves(game.default_params()) if np.asarray(leaf).dtype.kind in "fi"]
    assert 0 < parameters.num_bytes <= sum(np.asarray(leaf).nbytes for leaf in held)
    observation = game.reset(jax.random.key(0), game.default_params())[1].observation
    (episodes, *_) = sizes.of_evaluation(EvaluationSettings(num_episodes=7), game)
    assert episodes.num_bytes == 7 * sum(leaf.nbytes for leaf in jax.tree.leaves(observation))


def test_what_fits_is_not_refused_and_the_largest_number_is_named(monkeypatch):
    game = jaxdlb.make("dlb", num_nodes=5)
    asked = EvaluationSettings(num_episodes=4000)
    most = max(each.num_bytes for each in sizes.of_evaluation(asked, game))
    monkeypatch.setattr(sizes, "memory", lambda: most)
    sizes.check(sizes.of_evaluation(asked, game))
    monkeypatch.setattr(sizes, "memory", lambda: most - 1)
    with pytest.raises(ValueError, match=r"^evaluation.num_episodes is 4000; it must be smaller, since what is obs"):
        sizes.check(sizes.of_evaluation(asked, game))
