"""Jobs on real processes: some are killed, some come, some functions raise; every result is accepted once."""

import contextlib
import functools
import os
import select
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from processes import quick_environment

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import IPPOConfig
from jaxdlb.live import LearnerAlgorithm
from jaxdlb.live import engine as engines
from jaxdlb.live.engine import Workers
from jaxdlb.live.run import LiveFarm, NobodyThereError, TaskFailedError, calibrate
from jaxdlb.live.speeds import ByQuota, ByWork
from jaxdlb.networks import NetworkConfig

SPEEDS = (1, 2, 3)  # six, three and two turns of each task
PIDS = set()  # of all worker processes that were met


def square(task):
    return task * task


def slowly(task):
    """Takes 2 ms, six times over on the slowest worker."""
    time.sleep(0.002)
    return square(task), os.getpid()


SQUARES = [square(task) for task in range(420)]


def rule(name, **options):
    return jaxdlb.heuristic(name, game="farm", **options)


def is_alive(pid):
    """Whether a process is there and not merely waiting to be noticed."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(what, seconds=300):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def workers():
    with Workers(3, ByWork(SPEEDS)) as opened:
        yield opened
    wait_until(lambda: not any(map(is_alive, PIDS)))
    assert PIDS  # of which none is left


@pytest.fixture(scope="module")
def calibration(workers):
    found, outcome = calibrate(range(60), slowly, workers)
    assert [result for result, _ in outcome.results] == SQUARES[:60]
    PIDS.update(pid for _, pid in outcome.results)
    return found


def test_it_measures_what_workers_are_like(calibration):
    assert len(calibration.speeds) == 3 and np.argmin(calibration.speeds) == 0 and calibration.speeds[0] == 1
    assert calibration.task_seconds >= 0.012  # six turns of 2 ms
    assert calibration.comm_seconds > 0
    game = calibration.game(5)
    params = calibration.params(game, job=40)
    assert params.speed.shape == (5,) and params.job == 40 and params.task_time == 1


@pytest.mark.parametrize("name", ["self_scheduling", "static", "adaptive_weighted_factoring"])
def test_it_computes_what_the_function_does(workers, calibration, name):
    outcome = LiveFarm(range(50), square, rule(name), workers, calibration=calibration).run()
    assert outcome.results == [square(task) for task in range(50)]
    assert sum(each.size for each in outcome.log) == 50 and outcome.chunks == len(outcome.log)
    together = outcome.compute_seconds + outcome.comm_seconds + outcome.idle_seconds
    np.testing.assert_allclose(together, 3 * outcome.makespan, rtol=0.05)
    assert outcome.tasks_returned == outcome.failures == outcome.joins == outcome.late == 0


def test_twenty_kills_and_every_result_is_accepted_once(workers, calibration):
    kills = 20
    killed = []

    def kill(outcome):
        """After every 12 results, whoever has been there longest, once the last one's end has been noticed."""
        noticed = outcome.failures == len(killed)
        if len(killed) < kills and noticed and workers.names and len(outcome.by_task) >= 12 * len(killed):
            victim = workers.names[len(killed) % len(workers.names)]
            with contextlib.suppress(ValueError, ProcessLookupError):  # it may be about to be noticed
                workers.kill(victim)
                killed.append(victim)

    policy = rule("self_scheduling", size=6)
    outcome = LiveFarm(range(420), slowly, policy, workers, calibration=calibration).run(kill)
    assert len(killed) == outcome.failures == kills
    assert [result for result, _ in outcome.results] == SQUARES
    accepted = sorted(task for each in outcome.log for task in range(each.first, each.first + each.size))
    assert accepted == list(range(420))
    assert outcome.tasks_returned > 0 and outcome.joins > 0
    assert outcome.chunks == len(outcome.log) + outcome.failures - (kills * 6 - outcome.tasks_returned) // 6
    PIDS.update(pid for _, pid in outcome.results)
    assert len({pid for _, pid in outcome.results}) > 3
    workers.wait_for(3)


def test_a_worker_that_joins_gets_work(workers, calibration):
    asked = []

    def add(outcome):
        """The job stands still until the scheduler knows of the newcomer."""
        if not asked and len(outcome.by_task) >= 20:
            asked.append(workers.add(1))
            wait_until(lambda: len(workers._cluster.scheduler_info["workers"]) == 4)

    here = set(workers.names)
    outcome = LiveFarm(range(200), slowly, rule("self_scheduling", size=4), workers, calibration=calibration).run(add)
    assert [result for result, _ in outcome.results] == SQUARES[:200]
    assert outcome.joins == 1
    newcomers = {each.worker for each in outcome.log} - here
    assert len(newcomers) == 1
    PIDS.update(pid for _, pid in outcome.results)
    workers.reduce(3)
    assert set(workers.names) == here


def test_a_function_that_raises_stops_the_others_and_leaves_what_is_done(workers, calibration):
    def fails(task):
        if task == 203:
            raise ArithmeticError("203 is too many")
        time.sleep(0.02)
        return -task

    farm = LiveFarm(range(600), fails, rule("self_scheduling", size=200), workers, calibration=calibration)
    with pytest.raises(
        TaskFailedError, match=r"^task 203 failed on worker \d: ArithmeticError: 203 is too many$"
    ) as told:
        farm.run()
    error = told.value
    assert error.task == 203 and error.worker in workers.names and "raise ArithmeticError" in error.traceback
    done = error.outcome.by_task
    assert {200, 201, 202} <= done.keys() and all(result == -task for task, result in done.items()) and 203 not in done
    with pytest.raises(ValueError, match=r"^results of \d+ of 600 tasks are missing; by_task holds the others$"):
        error.outcome.results  # noqa: B018
    # what others had in hand, up to 200 · 6 · 20 ms of it, is not computed to its end
    began = time.perf_counter()
    outcome = LiveFarm(range(6), square, rule("self_scheduling"), workers, calibration=calibration).run()
    assert outcome.results == [0, 1, 4, 9, 16, 25] and time.perf_counter() - began < 12


