"""A run's folder that a stranger made: what it holds is data, and does nothing but what the command line asks for."""

import builtins
import json
import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from command_line import assert_refused, files_of

import jaxdlb
from jaxdlb import checkpoint
from train import compose, evaluate, launch, saved_config
from train.settings import Settings

PAYLOAD = "run.stranger.payload"  # importable from the working directory, as a folder below it is for python -m


@pytest.fixture
def run(mlp_run, here, monkeypatch):
    """A run's folder with code in it that leaves a mark when it is imported."""
    folder = shutil.copytree(mlp_run, here / "run")
    (folder / "stranger" / "conf").mkdir(parents=True)
    (folder / "stranger" / "payload.py").write_text("import builtins\nbuiltins.was_imported = True\n")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("SECRET", "hidden")
    return folder


def saved(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def changed(settings, key, value):
    *outer, name = key.split(".")
    for each in outer:
        settings = settings[each]
    settings[name] = value


TRAPS = {
    "hydra": ({"searchpath": [f"pkg://{PAYLOAD}"]}, "holds hydra, which is no known key"),
    "defaults": (["/hydra/launcher: joblib"], "holds defaults, which is no known key"),
    "_target_": ("os.system", "holds _target_, which is no known key"),
    "game._target_": ("os.system", "game._target_ is no known key, and the saved config holds it"),
    "colour": ("red", "holds colour, which is no known key"),
    "runs_dir": ("${oc.env:SECRET}", "cannot be read (an interpolation is no plain value)"),
    "evaluation.heuristics": (["${oc.env:SECRET}"], "cannot be read (an interpolation is no plain value)"),
    "game.name": (f"{PAYLOAD}:ENTRY", f"game.name is not given; it must be, since run/config.yaml names '{PAYLOAD}"),
    "learner.name": (f"{PAYLOAD}:ENTRY", "learner.name is not given; it must be, since"),
    "evaluation": ({"heuristics": [{"name": f"{PAYLOAD}:RULE"}]}, "evaluation.heuristics is not given; it must be"),
    "game": ("dlb", "lacks some of the groups game, learner, network, logger"),
    "game.num_nodes": ([3], "game.num_nodes is [3] in the saved config; it must be an integer"),
}

TEXTS = {
    "seed: !!python/object/apply:os.system [touch was_here]": "anchors, aliases and tags are no plain values",
    "seed: !!int 3": "anchors, aliases and tags are no plain values",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]": "anchors, aliases and tags are no plain values",
    "seed: [" + "[" * 5000: "config.yaml cannot be read",
    "# " + "x" * 2**21: "config.yaml lacks some of the groups",
    "\x00": "config.yaml cannot be read",
    "": "config.yaml lacks some of the groups",
}


@pytest.mark.parametrize("key", TRAPS)
def test_a_saved_config_imports_resolves_and_adds_nothing(key, run, train, evaluate_, here):
    value, sentence = TRAPS[key]
    told = saved(run)
    changed(told, key, value)
    (run / "config.yaml").write_text(yaml.safe_dump(told))
    before = files_of(here)
    assert_refused(evaluate_("checkpoint=run"), sentence)
    if key in ("hydra", "game.name"):
        assert_refused(train("resume=run"), sentence)
    assert files_of(here) == before
    assert PAYLOAD not in sys.modules and not hasattr(builtins, "was_imported")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_saved_config_is_plain_yaml_of_a_size_that_a_run_saves(text, run, evaluate_, here):
    (run / "config.yaml").write_text(text)
    assert_refused(evaluate_("checkpoint=run"), TEXTS[text])
    assert not (here / "was_here").exists()


def test_a_saved_config_that_is_no_file_is_not_waited_for(run, evaluate_):
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    assert_refused(evaluate_("checkpoint=run"), "run holds no config.yaml")


def test_paths_and_the_logger_of_a_saved_config_do_not_count_for_an_evaluation(run):
    told = saved(run)
    told |= {"runs_dir": "/stranger", "run_dir": "/stranger", "resume": "/stranger", "resume_step": 3}
    told["logger"] = {"name": "wandb", "project": "his", "entity": "stranger"}
    (run / "config.yaml").write_text(yaml.safe_dump(told))
    given = compose.from_run(run, [], Settings)
    assert "stranger" not in str(given)
    assert (given.logger.name, given.runs_dir, given.run_dir, given.resume) == ("console", "runs", None, None)


