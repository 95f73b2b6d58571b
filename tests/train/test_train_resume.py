"""Runs that are killed, stopped and resumed end with the same parameters, bit for bit, as one that is not."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import ROOT, ROUNDS, TINY, files_of, once
from processes import quick_environment

from jaxdlb import checkpoint
from train.__main__ import main
from train.loggers import metrics_file

UPDATES = 101
RUN = (*TINY, f"total_agent_rounds={UPDATES * ROUNDS}", "checkpoint_interval=8", "run_dir=run")


def finish(started):
    out, err = started.communicate(timeout=300)
    return started.returncode, out, err


def wait_for_checkpoint(started, folder, update):
    """Wait until a process has saved a checkpoint of that update or a later one, or has ended."""
    deadline = time.monotonic() + 240
    while max(checkpoint.steps(folder / "run" / "checkpoints"), default=0) < update and started.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.02)


def final_state(run):
    """Checksums and metadata of the last step: equal only if every bit of the state is."""
    about = checkpoint.read_about(run)
    assert about["step"] == UPDATES
    return about


def metrics_without_time(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in metrics_file.read(run)]


@pytest.fixture(scope="module")
def uninterrupted(shared):
    line = [*RUN, "evaluation.enabled=false"]
    return once(shared / "uninterrupted", lambda run: main([*line, f"run_dir={run}"]))


def assert_ended_as(run, uninterrupted):
    assert final_state(run) == final_state(uninterrupted)
    assert metrics_without_time(run) == metrics_without_time(uninterrupted)


def test_a_run_killed_at_random_moments_and_started_again_ends_the_same_bit_for_bit(process, uninterrupted, tmp_path):
    line, moments = [*RUN, "evaluation.enabled=false", "resume=auto"], random.Random(1)
    for update in (8, 40):
        started = process("train", *line, cwd=tmp_path)
        wait_for_checkpoint(started, tmp_path, update)
        time.sleep(moments.uniform(0, 0.4))
        started.kill()
        finish(started)
        assert started.returncode == -signal.SIGKILL, "it had ended before"
        for step in checkpoint.steps(tmp_path / "run" / "checkpoints"):
            checkpoint.load_policies(tmp_path / "run", step=step)
    status, _, err = finish(process("train", *line, cwd=tmp_path))
    assert status == 0, err
    assert_ended_as(tmp_path / "run", uninterrupted)


SCHEDULER = """#!/bin/sh
echo "$@" >> scontrol.log
"""


def test_the_script_for_a_scheduler_saves_on_sigterm_asks_for_the_queue_and_goes_on_when_it_is_started_again(
    uninterrupted, tmp_path
):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("scontrol", SCHEDULER), ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    environment = quick_environment() | {"PATH": path, "SLURM_JOB_ID": "4242", "RUN_DIR": "run"}

    def start():
        line = ["bash", str(ROOT / "docs" / "slurm" / "requeue.sh"), *RUN[:-1], "evaluation.enabled=false"]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)

    first = start()
    wait_for_checkpoint(first, tmp_path, 16)
    first.send_signal(signal.SIGTERM)
    status, _, err = finish(first)
    assert status == 128 + signal.SIGTERM, err
    reached = checkpoint.steps(tmp_path / "run" / "checkpoints")[-1]
    assert 0 < reached < UPDATES, "it was not stopped in the middle"
    assert f"stopped by SIGTERM after update {reached}; to go on: the same command line" in err
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4242\n"
    status, _, err = finish(start())
    assert status == 0, err
    assert f"update {reached}/{UPDATES}" in err
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4242\n"
    assert_ended_as(tmp_path / "run", uninterrupted)


def test_a_run_goes_on_from_an_older_step_when_that_is_asked_for(mlp_run, train, here):
    run = shutil.copytree(mlp_run, here / "run")
    newest = run / "checkpoints" / "12" / "state" / "manifest.ocdbt"
    newest.write_bytes(b"torn")
    outcome = train("resume=run", "resume_step=8")
    assert outcome.status == 0, outcome.err
    assert checkpoint.read_about(run) == checkpoint.read_about(mlp_run)
    assert checkpoint.steps(run / "set_aside") == [12]
    assert metrics_without_time(run) == metrics_without_time(mlp_run)


def test_a_finished_run_can_be_given_more_to_do(mlp_run, train, here):
    run = shutil.copytree(mlp_run, here / "run")
    outcome = train("resume=run", f"total_agent_rounds={15 * ROUNDS}")
    assert outcome.status == 0, outcome.err
    assert [row["update"] for row in metrics_file.read(run)] == list(range(1, 16))
    assert checkpoint.steps(run / "checkpoints")[-1] == 15
    seconds = [row["seconds"] for row in metrics_file.read(run)]
    assert np.all(np.diff(seconds) >= 0)


def test_a_finished_run_resumed_as_it_is_is_evaluated_and_left_as_it_was(mlp_run, train, here):
    run = shutil.copytree(mlp_run, here / "run")
    before = files_of(run / "checkpoints")
    outcome = train("resume=run", "evaluation.enabled=true")
    assert outcome.status == 0, outcome.err
    assert "learned" in outcome.out and (run / "report.html").exists()
    assert files_of(run / "checkpoints") == before


def test_rows_after_the_checkpoint_and_a_row_cut_short_are_dropped(tmp_path):
    rows = [{"update": k, "seed": 0, "agent_rounds": 10 * k, "seconds": 0.5, "utility": -1.25} for k in range(1, 6)]
    metrics_file.MetricsFile(tmp_path).append(rows)
    with (tmp_path / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("6,0,6")
    assert metrics_file.read(tmp_path) == rows
    metrics_file.cut_after(tmp_path, 3)
    assert metrics_file.read(tmp_path) == rows[:3]
    metrics_file.MetricsFile(tmp_path).append(rows[3:])
    assert metrics_file.read(tmp_path) == rows
    lines = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "1,0,10,0.5,-1.25" and len(lines) == 6


def test_metrics_of_a_run_without_a_checkpoint_of_them_are_dropped_whole(tmp_path):
    metrics_file.MetricsFile(tmp_path).append([{"update": 1, "seed": 0, "utility": -1.0}])
    metrics_file.cut_after(tmp_path, 0)
    assert metrics_file.read(tmp_path) == []
    assert not (tmp_path / "metrics.csv").exists()


def test_the_format_of_a_checkpoint_is_what_load_policy_needs(mlp_run):
    about = json.loads((mlp_run / "checkpoints" / "12" / "about" / "metadata").read_text(encoding="utf-8"))
    assert about["game"] == {
        "name": "dlb",
        "sizes": {"num_nodes": 3, "capacity": 64, "max_delay": 4, "imbalance": "variance", "heartbeats": "shared"},
    }
    assert (about["num_seeds"], about["share_parameters"], about["network"]["kind"]) == (1, True, "mlp")
