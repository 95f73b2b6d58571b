"""Loggers: what a watcher reads, and what wandb can be asked for afterwards."""

import ast
import io
import json
import math
import time
from collections import Counter
from pathlib import Path

import pytest
from command_line import ROOT, ROUNDS, TINY

from train.config import WandbSettings
from train.loggers import metrics_file
from train.loggers.base import Progress
from train.loggers.console import Console
from train.loggers.weights_and_biases import WandbLogger, mode_of


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


def test_a_run_in_wandb_offline_can_be_read_back_with_metrics_config_table_figures_and_checkpoint(train, here):
    outcome = train(*TINY, "logger=wandb", "logger.mode=offline", "logger.tags=[test]", "run_dir=run")
    assert outcome.status == 0, outcome.err
    (kept,) = (here / "run").glob("wandb/offline-run-*")
    found = records(kept)
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert values(run.config.update)["game"]["num_nodes"] == 3
    assert (run.project, list(run.tags), run.display_name) == ("jaxdlb", ["test"], "run")
    history = [values(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
    expected = metrics_file.read(here / "run")
    assert [line["_step"] for line in history] == [row["update"] for row in expected]
    for line, row in zip(history, expected, strict=True):
        assert math.isclose(line["utility"], row["utility"])
        assert line["agent_rounds"] == row["update"] * ROUNDS
    last = history[-1]
    assert last["evaluation/_type"] == "table-file"
    assert last["figures/utilities/_type"] == "image-file"
    artifacts = Counter(record.artifact.type for record in found if record.WhichOneof("record_type") == "artifact")
    assert artifacts["checkpoint"] == 1
    (path,) = kept.glob("files/media/table/*.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    assert table["columns"][:3] == ["policy", "kind", "utility mean"]
    assert {line[0] for line in table["data"]} == {"learned", "local", "power_of_d(d=2, weighted)"}


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


def test_a_disabled_run_writes_nothing_for_wandb(tmp_path):
    logger = WandbLogger(tmp_path, WandbSettings(name="wandb", mode="disabled"), {})
    logger.interval([row(1)], progress(1))
    logger.close(None)
    assert not (tmp_path / "wandb").exists()


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
