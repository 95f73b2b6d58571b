"""Loggers: what a watcher reads, and what wandb can be asked for afterwards."""

import ast
import dataclasses
import importlib
import io
import json
import math
import subprocess
import time
import types
from collections import Counter
from pathlib import Path

import pytest
import wandb
from command_line import ROOT, ROUNDS, TINY

from jaxdlb.games import GAMES
from train import build, compose
from train.loggers import metrics_file, weights_and_biases
from train.loggers.base import Progress
from train.loggers.console import Console
from train.loggers.weights_and_biases import WandbLogger, mode_of
from train.settings import WandbSettings


def progress(update, num_updates=100):
    return Progress(update, num_updates, 10 * update, 12_345.6, 3725, -3.94159)


def row(update):
    return {"update": update, "seed": 0, "agent_rounds": 10 * update, "seconds": 1.0, "utility": -1.0 * update}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_lines_are_few_and_the_last_update_is_among_them(tmp_path):
    stream = io.StringIO()
    console = Console(tmp_path, stream)
    console.start(0, 100)
    for update in range(1, 101):
        console.interval([row(update)], progress(update))
    console.ended("all done")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "update 0/100, compiling"
    assert lines[1] == "update 1/100, utility -3.942, 12.3k agent-rounds/s, 1:02:05 left"
    assert lines[2].startswith("update 100/100") and lines[3] == "all done" and len(lines) == 4
    assert len(metrics_file.read(tmp_path)) == 100


def test_on_a_terminal_a_bar_shows_speed_utility_and_time_left(tmp_path):
    stream = Terminal()
    console = Console(tmp_path, stream)
    console.start(40, 100)
    console.interval([row(50)], progress(50))
    console.close(None)
    shown = stream.getvalue()
    assert "50/100" in shown and "utility -3.942" in shown
    assert "12.3k agent-rounds/s" in shown and "1:02:05 left" in shown


def records(folder):
    """The records in the folder of a wandb run kept offline, read back with wandb's own reader.

    wandb writes the file in a process of its own, which on a busy machine may be behind when the run has ended.
    """
    (path,) = folder.glob("run-*.wandb")
    for _ in range(600):
        found = read_back(path)
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has {len(found)} records and no end")


def read_back(path):
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store = DataStore()
    store.open_for_scan(str(path))
    found = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        found.append(record)
    store.close()
    return found


