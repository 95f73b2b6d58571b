"""Policies that train side by side on a CPU have devices of their own, and train to what they do on one."""

import json
import re
import subprocess
import sys

import jax
import pytest
from command_line import ROUNDS, TINY
from processes import quick_environment

from jaxdlb import checkpoint
from jaxdlb.compilation import usable_cores
from train import memory, processors
from train.loggers import metrics_file


@pytest.mark.parametrize(
    ("num_policies", "num_cores", "expected"),
    [
        (1, 2, 1),
        (5, 1, 1),
        (2, 2, 2),
        (5, 2, 5),
        (8, 2, 2),
        (6, 4, 6),
        (9, 2, 3),
        (3, 16, 3),
        (11, 2, 1),
        (0, 2, 1),
        (10**12 + 39, 2, 1),
    ],
)
def test_no_core_is_idle_and_every_device_has_as_many_policies(num_policies, num_cores, expected):
    assert processors.count(num_policies, num_cores) == expected


@pytest.mark.parametrize(
    ("num_policies", "num_devices", "expected"),
    [(1, 5, 1), (5, 5, 5), (4, 5, 4), (6, 5, 3), (7, 5, 1), (10, 5, 5), (0, 2, 1)],
)
def test_a_later_run_of_the_process_shares_the_devices_that_there_are(num_policies, num_devices, expected):
    assert processors.shared(num_policies, num_devices) == expected


def test_nothing_changes_once_devices_are_in_use():
    before = len(jax.devices())
    processors.split(3)
    assert len(jax.devices()) == before
    assert not processors.are_split()


@pytest.mark.parametrize(
    ("name", "value"), [("XLA_FLAGS", "--xla_force_host_platform_device_count=2"), ("JAX_NUM_CPU_DEVICES", "2")]
)
def test_what_the_environment_says_comes_first(monkeypatch, name, value):
    def refuse(key, count):
        raise AssertionError(key)

    monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax.config, "update", refuse)
    processors.split(3)
    assert not processors.are_split()


def launch(folder, *arguments):
    """What a process of its own says, whose number of devices is not settled yet."""
    command = [sys.executable, "-m", "train", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=quick_environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def provenance(folder):
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "settings",
    [("learner.num_seeds=3",), ("learner.population=3", "learner.evolution.interval=2", "distributed.devices=3")],
    ids=["seeds", "members"],
)
def test_policies_on_devices_of_their_own_train_to_what_they_do_on_one(here, train, settings):
    settings = (*TINY, *settings, "evaluation.enabled=false", "evaluation.held_out_episodes=0")
    expected = 3 if "distributed.devices=3" in settings else processors.count(3, usable_cores())
    launch(here, *settings, "run_dir=spread")
    done = train(*settings, "run_dir=one", "distributed.devices=1")
    assert done.status == 0, done.err
    counts = [provenance(here / run)["launches"][-1]["device"]["count"] for run in ("spread", "one")]
    assert counts == [expected, 1]
    for spread, one in zip(*map(metrics_file.read, (here / "spread", here / "one")), strict=True):
        assert spread.keys() == one.keys()
        for name in one.keys() - {"seconds"}:
            assert spread[name] == pytest.approx(one[name], rel=1e-5, abs=1e-5), (name, one["update"])
    reached = checkpoint.steps(here / "spread" / "checkpoints")[-1]
    more = (f"total_agent_rounds={(reached + 2) * ROUNDS}", f"distributed.devices={expected}")
    launch(here, "resume=one", *more)  # one more, of each, on devices that it was not begun on
    done = train("resume=spread", more[0])
    assert done.status == 0, done.err
    assert [checkpoint.steps(here / run / "checkpoints")[-1] for run in ("spread", "one")] == [reached + 2] * 2


def test_policies_that_train_at_once_take_memory_at_once(here):
    def told(devices):
        out = launch(here, *TINY, "learner.num_seeds=3", f"distributed.devices={devices}", "--dry_run").stdout
        found = re.findall(r"^ +(temporaries|state|a rollout) +([\d.,]+) (KiB|MiB)$", out, re.MULTILINE)
        return {name: float(number.replace(",", "")) * 1024 ** (unit == "MiB") for name, number, unit in found}

    one, three = told(1), told(3)
    assert three["a rollout"] == pytest.approx(3 * one["a rollout"], rel=0.01)
    assert three["state"] == pytest.approx(one["state"], rel=0.05)
    assert three["temporaries"] > 1.5 * one["temporaries"]


def test_devices_that_are_too_many_for_the_memory_go_down_to_what_policies_are_dealt_out_to():
    setting = memory.Setting("distributed.devices", 6, num_bytes=600, divides=6)
    assert [setting.at_most(number) for number in (5.9, 3.0, 2.9, 0.9)] == [3, 3, 2, 0]


@pytest.mark.parametrize(("asked", "expected"), [((), 1), (("distributed.devices=2",), 2)])
def test_jobs_side_by_side_have_one_device_each_unless_they_ask_for_more(here, asked, expected):
    settings = (*TINY, *asked, "evaluation.enabled=false", "evaluation.held_out_episodes=0", "total_agent_rounds=96")
    side_by_side = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep")
    launch(here, "-m", *settings, *side_by_side, "learner.num_seeds=2", "seed=1,2")
    counts = [provenance(each)["launches"][-1]["device"]["count"] for each in sorted((here / "sweep").glob("[0-9]"))]
    assert counts == [expected] * 2


def test_jobs_of_a_sweep_share_the_devices_of_the_one_that_gains_by_most(here):
    settings = (*TINY, "evaluation.enabled=false", "evaluation.held_out_episodes=0", "total_agent_rounds=96")
    done = launch(here, "-m", *settings, "learner.num_seeds=1,2", "hydra.sweep.dir=sweep")
    counts = [provenance(each)["launches"][-1]["device"]["count"] for each in sorted((here / "sweep").glob("[0-9]"))]
    assert counts == [processors.count(2, usable_cores())] * 2, done.err
