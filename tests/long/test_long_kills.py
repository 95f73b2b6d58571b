"""A hundred SIGKILLs at random moments of runs that are started again and again by one command line."""

import random
import subprocess
import sys
import time

import pytest
from command_line import ROUNDS, TINY
from processes import own_environment

from jaxdlb import checkpoint
from train.loggers import metrics_file

KILLS = 100
UPDATES = 400
LINE = (
    *TINY,
    f"total_agent_rounds={UPDATES * ROUNDS}",
    "checkpoint_interval=4",
    "evaluation.enabled=false",
    "evaluation.held_out_episodes=4",
    "evaluation.held_out_rounds=20",
    "resume=auto",
    "run_dir=run",
)


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "train", *LINE],
        cwd=folder,
        env=own_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder):
    started = start(folder)
    _, err = started.communicate(timeout=600)
    assert started.returncode == 0, err


def kill_at_random(folder, moments):
    """Start, and kill: in one of four cases whenever it may be, else while updates and checkpoints are made.

    Returns:
        Whether the run had not ended before.
    """
    started = start(folder)
    if moments.random() < 0.25:
        time.sleep(moments.uniform(0, 5))
    else:
        wait_for_changes(started, folder / "run" / "metrics.csv", moments.randint(2, 12))
        time.sleep(moments.uniform(0, 0.3))
    alive = started.poll() is None
    started.kill()
    _, err = started.communicate()
    assert alive or started.returncode == 0, err
    return alive


def wait_for_changes(started, path, count):
    """Wait until a file has been written so many times, or the process has ended."""
    seen = set()
    while len(seen) <= count and started.poll() is None:
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.005)


def check_whole(run):
    """Every step that stands under its name can be read in all its parts."""
    steps = checkpoint.steps(run / "checkpoints")
    for step in steps:
        checkpoint.load_policies(run, step=step)
    return len(steps)


def final(run):
    """What a run ends with: the checksums of its last step, and its rows but for the time that they took."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in metrics_file.read(run)]
    return checkpoint.read_about(run), rows


@pytest.mark.filterwarnings("ignore")  # of the reader, about files of processes that are gone
def test_whatever_is_killed_whenever_every_step_is_whole_and_the_end_is_the_same(tmp_path):
    (tmp_path / "whole").mkdir()
    finish(tmp_path / "whole")
    expected = final(tmp_path / "whole" / "run")
    moments, kills, ended, leftovers = random.Random(0), 0, 0, 0
    while kills < KILLS:
        folder = tmp_path / f"killed_{ended}"
        folder.mkdir()
        while kills < KILLS and kill_at_random(folder, moments):
            kills += 1
            leftovers += bool(list((folder / "run" / "checkpoints").glob("*tmp*")))
            check_whole(folder / "run")
            print(kills, checkpoint.steps(folder / "run" / "checkpoints"), flush=True)
        finish(folder)
        assert final(folder / "run") == expected
        assert {path.name for path in (folder / "run").iterdir() if path.name.startswith(".")} == {".lock"}
        steps = {str(step) for step in checkpoint.steps(folder / "run" / "checkpoints")}
        assert {path.name for path in (folder / "run" / "checkpoints").iterdir()} == steps
        ended += 1
    print(f"{kills} kills, {leftovers} of them in the middle of a write, {ended} runs to their ends")