def test_what_cannot_be_sent_is_said(workers):
    with pytest.raises(ValueError, match=r"^function is .*; it must be one that can be sent to other processes \("):
        LiveFarm(range(3), functools.partial(print, file=sys.stdout), rule("guided"), workers)
    with pytest.raises(ValueError, match=r"^tasks is empty; it must hold at least one$"):
        LiveFarm([], square, rule("guided"), workers)
    with pytest.raises(TaskFailedError, match=r"^task 0 failed on worker \d: .*pickle"):
        LiveFarm(range(1), lambda task: (each for each in ()), rule("guided"), workers).run()


def test_agents_learn_while_the_job_runs(workers, calibration):
    game = calibration.game(4)
    config = IPPOConfig(num_envs=1, rollout_length=6, stagger=0, num_minibatches=1, gamma=1.0)
    network = NetworkConfig("mlp", hidden=(8,), critic_hidden=(8,))
    params = calibration.params(game, 60)
    learner = learners.make(game, config, network=network, sample_params=lambda key: params)
    state = jax.jit(learner.init)(jax.random.key(0))
    team = LearnerAlgorithm(learner, state)
    for _ in range(3):
        outcome = LiveFarm(range(60), square, team, workers, calibration=calibration).run()
        assert outcome.results == [square(task) for task in range(60)]
    assert team.num_updates >= 1 and np.isfinite(team.metrics["loss"])
    before, after = (jax.tree.leaves(each.params.actor) for each in (state, team.state))
    assert any(np.abs(old - new).max() > 0 for old, new in zip(before, after, strict=True))


SCHEDULER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    ports = dict(dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0", host="127.0.0.1")
    options = dict(threads_per_worker=1, memory_limit=None, local_directory=sys.argv[1], silence_logs=50)
    with LocalCluster(n_workers=2, **ports, **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler in another process, with two workers."""
    (tmp_path / "scheduler.py").write_text(SCHEDULER)
    command = [sys.executable, str(tmp_path / "scheduler.py"), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=quick_environment(), **pipes) as process:
        assert select.select([process.stdout], [], [], 300)[0]
        yield process.stdout.readline().strip()
        process.communicate(timeout=300)
    assert process.returncode == 0


def test_workers_of_a_scheduler_elsewhere(scheduler):
    killed = []

    def kill(outcome):
        if not killed and len(outcome.by_task) >= 30:
            killed.append(outcome.by_task[0][1])
            os.kill(killed[0], signal.SIGKILL)

    with Workers(scheduler) as opened:
        opened.wait_for(2)
        assert not opened.is_local
        policy = rule("self_scheduling", size=5)
        with pytest.raises(TaskFailedError, match=r"^task 0 failed on worker \d: ModuleNotFoundError: No module named"):
            LiveFarm(range(3), slowly, policy, opened).run()  # which is in this file, and not known there
        outcome = LiveFarm(range(300), lambda task: (time.sleep(0.002), os.getpid()), policy, opened).run(kill)
        assert len(outcome.results) == 300 and len({pid for _, pid in outcome.results}) == 3
        assert outcome.failures == 1 and outcome.tasks_returned > 0
        with pytest.raises(ValueError, match=r"^workers is 'tcp://.*'; it must be a number, for processes to be ended"):
            opened.kill("0")
        with pytest.raises(
            ValueError, match=r"^speeds is cgroup; it must be a list of speeds by work at a scheduler's"
        ):
            Workers(scheduler, object.__new__(ByQuota))


def test_nobody_is_waited_for_for_ever():
    """Where all are gone, and none comes; what is done is kept."""
    with Workers(1) as alone:

        def reduce(outcome):
            if alone.names and len(outcome.by_task) >= 10:
                alone._cluster.sync(alone._cluster.scale_down, [0])

        farm = LiveFarm(range(500), slowly, rule("self_scheduling", size=5), alone, patience=0.5)
        with pytest.raises(NobodyThereError, match=r"^no worker has been there for 0.5 s; \d+ tasks are done$") as told:
            farm.run(reduce)
        assert 10 <= len(told.value.outcome.by_task) < 500


def test_what_is_missing_or_wrong_is_said(monkeypatch):
    with pytest.raises(ValueError, match=r"^workers is 0; it must be an integer ≥ 1$"):
        Workers(0)
    with pytest.raises(ValueError, match=r"^workers is 'here'; it must be a number, or an address as in tcp://127"):
        Workers("here")
    with pytest.raises(ValueError, match=r"^workers is 'tcp://127.0.0.1:1'; it must be the address of a scheduler"):
        monkeypatch.setattr(engines, "CONNECT_SECONDS", 0.3)
        Workers("tcp://127.0.0.1:1").__enter__()
    monkeypatch.setattr(engines, "is_installed", lambda: False)
    with pytest.raises(ImportError, match=r"^distributed is not installed; pip install 'jaxdlb\[live\]' brings it$"):
        Workers(2)
