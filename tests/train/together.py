"""Runs by several processes on this machine, each started as a user or a scheduler would."""

import socket
import subprocess
import sys
import time

from processes import quick_environment

from jaxdlb import checkpoint


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(arguments, folder, count=2):
    """So many processes of `python -m train` with these arguments, which find each other by keys."""
    keys = [f"distributed.coordinator=127.0.0.1:{free_port()}", f"distributed.num_processes={count}"]
    return [process([*arguments, *keys, f"distributed.process_id={index}"], folder) for index in range(count)]


def start_in_slurm(arguments, folder, job, count=2):
    """The same in what looks like a step of SLURM, which tells them who they are."""
    step = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(count)}
    return [
        process(
            [*arguments, "distributed.auto=true"],
            folder,
            step | {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)},
        )
        for index in range(count)
    ]


def process(arguments, folder, further=None):
    return subprocess.Popen(
        [sys.executable, "-m", "train", *arguments],
        cwd=folder,
        env=quick_environment() | (further or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoints(started, run, count):
    """Until a run has so many steps, or one of its processes has ended."""
    deadline = time.monotonic() + 240
    while len(checkpoint.steps(run / checkpoint.FOLDER)) < count and all(each.poll() is None for each in started):
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.02)


def ends(started):
    """Exit status, output and errors of each process, once all have ended."""
    try:
        told = [each.communicate(timeout=240) for each in started]
    finally:
        for each in started:
            each.kill()
    return [(each.returncode, out, err) for each, (out, err) in zip(started, told, strict=True)]
