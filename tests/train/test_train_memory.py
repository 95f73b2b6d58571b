"""The memory of training, told before it is spent: what fits, and what does not. How right it is: tests/long."""

import os
import signal

import jax
import pytest
from command_line import TINY

from jaxdlb import memory
from jaxdlb.memory import Free


@pytest.fixture
def roomless(monkeypatch):
    """A device that has so many bytes left."""

    def leave(num_bytes):
        monkeypatch.setattr(memory, "free", lambda device: Free(num_bytes, "the test"))

    return leave


def test_a_dry_run_tells_the_memory_by_part_and_writes_nothing(train, here):
    done = train(*TINY, "--dry_run")
    assert done.status == 0
    for part in (
        "state",
        "environments",
        "params",
        "optimiser",
        "temporaries",
        "a rollout",
        "generated code",
        "in all",
    ):
        assert f"  {part} " in done.out
    assert "compiled in " in done.out
    assert "left to compile: the start of training" in done.out
    assert not list(here.iterdir())


def test_a_dry_run_takes_one_run_alone(train, here):
    done = train(*TINY, "-m", "seed=1,2", "--dry_run")
    assert (done.status, done.err) == (
        2,
        "--dry_run is given with -m; it must be given without other flags, for one run\n",
    )
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["learner.num_envs=1000000000"], "learner.num_envs is 1000000000; it must be at most about "),
        (
            ["learner.rollout_length=1000000000", "learner.num_envs=1"],
            "learner.rollout_length is 1000000000; it must be at",
        ),
        (
            ["network.hidden=[100000,100000]", "learner.num_envs=1"],
            "network.hidden is [100000, 100000]; it must be narrower",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_could_never_be_held_is_refused_by_shapes_alone(train, here, roomless, monkeypatch, settings, sentence):
    roomless(2**34)
    monkeypatch.setattr("train.sizes.check", lambda amounts: None)  # which knows the memory of this very machine
    done = train(*TINY, "learner.num_minibatches=1", "network=mlp", *settings)
    assert done.status == 2
    assert done.err.startswith(sentence)
    assert done.err.count("\n") == 1
    assert done.err.endswith("and the test has 16 GiB left\n")
    assert not list(here.iterdir())


def test_a_program_that_is_too_large_is_refused_once_compiled_and_before_anything_is_written(train, here, roomless):
    roomless(48 * 2**10)  # the state and the rollout fit, the temporaries beside them do not
    done = train(*TINY)
    assert done.status == 2
    assert done.err.startswith("learner.num_envs is ")
    assert not list(here.iterdir())


def test_a_launch_trains_with_the_program_that_was_measured(train, here, monkeypatch):
    """And so compiles it once."""
    from train import loop

    compiled, given = object(), []

    def stopped(*arguments, program, **others):
        given.append(program)
        raise loop.StoppedError(signal.SIGTERM, 0)

    monkeypatch.setattr("train.memory.program", lambda plan: compiled)
    monkeypatch.setattr(loop, "train", stopped)
    assert train(*TINY, "run_dir=run").status == 128 + signal.SIGTERM
    assert given == [compiled]


def test_what_is_left_is_the_least_of_the_machines_memory_and_of_its_groups(monkeypatch, tmp_path):
    group = tmp_path / "groups" / "job"
    group.mkdir(parents=True)
    files = {"memory.max": str(2**30), "memory.current": str(2**29), "memory.stat": f"file 7\ninactive_file {2**20}"}
    for name, text in files.items():
        (group / name).write_text(text)
    (tmp_path / "cgroup").write_text("0::/job\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {2**21} kB\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_GROUP_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    device = jax.devices()[0]
    assert memory.free(device) == Free(2**29 + 2**20, "the control group")
    (group / "memory.max").write_text("max\n")
    assert memory.free(device) == Free(2**31, "the machine")


def test_an_accelerator_says_what_it_has():
    class Accelerator:
        def memory_stats(self):
            return {"bytes_limit": 1000, "bytes_in_use": 100}

        def __str__(self):
            return "cuda:0"

    assert memory.free(Accelerator()) == Free(900, "cuda:0")


def test_this_machine_has_some_memory_left():
    assert 0 < memory.free(jax.devices()[0]).num_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
