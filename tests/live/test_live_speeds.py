"""Speeds of workers, by work and by quota; calibrations."""

import os

import numpy as np
import pytest

from jaxdlb.live import calibration
from jaxdlb.live.calibration import Calibration
from jaxdlb.live.speeds import AS_THEY_ARE, ByQuota, ByWork


@pytest.mark.parametrize(
    ("by", "turns"),
    [
        (ByWork((1, 2, 3, 5)), [30, 15, 10, 6, 30]),  # the fifth worker is as the first
        (ByWork((1, 2, 4)), [4, 2, 1, 4, 2]),
        (ByWork((0.5, 2)), [4, 1, 4, 1, 4]),
        (ByWork((1, np.e)), [60, 23, 60, 23, 60]),
        (ByWork((1, 3), base=2), [2, 1, 2, 1, 2]),
        (AS_THEY_ARE, [1, 1, 1, 1, 1]),
    ],
)
def test_slower_workers_do_the_same_work_more_often(by, turns):
    assert [by.repeats(worker) for worker in range(5)] == turns


def first_version(folder):
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    return folder / "cpu"


def second_version(folder):
    (folder / "cgroup.subtree_control").touch()
    return folder


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("kernel", "written"),
    [
        (first_version, {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "4909", "cgroup.procs": "1234"}),
        (second_version, {"cpu.max": "4909 10000", "cgroup.procs": "1234"}),
    ],
)
def test_each_worker_has_a_group_with_a_quota(tmp_path, two_cores, monkeypatch, kernel, written):
    monkeypatch.setattr("pathlib.Path.rmdir", remove)
    place = kernel(tmp_path)
    by = ByQuota((1, 2, 3, 5), tmp_path)
    assert by.quotas == [1636, 3272, 4909, 8181] and sum(by.quotas) < 20_000
    assert not list(place.glob("jaxdlb*"))  # what was tried is gone
    by.enter(2, 1234)
    (group,) = place.glob("jaxdlb*")
    assert {each.name: each.read_text() for each in group.iterdir()} == written
    assert by.repeats(2) == 1
    by.close()
    assert not list(place.glob("jaxdlb*"))


def remove(folder):
    """As the kernel removes a group, whose files are no files."""
    for each in folder.iterdir():
        each.unlink()
    os.rmdir(folder)


def test_no_worker_gets_more_than_one_core(tmp_path, two_cores):
    second_version(tmp_path)
    with pytest.raises(
        ValueError, match=r"^speeds is cgroup; it must be a list of speeds by work, as in \[1,2,3,5\], "
    ):
        ByQuota((1, 2), tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"^speeds holds 1; it must be at least 10 beside the others, since 2 cores are"
    ):
        ByQuota((1, 100), tmp_path)
    with pytest.raises(ValueError, match=r"^speeds\[0\] is 0; it must be a finite number > 0$"):
        ByQuota((0, 1), tmp_path)
    with pytest.raises(ValueError, match=r"^speeds is empty; it must hold at least one$"):
        ByWork(())


def test_a_calibration_is_what_was_measured():
    seconds = {"a": [0.2, 0.4], "b": [0.1, 0.1], "c": [0.05, 0.1, 0.15]}
    found = calibration.measured(seconds, [0.02, 0.01, 0.9])
    assert found.task_seconds == pytest.approx(0.3) and found.comm_seconds == 0.02
    np.testing.assert_allclose(found.speeds, [1, 3, 3])
    np.testing.assert_allclose(found.task_cv, np.std([2 / 3, 4 / 3, 1, 1, 0.5, 1, 1.5]))
    with pytest.raises(ValueError, match=r"^tasks are too few to calibrate by; worker 'b' has computed none$"):
        calibration.measured({"a": [1.0], "b": []}, [0.1])


def test_a_calibration_gives_the_game_in_units_of_a_task():
    found = Calibration(task_seconds=0.25, comm_seconds=0.05, speeds=(1.0, 3.0), task_cv=0.7)
    game = found.game(3)
    params = found.params(game, 500)
    assert game.num_workers == 3 and game.task_cv == 0.7 and params.job == 500
    np.testing.assert_allclose([params.task_time, params.comm_time, params.drift], [1, 0.2, 0])
    np.testing.assert_allclose(params.speed, [1, 3, 2])
    assert params.join_time[0] == params.join_time[1] == 0 < params.join_time[2]
    assert found.game().num_workers == 2


def test_a_calibration_is_kept_as_json(tmp_path):
    found = Calibration(task_seconds=0.25, comm_seconds=0.05, speeds=(1.0, 3.0), task_cv=0.7)
    found.save(tmp_path / "calibration.json")
    assert calibration.load(tmp_path / "calibration.json") == found
    for wrong in ("[]", "{", '{"task_seconds": 0, "comm_seconds": 1, "task_cv": 1, "speeds": [1]}'):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(
            ValueError, match=r"^calibration is '.*'; it must be a file that a calibration was saved in$"
        ):
            calibration.load(tmp_path / "wrong.json")