@pytest.mark.parametrize("key", ["game.trace.path", "evaluation.sweep.beside"])
def test_files_that_a_saved_config_names_are_read_only_if_the_command_line_names_them(key, run, evaluate_):
    told = saved(run)
    changed(told, key, "/etc/passwd" if key == "game.trace.path" else ["/etc"])
    (run / "config.yaml").write_text(yaml.safe_dump(told))
    assert_refused(evaluate_("checkpoint=run"), f"{key} is not given; it must be, since run/config.yaml names ")
    given = compose.from_run(
        run, [f"{key}={'mine.csv' if key == 'game.trace.path' else '[mine]'}"], evaluate.EvaluateSettings
    )
    assert "mine" in str(given) and "etc" not in str(given)


@pytest.mark.parametrize("key", saved_config.READ)
def test_every_key_that_names_a_file_is_refused_from_a_folder_and_taken_from_the_command_line(key):
    told = {group: {} for group in saved_config.GROUPS} | {"evaluation": {}}
    *groups, last = key.split(".")
    inner = told
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[last] = "/etc/passwd"
    with pytest.raises(ValueError, match=f"^{key} is not given; it must be, since run names '/etc/passwd' and what a "):
        saved_config.kept(told, [], resumed=False, source=Path("run"))
    saved_config.kept(told, [f"{key}=mine.csv"], resumed=False, source=Path("run"))


def test_a_resumed_run_says_what_it_keeps_that_reaches_out_of_its_folder(run):
    told = saved(run) | {"logger": {"name": "wandb", "project": "his", "entity": None}}
    assert saved_config.told(told, []) == "as saved with the run: logger.name=wandb logger.project=his"
    assert saved_config.told(told, ["logger=console"]) is None
    told["game"]["trace"]["path"] = "load.csv"
    assert saved_config.told(told, ["logger=console"]) == "as saved with the run: game.trace.path=load.csv"
    assert saved_config.told(told, ["logger=console", "game.trace.path=mine.csv"]) is None


def test_code_that_the_command_line_names_too_is_imported(run):
    told = saved(run)
    changed(told, "game.name", f"{PAYLOAD}:ENTRY")
    (run / "config.yaml").write_text(yaml.safe_dump(told))
    (run / "stranger" / "payload.py").write_text("from jaxdlb.games.dlb import ENTRY\n")
    try:
        given = compose.from_run(run, [f"game.name={PAYLOAD}:ENTRY"], Settings)
        assert (given.game.name, given.game.num_nodes, PAYLOAD in sys.modules) == (f"{PAYLOAD}:ENTRY", 3, True)
    finally:
        sys.modules.pop(PAYLOAD, None)


def rewritten(run, change):
    """Change the description of every step."""
    for path in run.glob("checkpoints/*/about/metadata"):
        about = json.loads(path.read_text())
        change(about)
        path.write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda about: about["game"].update(name=f"{PAYLOAD}:ENTRY"), "what a checkpoint names is not imported"),
        (lambda about: about.pop("game"), "says of game.name None; it must be what jaxdlb writes"),
        (lambda about: about["game"].update(sizes=[]), "says of game.sizes []; it must be what jaxdlb writes"),
        (lambda about: about["game"]["sizes"].update(colour=1), "cannot be made a policy again"),
        (lambda about: about["network"].update(colour=1), "cannot be made a policy again"),
        (lambda about: about.update(num_seeds=10**18), "says of num_seeds 1000000000000000000; it must be as many"),
        (lambda about: about.update(share_parameters="no"), "says of share_parameters 'no'"),
        (lambda about: about.pop("checksums"), "the checksum of its policy is wrong"),
    ],
)
def test_a_checkpoint_imports_nothing_and_is_refused_where_it_does_not_say_what_it_should(change, sentence, run):
    rewritten(run, change)
    with pytest.raises(checkpoint.CheckpointError, match=re.escape(sentence)):
        jaxdlb.load_policy(run)
    assert PAYLOAD not in sys.modules and not hasattr(builtins, "was_imported")


def test_nothing_is_unpickled_and_a_resumed_run_tells_where_it_reaches(run, monkeypatch):
    told = saved(run) | {"logger": {"name": "wandb", "project": "his", "mode": "disabled"}}
    (run / "config.yaml").write_text(yaml.safe_dump(told, sort_keys=False))

    def refuse(*arguments, **options):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert evaluate.prepare(["checkpoint=run"]).step == 12
    resumed = launch.prepare(compose.from_conf(["resume=run"]), ["resume=run"]).resumed
    assert (resumed.step, resumed.told) == (
        12,
        "as saved with the run: logger.name=wandb logger.project=his logger.mode=disabled",
    )


def test_a_link_in_a_runs_folder_does_not_choose_what_resuming_writes(run, train, here):
    (here / "mine.txt").write_text("mine")
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").symlink_to(here / "mine.txt")
    assert_refused(train("resume=run"), "run/metrics.csv is a link; it must be a file of the run's own")
    assert (here / "mine.txt").read_text() == "mine"
