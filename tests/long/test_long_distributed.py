"""Processes of a run that are killed or stopped at random moments: the others end in time, and the run goes on."""

import random
import signal
import time

import pytest
import together
from command_line import ROUNDS, TINY

from jaxdlb import checkpoint
from train import watch
from train.loggers import metrics_file

TIMEOUT = 5  # seconds
MARGIN = 60  # seconds, for a busy machine
RUN = (*TINY, "total_agent_rounds=1e8", "learner.schedule_updates=50", "evaluation.enabled=false", "run_dir=run")


@pytest.mark.parametrize("moment", range(20))
def test_whenever_one_of_two_is_killed_the_other_ends_with_a_saved_step_and_the_run_goes_on(moment, tmp_path):
    chance = random.Random(moment)
    started = together.start((*RUN, f"distributed.timeout={TIMEOUT}"), tmp_path)
    run = tmp_path / "run"
    together.wait_for_checkpoints(started, run, 1)
    time.sleep(chance.uniform(0, 2))
    victim = chance.randrange(2)
    started[victim].kill()
    began = time.monotonic()
    (status, _, err) = together.ends(started)[1 - victim]
    assert time.monotonic() - began < TIMEOUT + MARGIN
    assert status == watch.STATUS, err
    assert err.splitlines()[-1].startswith(f"process {victim} of 2 has "), err
    newest = checkpoint.steps(run / "checkpoints")[-1]
    assert checkpoint.read_about(run)["step"] == newest
    goes_on = together.process(["resume=run", f"total_agent_rounds={(newest + 4) * ROUNDS}"], tmp_path)
    ((status, _, err),) = together.ends([goes_on])
    assert status == 0, err
    assert [row["update"] for row in metrics_file.read(run)] == list(range(1, newest + 5))


def test_a_process_that_is_stopped_and_not_dead_is_given_up(tmp_path):
    started = together.start((*RUN, f"distributed.timeout={TIMEOUT}"), tmp_path)
    together.wait_for_checkpoints(started, tmp_path / "run", 1)
    started[0].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    status = started[1].wait(TIMEOUT + MARGIN)
    assert (status, time.monotonic() - began > TIMEOUT - 2) == (watch.STATUS, True)
    started[0].kill()
    assert "process 0 of 2 has given no sign of life" in together.ends(started)[1][2]


def test_processes_find_each_other_by_what_slurm_tells_them(tmp_path):
    arguments = (*TINY, f"total_agent_rounds={4 * ROUNDS}", "evaluation.enabled=false", "run_dir=run")
    for status, _, err in together.ends(together.start_in_slurm(arguments, tmp_path, random.randrange(1, 4096))):
        assert status == 0, err
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [4]


def test_too_few_processes_are_told_of_after_the_time_out(tmp_path):
    keys = [f"distributed.coordinator=127.0.0.1:{together.free_port()}", "distributed.num_processes=2"]
    alone = together.process([*TINY, *keys, "distributed.process_id=0", "distributed.connect_timeout=5"], tmp_path)
    ((status, _, err),) = together.ends([alone])
    assert status == 2, err
    assert err.splitlines()[-1].startswith("distributed.num_processes is 2; it must be how many are started, and not")
    assert list(tmp_path.iterdir()) == []
