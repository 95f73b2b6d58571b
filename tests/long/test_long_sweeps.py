"""Sweeps in processes of their own, started as users start them: what takes too long for every run of the suite."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import ROOT, own_environment

# One update of a run as small as it goes.
TINY = (
    "experiment=smoke",
    "learner.num_envs=4",
    "total_agent_rounds=96",
    "evaluation.enabled=false",
    "evaluation.held_out_episodes=0",
    "runs_dir=runs",
)
RATES = "learner.learning_rate=1e-3,1e30"  # the second one diverges


def sweep(folder, *arguments, python=sys.executable, **environment):
    return subprocess.Popen(
        [python, "-m", "train", "-m", *TINY, *arguments],
        cwd=folder,
        env=own_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def statuses(folder):
    (made,) = (folder / "runs").iterdir()
    with (made / "sweep.csv").open(newline="", encoding="utf-8") as file:
        return [row["status"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def python_with_ray(tmp_path_factory):
    """The interpreter of an environment with the extra `ray`, which is 1.3 GB."""
    folder = tmp_path_factory.mktemp("ray")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[ray]"], check=True)
    return python


def test_statuses_travel_out_of_the_processes_of_ray(python_with_ray, tmp_path):
    ray = ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")
    started = sweep(tmp_path, RATES, *ray, python=python_with_ray)
    out, err = started.communicate(timeout=600)
    assert started.returncode == 1, err
    assert statuses(tmp_path) == ["0", "1"]
    assert "1 failed" in out


def test_the_parent_of_a_parallel_sweep_initialises_no_device(tmp_path):
    """On a platform that is not there, it would fail itself; so only its jobs do."""
    started = sweep(tmp_path, RATES, "hydra/launcher=submitit_local", JAX_PLATFORMS="elsewhere")
    _, err = started.communicate(timeout=600)
    assert started.returncode == 1, err
    assert "Traceback" not in err
    assert statuses(tmp_path) == ["1", "1"]
    (tmp_path / "here").mkdir()
    started = sweep(tmp_path / "here", RATES, JAX_PLATFORMS="elsewhere")
    _, err = started.communicate(timeout=600)
    assert started.returncode == 1 and "Traceback" in err
    assert not (tmp_path / "here" / "runs").exists()


def running(folder):
    """The processes of the jobs that have saved a checkpoint and go on."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/*/jobs/*.json")]
    return [each["process"] for each in told if list(folder.glob(f"runs/*/{each['job']}/checkpoints/[0-9]*"))]


def started_jobs(tmp_path):
    forever = ("learner.learning_rate=1e-3,2e-3,3e-3", "total_agent_rounds=1e9")
    started = sweep(tmp_path, *forever, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    deadline = time.monotonic() + 300
    while len(running(tmp_path)) < 2:
        assert time.monotonic() < deadline and started.poll() is None, started.communicate()
        time.sleep(0.2)
    return started


def test_a_signal_lets_the_running_jobs_save_and_begins_no_other(tmp_path):
    started = started_jobs(tmp_path)
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=300)
    assert started.returncode == 128 + signal.SIGTERM, err
    assert statuses(tmp_path) == ["143"] * 3
    assert err.count("to go on: python -m train resume=") == 2


def test_a_job_that_is_killed_is_told_and_fails_the_sweep(tmp_path):
    started = started_jobs(tmp_path)
    for process in running(tmp_path):
        os.kill(process, signal.SIGKILL)
    out, err = started.communicate(timeout=300)
    assert started.returncode == 1, err
    assert "the launcher gave up, since a job was killed" in err
    assert "killed" in out and "Traceback" not in err
