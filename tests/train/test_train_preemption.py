"""Runs that go on by the command line that started them, locks, and disks that are full."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, ROUNDS, TINY, files_of

from jaxdlb import checkpoint
from train import comparison, compose, launch, resuming, run_folder, run_lock
from train.loggers import metrics_file
from train.settings import Settings

AUTO = ("resume=auto", "run_dir=run")
LINE = (
    *TINY,
    f"total_agent_rounds={12 * ROUNDS}",
    "evaluation.enabled=false",
    *AUTO,
)  # that of `mlp_run`, but for AUTO


@pytest.fixture
def run(mlp_run, here):
    """A finished run of the command line."""
    return shutil.copytree(mlp_run, here / "run")


def but_for_seconds(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in metrics_file.read(run)]


def assert_as(run, other):
    """The same parameters, bit for bit, and the same rows."""
    assert checkpoint.read_about(run) == checkpoint.read_about(other)
    assert but_for_seconds(run) == but_for_seconds(other)


def begun(run):
    """What is there when the first start is killed before its first checkpoint."""
    (run / "wandb_run_id.txt").write_text("abcdefgh")
    (run / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()
    for step in checkpoint.steps(run / "checkpoints"):
        shutil.rmtree(run / "checkpoints" / str(step))


def cut(run):
    """What is there when it is killed after update 8."""
    shutil.rmtree(run / "checkpoints" / "12")
    (run / ".metrics.csv.4242.partial").write_text("update,")


@pytest.mark.parametrize("killed", [begun, cut])
def test_the_same_command_line_goes_on_whenever_it_was_killed(killed, train, run, mlp_run):
    killed(run)
    outcome = train(*LINE)
    assert outcome.status == 0, outcome.err
    assert f"update {8 if killed is cut else 0}/12" in outcome.err
    assert_as(run, mlp_run)
    assert list(run.glob(".*.partial")) == []
    assert killed is not begun or (run / "wandb_run_id.txt").read_text() == "abcdefgh"


def test_a_folder_in_which_a_start_was_killed_before_its_settings_were_written_is_started_in(here):
    (here / "run").mkdir()
    (here / "run" / ".lock").write_text("process 4242")
    (here / "run" / ".config.yaml.4242.partial").write_text("game:")
    assert run_folder.is_begun(here / "run")
    (here / "run" / "notes.txt").write_text("mine")
    assert not run_folder.is_begun(here / "run")


def test_a_run_that_has_finished_says_so_and_is_compared_only_if_it_was_not(train, run, here, monkeypatch):
    before = files_of(here)
    outcome = train(*LINE)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == "the run in run has finished, after update 12; nothing is left to do\n"
    assert files_of(here) == before
    compared = []
    monkeypatch.setattr(launch, "_evaluate", lambda plan, folder, listening: compared.append(folder))
    (run / "evaluation.json").write_text('{"settings": {"agent_rounds of training": 96}}')  # of a run that was shorter
    assert train(*LINE, "evaluation.enabled=true").status == 0
    assert compared == [Path("run")]


def test_a_comparison_counts_once_all_of_it_is_written(pointer_run, here):
    settings = compose.settings(compose.from_run(pointer_run, [], Settings), [])
    assert resuming.is_evaluated(pointer_run, settings, 20 * ROUNDS)
    assert not resuming.is_evaluated(pointer_run, settings, 21 * ROUNDS)
    assert not resuming.is_evaluated(here, settings, 20 * ROUNDS)
    settings.evaluation.sweep.over = "load"
    assert not resuming.is_evaluated(pointer_run, settings, 20 * ROUNDS)
    settings.evaluation.enabled = False
    assert resuming.is_evaluated(here, settings, 20 * ROUNDS)


@pytest.mark.parametrize(
    ("killed", "given", "sentence"),
    [
        (begun, "learner.learning_rate=0.5", "learner.learning_rate is 0.5; it must stay"),
        (cut, "seed=3", "seed is 3; it must stay 0 in a run that is resumed"),
    ],
)
def test_another_command_line_does_not_go_on_with_it(killed, given, sentence, train, run, here):
    killed(run)
    before = files_of(here)
    outcome = train(*LINE, given)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1), outcome.err
    assert sentence in outcome.err
    assert files_of(here) == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("run_dir=null", "run_dir is null; it must be given with resume=auto"),
        ("resume_step=4", "resume_step is 4; it must not be given with resume=auto"),
        ("run_dir=foreign", "run_dir is 'foreign'; it must be a new or empty folder"),
        ("run_dir=other", "other/config.yaml lacks some of the groups"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(given, sentence, train, here):
    (here / "foreign").mkdir()
    (here / "foreign" / "notes.txt").write_text("mine")
    (here / "other").mkdir()
    (here / "other" / "config.yaml").write_text("some: {thing: else}\n")
    outcome = train(*LINE, given)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1), outcome.err
    assert sentence in outcome.err
    assert len(files_of(here)) == 2


HOLD = """
import pathlib, sys, time
from train import comparison, compose, config, launch, resuming, run_folder, run_lock
with run_lock.held(pathlib.Path(sys.argv[1]), "run_dir"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held(folder):
    """Another process holds the lock of a run's folder; it is killed, and has no chance to give it back."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_nobody_trains_a_run_that_another_process_trains_until_that_is_dead(train, run, here):
    with held(run) as holder:
        before = files_of(here)
        outcome = train("resume=run")
        assert (outcome.status, outcome.err.count("\n")) == (2, 1), outcome.err
        who = f"process {holder.pid} on {socket.gethostname()} does since 20"
        assert outcome.err.startswith(f"resume is 'run'; it must be a run that nobody trains, and {who}")
        assert files_of(here) == before
    run_lock.check_free(run, "resume")


def test_a_lock_that_is_taken_between_check_and_start_is_noticed_as_is_training_meanwhile(train, run, monkeypatch):
    shutil.rmtree(run / "checkpoints" / "12")
    with monkeypatch.context() as patch, held(run):
        patch.setattr(run_lock, "check_free", lambda folder, key: None)
        outcome = train(*LINE)
        assert (outcome.status, outcome.err.count("\n")) == (2, 1), outcome.err
    step = run / "checkpoints" / "8"
    monkeypatch.setattr(run_lock, "check_free", lambda folder, key: None)
    taken = run_lock.held

    def late(folder, key):
        shutil.copytree(step, step.with_name("10"))
        return taken(folder, key)

    monkeypatch.setattr(run_lock, "held", late)
    outcome = train(*LINE)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1), outcome.err
    assert "run was trained in while this launch was being prepared" in outcome.err


def test_where_files_cannot_be_locked_training_goes_on_with_a_warning(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.warns(UserWarning, match="lies where files cannot be locked"), run_lock.held(tmp_path, "run_dir"):
        pass
    run_lock.check_free(tmp_path, "run_dir")


def full(monkeypatch, name):
    """Have the disk be full when a file of that name is written, as Python tells it: without the file's name."""

    opened = Path.open

    def refusing(path, mode="r", *arguments, **options):
        if name in path.name and mode not in ("r", "rb"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv"])
def test_a_full_disk_is_said_in_a_sentence_and_the_last_checkpoint_is_kept(name, train, run, mlp_run, monkeypatch):
    with monkeypatch.context() as patch:
        full(patch, name)
        outcome = train(*LINE, f"total_agent_rounds={16 * ROUNDS}")
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1] == f"run/{name} cannot be used: No space left on device"
    assert_as(run, mlp_run)


def test_a_full_disk_that_does_not_say_which_file_it_is_about_is_said_in_a_sentence(train, monkeypatch):
    def refused(plan):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(launch, "execute", refused)
    outcome = train(*TINY)
    assert (outcome.status, outcome.err) == (1, "a file cannot be written: No space left on device\n")


def test_rows_are_appended_whole_or_not_at_all_where_the_disk_is_full(tmp_path):
    rows = [{"update": k, "seed": 0, "utility": -1.25} for k in range(1, 2000)]
    file = metrics_file.MetricsFile(tmp_path)
    file.append(rows[:3])
    limit = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert limit.stdout == f"{tmp_path / 'metrics.csv'}: File too large\n", limit.stderr
    assert metrics_file.read(tmp_path) == rows[:3]
    file.append(rows[3:])
    assert metrics_file.read(tmp_path) == rows


FULL = """
import pathlib, resource, sys
from train.loggers.metrics_file import MetricsFile
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    MetricsFile(pathlib.Path(sys.argv[1])).append([{"update": k, "seed": 0, "utility": -1.25} for k in range(4, 2000)])
except OSError as error:
    print(f"{error.filename}: {error.strerror}")
"""


def test_an_interrupted_launch_is_not_silent(train, monkeypatch):
    def interrupted(plan):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "execute", interrupted)
    outcome = train(*TINY)
    assert (outcome.status, outcome.err) == (128 + signal.SIGINT, "stopped by SIGINT\n")


@pytest.mark.parametrize(("given", "how"), [([], "python -m train resume=run"), (AUTO, "the same command line")])
def test_a_signal_during_the_comparison_stops_it_with_a_sentence_that_says_how_to_go_on(
    given, how, train, run, monkeypatch
):
    monkeypatch.setattr(comparison, "heuristics", lambda *arguments: os.kill(os.getpid(), signal.SIGTERM))
    outcome = train(*(LINE if given else ["resume=run"]), "evaluation.enabled=true")
    assert outcome.status == 128 + signal.SIGTERM
    assert outcome.err.splitlines()[-1] == f"stopped by SIGTERM; to go on: {how}"