def values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a run, with an animation, and that of what wandb kept of it offline."""
    run = tmp_path_factory.mktemp("wandb") / "run"
    wanted = ["logger=wandb", "logger.mode=offline", "logger.tags=[test]", "plots=animation"]
    assert importlib.import_module("train.__main__").main([*TINY, *wanted, f"run_dir={run}"]) == 0
    (folder,) = run.glob("wandb/offline-run-*")
    return run, folder, records(folder)


def of_type(found, name):
    return [getattr(record, name) for record in found if record.WhichOneof("record_type") == name]


def summary_of(found):
    """The summary that stands at the end: each update replaces keys."""
    told = {}
    for record in of_type(found, "summary"):
        told |= values(record.update)
    return told


def test_a_run_in_wandb_offline_can_be_read_back_with_metrics_config_table_figures_and_checkpoint(kept):
    here, folder, found = kept
    (run,) = of_type(found, "run")
    assert values(run.config.update)["game"]["num_nodes"] == 3
    assert (run.project, list(run.tags), run.display_name, run.run_group) == ("jaxdlb", ["test"], "run", "")
    history = [values(record.item) for record in of_type(found, "history")]
    expected = metrics_file.read(here)
    assert [line["_step"] for line in history] == [row["update"] for row in expected]
    for line, row in zip(history, expected, strict=True):
        assert math.isclose(line["utility"], row["utility"])
        assert line["agent_rounds"] == row["update"] * ROUNDS
    last = history[-1]
    assert last["evaluation/_type"] == "table-file"
    assert last["figures/utilities/_type"] == "image-file"
    artifacts = Counter(record.type for record in of_type(found, "artifact"))
    assert artifacts["checkpoint"] == 1
    (path,) = folder.glob("files/media/table/*.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    assert table["columns"][:3] == ["policy", "kind", "utility mean"]
    assert {line[0] for line in table["data"]} == {"learned", "local", "power_of_d(d=2, weighted)"}


def test_the_animation_is_a_video(kept):
    here, folder, found = kept
    last = values(of_type(found, "history")[-1].item)
    assert last["figures/animation/_type"] == "video-file"
    (path,) = folder.glob("files/media/videos/figures/*.gif")
    animation = (here / "figures" / "animation.gif").read_bytes()
    assert animation.startswith(b"GIF8") and path.read_bytes() == animation
    assert "data:image/gif;base64," in (here / "report.html").read_text(encoding="utf-8")


def test_an_animation_of_a_game_that_cannot_be_drawn_is_refused(monkeypatch):
    blind = dataclasses.replace(GAMES.find("dlb"), viewer=None)
    settings = compose.settings(compose.from_conf(["plots=[timeline,animation]"]), [])
    build.check(settings)
    monkeypatch.setattr(build, "GAMES", types.SimpleNamespace(find=lambda name: blind))
    with pytest.raises(ValueError, match="plots is 'animation'; it must be left out"):
        build.check(settings)


def test_summary_keys_do_not_depend_on_who_played(kept):
    here, _, found = kept
    summary = summary_of(found)
    told = json.loads((here / "evaluation.json").read_text(encoding="utf-8"))
    rows = {each["name"]: each["columns"] for each in told["results"]}
    best = told["best_heuristic"]
    for key, row in {"learned": rows["learned"], "best_heuristic": rows[best]}.items():
        for column in ("utility", "response_time", "imbalance"):
            assert summary[f"evaluation/{key}/{column}"] == row[column]["mean"]
    assert summary["evaluation/best_heuristic/name"] == best
    assert summary["evaluation/response_time"] == rows["learned"]["response_time"]["mean"]
    assert summary["evaluation/utility"] == rows["learned"]["utility"]["mean"]
    difference = rows["learned"]["utility"]["mean"] - rows[best]["utility"]["mean"]
    assert summary["evaluation/above_best_heuristic/utility"] == pytest.approx(difference)
    assert not any("(" in key for key in summary)


def nulls(settings):
    return [key for key, value in settings.items() if value is None or (isinstance(value, dict) and nulls(value))]


def test_settings_are_as_they_were_resolved_and_no_null_is_among_them(kept):
    here, _, found = kept
    (run,) = of_type(found, "run")
    told = values(run.config.update)
    written = json.loads((here / "provenance.json").read_text(encoding="utf-8"))
    assert told["resolved"] == written["resolved"]
    assert len(told["resolved"]["parameters"]["arrival_prob"]) == 3
    assert told["versions"] == written["launches"][0]["versions"]
    assert nulls({key: told[key] for key in ("game", "learner", "network", "evaluation", "resolved")}) == []


def test_a_recorded_workload_is_only_counted(tmp_path):
    long = {"resolved": {"parameters": {"factors": [1.0] * 5000, "few": [1.0] * 8}}}
    (tmp_path / "provenance.json").write_text(json.dumps(long | {"launches": [{"versions": {}, "device": {}}]}))
    parameters = weights_and_biases._resolved(tmp_path)["resolved"]["parameters"]
    assert parameters == {"factors": "5000 entries", "few": [1.0] * 8}


def test_metrics_are_drawn_over_agent_rounds(kept):
    _, _, found = kept
    defined = {record.name or record.glob_name: record.step_metric for record in of_type(found, "metric")}
    assert defined["*"] == "agent_rounds"


def test_the_commit_of_the_working_directory_is_told_and_nothing_else_of_git(tmp_path, monkeypatch):
    checkout, commit = tmp_path / "checkout", ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]
    checkout.mkdir()
    for command in (["init", "-q"], [*commit, "--allow-empty"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    made = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    monkeypatch.chdir(checkout)
    logger = WandbLogger(tmp_path, WandbSettings(name="wandb", mode="offline"), {})
    logger.close(None)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (run,) = of_type(records(folder), "run")
    assert (run.git.commit, run.git.remote_url) == (made.stdout.strip(), "")
    assert not [*folder.rglob("*.patch")]
    monkeypatch.chdir(tmp_path)
    assert weights_and_biases._commit() is None  # no checkout
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert weights_and_biases._commit() is None  # no git


def test_a_run_of_a_sweep_is_named_by_its_overrides_and_grouped_by_its_sweep(train, here):
    given = ["evaluation.held_out_episodes=0", "evaluation.enabled=false", "logger=wandb", "logger.mode=offline"]
    outcome = train("-m", *TINY, *given, "learner.learning_rate=1e-3", "seed=3")
    assert outcome.status == 0, outcome.err
    (folder,) = here.glob("runs/*_sweep/0/wandb/offline-run-*")
    (run,) = of_type(records(folder), "run")
    assert run.run_group == folder.parents[2].name
    assert run.display_name.startswith("total_agent_rounds=384, logging_interval=4")
    assert run.display_name.endswith("evaluation.enabled=False, learner.learning_rate=0.001, seed=3")
    assert "logger" not in run.display_name and len(run.display_name) <= 128


def test_a_resumed_run_goes_on_under_the_same_wandb_id(tmp_path):
    settings = WandbSettings(name="wandb", mode="offline")
    for update in (1, 2):
        logger = WandbLogger(tmp_path, settings, {})
        logger.interval([row(update)], progress(update))
        logger.close(None)
        time.sleep(1)  # wandb names its folder by the second
    found = [record for folder in sorted(tmp_path.glob("wandb/offline-run-*")) for record in records(folder)]
    runs = [record.run.run_id for record in found if record.WhichOneof("record_type") == "run"]
    history = [values(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
    assert runs == [(tmp_path / "wandb_run_id.txt").read_text(encoding="utf-8")] * 2
    assert [line["utility"] for line in history] == [-1.0, -2.0]
    names = [record.run.display_name for record in found if record.WhichOneof("record_type") == "run"]
    assert names == [tmp_path.name, ""]  # the second time it keeps the name that it has


NAMES = ["jaxdlb", "", "a b", "ä", "x" * 128, "x" * 129, "a/b", "a\\b", "a#b", "a?b", "a%b", "a:b", "a,b", "a.b"]


@pytest.mark.parametrize("project", NAMES)
def test_projects_that_wandb_refuses_are_refused_at_the_start(project):
    settings = WandbSettings(name="wandb", mode="offline", project=project)
    expected = not project or refuses(project=project)
    said = refused(settings)
    assert [text.partition(" is ")[0] for text in said] == ["logger.project"] * expected
    assert all("; it must be 1 to 128 characters without any of / " in text for text in said)


@pytest.mark.parametrize("tag", ["", "first", "a/b:c", "x" * 64, "x" * 65])
def test_tags_that_wandb_refuses_are_refused_at_the_start(tag):
    settings = WandbSettings(name="wandb", mode="offline", tags=["fine", tag])
    expected = refuses(run_tags=("fine", tag))
    said = refused(settings)
    assert [text.partition(" is ")[0] for text in said] == ["logger.tags[1]"] * expected
    assert all(text.endswith("; it must be 1 to 64 characters") for text in said)


def refuses(**settings):
    """Whether wandb itself refuses."""
    try:
        wandb.Settings(**settings)
    except (wandb.errors.UsageError, ValueError):
        return True
    return False


def refused(settings):
    try:
        weights_and_biases.check(settings)
    except ValueError as error:
        return [str(error)]
    return []


def test_a_project_that_wandb_refuses_leaves_nothing_behind(train, here):
    outcome = train(*TINY, "logger=wandb", "logger.mode=offline", "logger.project=a/b", "run_dir=run")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("logger.project is 'a/b'; it must be 1 to 128 characters")
    assert not (here / "run").exists()


def test_the_mode_is_left_to_the_environment_unless_it_is_given(train, monkeypatch):
    for environment, given, expected in [("disabled", None, "disabled"), ("disabled", "offline", "offline")]:
        monkeypatch.setenv("WANDB_MODE", environment)
        assert mode_of(WandbSettings(name="wandb", mode=given)) == expected
    monkeypatch.delenv("WANDB_MODE")
    assert mode_of(WandbSettings(name="wandb")) == "online"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    outcome = train(*TINY, "logger=wandb", "run_dir=other")
    assert (outcome.status, outcome.err) == (
        2,
        "WANDB_MODE is 'sometimes'; it must be one of online, offline, disabled\n",
    )


def test_of_many_members_the_mean_and_the_best_are_logged(tmp_path):
    logger = WandbLogger(tmp_path, WandbSettings(name="wandb", mode="offline"), {})
    for update, count in ((1, 8), (2, 64)):
        members = [row(update) | {"seed": seed, "utility": -abs(seed - 5.0)} for seed in range(count)]
        logger.interval(members, progress(update))
    logger.close(None)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    few, many = (values(line.item) for line in of_type(records(folder), "history") if "utility" in values(line.item))
    assert [few[f"seed_{seed}/utility"] for seed in range(8)] == [-abs(seed - 5.0) for seed in range(8)]
    assert many["best/utility"] == 0 and many["utility"] == -sum(abs(seed - 5.0) for seed in range(64)) / 64
    assert not any(name.startswith("seed_") for name in many)


def test_a_disabled_run_writes_nothing_for_wandb(tmp_path):
    logger = WandbLogger(tmp_path, WandbSettings(name="wandb", mode="disabled"), {})
    logger.interval([row(1)], progress(1))
    logger.close(None)
    assert not (tmp_path / "wandb").exists()


def test_a_file_of_metrics_that_knows_fewer_goes_on_with_those(tmp_path):
    file = metrics_file.MetricsFile(tmp_path)
    file.append([{"update": 1, "utility": 0.5}])
    file.append([{"update": 2, "utility": 0.75, "utility/agent_0": 0.25}])
    assert metrics_file.read(tmp_path) == [{"update": 1, "utility": 0.5}, {"update": 2, "utility": 0.75}]


def imports_of(path):
    """Modules that a file names in import statements, wherever they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


LIBRARY = sorted((ROOT / "jaxdlb").rglob("*.py"))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_never_imports_what_belongs_to_the_launchers(path: Path):
    foreign = {"hydra", "omegaconf", "wandb", "rich", "train"}
    assert not foreign & {module.split(".")[0] for module in imports_of(path)}
