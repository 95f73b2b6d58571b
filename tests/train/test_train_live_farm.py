"""Jobs on real processes through the command line: what is written, and what is refused."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import jax
import pytest
from command_line import assert_refused
from processes import quick_environment

import jaxdlb
from jaxdlb import checkpoint, learners
from jaxdlb.learners import IPPOConfig
from jaxdlb.live import NobodyThereError, calibration, engine, speeds
from jaxdlb.networks import NetworkConfig
from train import live_farm, live_table

# Processes of workers are forked from one that has the engine loaded, so that one that was killed is back at once.
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")

RULES = "policies=[{name: self_scheduling, size: 2},guided]"
SMALL = ("workers=2", "job=60", "repetitions=2", "task_seconds=0.004", "speeds=[1,2]")


@pytest.fixture
def live(train_launcher):
    return train_launcher("train.live_farm")


@pytest.fixture
def trained(here):
    """The folder of a run whose policy was never trained."""
    game = jaxdlb.make("farm", num_workers=8)
    network = NetworkConfig("mlp", hidden=(8,), critic_hidden=(8,))
    learner = learners.make(game, IPPOConfig(num_envs=1, rollout_length=8), network=network)
    state = jax.jit(learner.init)(jax.random.key(0))
    with checkpoint.Writer(here / "run" / checkpoint.FOLDER, checkpoint.describe(game, network, True, 1)) as to:
        to.save(1, state, learner.policy_variables(state), utility=-1.0)
    return "run"


def test_jobs_are_played_in_turn_and_compared(live, here, trained):
    """A policy that was trained for eight workers, beside a rule; one worker is killed in each job, and one joins."""
    given = ("policies=[guided,learned]", f"checkpoint={trained}", "kill=1", "join=1", "output=out")
    outcome = live(*SMALL, *given)
    assert outcome.status == 0, outcome.err
    folder = here / "out"
    assert {path.name for path in folder.iterdir()} == {"live.md", "live.json", "calibration.json"}
    text = (folder / "live.md").read_text(encoding="utf-8")
    assert outcome.out == f"{text}\nwritten to out\n"
    told = json.loads((folder / "live.json").read_text(encoding="utf-8"))
    rows = {each["name"]: each for each in told["policies"]}
    assert set(rows) == {"guided(least=1)", "learned(greedy)"}
    order = [line.partition("|")[2].partition("|")[0].strip() for line in text.splitlines()[2:]]
    assert order == sorted(rows, key=lambda name: rows[name]["makespan"]["mean"])
    assert rows["guided(least=1)"]["more"] is None and rows["learned(greedy)"]["more"] is not None
    for row in rows.values():
        assert len(row["makespans"]) == 2 and row["failures"] == 1 and row["chunks"] >= 2
        assert 0 <= row["idle"] < 1 and 0 <= row["communicating"] < 1
        assert sum(row["makespans"]) / 2 == pytest.approx(row["makespan"]["mean"])
    assert calibration.load(folder / "calibration.json").speeds[0] == 1
    assert str(here) not in json.dumps(told)


def test_the_table_says_by_how_much_a_policy_differs_from_the_best_rule():
    played = {
        name: [
            live_farm.Outcome(1, makespan=each, compute_seconds=3, comm_seconds=1, decision_seconds=[1e-3])
            for each in of
        ]
        for name, of in {"learned": [3.0, 5.0], "guided": [4.0, 6.5], "factoring": [6.0, 6.0]}.items()
    }
    rows = live_table.rows(played, ["guided", "factoring"])
    assert [row.name for row in rows] == ["learned", "guided", "factoring"]
    assert [None if row.more is None else row.more.mean for row in rows] == [-1.25, None, 0.75]
    assert rows[0].communicating == 0.25 and rows[0].decision_ms == 1
    assert "| learned | 4.00 [-8.71, 16.71] | -1.25 [-4.43, 1.93] | 0 | 0.0% | 25.0% |" in live_table.to_markdown(rows)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((), "policies is not given; it must be, as policies=…"),
        (("policies=[]",), "policies is empty; it must hold at least one"),
        (("policies=[guidde]",), "policies[0] is 'guidde'; it must be one of random, self_scheduling, "),
        (("policies=[guided,{name: guided, leest: 2}]",), "policies[1].leest is not an option of guided; its options"),
        (("policies=[guided,guided]",), "policies holds 'guided(least=1)' twice; every policy must have a name of its"),
        (
            ("policies=oracle_weighted_factoring",),
            "policies holds 'oracle_weighted_factoring', an oracle; nobody knows",
        ),
        (("policies=learned",), "checkpoint is not given; it must be where policies holds learned"),
        (("policies=learned", "checkpoint=nowhere"), "checkpoint is 'nowhere'; it must be the folder of a run, and no"),
        ((RULES, "job=70000"), "job is 70000; it must be an integer in [1, 65536]"),
        ((RULES, "repetitions=1"), "repetitions is 1; it must be an integer in [2, 10000]"),
        ((RULES, "task_cv=0"), "task_cv is 0; it must be a finite number > 0"),
        ((RULES, "workers=0"), "workers is 0; it must be an integer in [1, "),
        ((RULES, "workers=here"), "workers is 'here'; it must be a number, or an address as in tcp://127.0.0.1:8786"),
        ((RULES, "workers=tcp://127.0.0.1:1", "kill=1"), "kill is 1; it must be 0 where workers is an address"),
        ((RULES, "speeds=fast"), "speeds is 'fast'; it must be a list, cgroup, {cgroup: [1,2,3,5]} or null"),
        ((RULES, "speeds=[1,-2]"), "speeds[1] is -2; it must be a finite number > 0"),
        ((RULES, "speeds={cgroup: [1,5000]}"), "speeds holds 1; it must be at least "),
        ((RULES, "calibration=nothing.json"), "calibration is 'nothing.json'; it must be what can be used, and"),
        ((RULES, "calibration=empty.json"), "calibration is 'empty.json'; it must be a file that a calibration was"),
        ((RULES, "output=full"), "output is 'full'; it must be a new or empty folder"),
        ((RULES, "repetition=3"), "repetition is no known key; the keys are "),
        (("live",), "live is no key with its value; it must be one, as in job=2000"),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(live, here, given, sentence):
    (here / "empty.json").write_text("{}")
    (here / "full").mkdir()
    (here / "full" / "something").touch()
    assert_refused(live(*given), sentence)
    assert {path.name for path in here.iterdir()} == {"empty.json", "full"}


def test_what_is_not_installed_or_not_permitted_is_said(live, monkeypatch, tmp_path):
    monkeypatch.setattr(speeds, "GROUPS", tmp_path / "groups")
    other = (
        "speeds is cgroup; it must be a list of speeds by work, as in [1,2,3,5], since no CPU groups can be made here"
    )
    assert_refused(live(RULES, "speeds=cgroup"), other)
    monkeypatch.setattr(engine, "is_installed", lambda: False)
    assert_refused(live(RULES), "distributed is not installed; pip install 'jaxdlb[live]' brings it")


def test_a_scheduler_that_does_not_answer_is_refused(live, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.3)
    sentence = "workers is 'tcp://127.0.0.1:1'; it must be the address of a scheduler ("
    assert_refused(live(RULES, "workers=tcp://127.0.0.1:1"), sentence)


def test_workers_that_are_gone_for_good_end_it_in_a_sentence(live, here, monkeypatch):
    calibration.guessed(4).save(here / "measured.json")

    class Gone(contextlib.nullcontext):
        is_local, names = True, ()

        def __init__(self, *given):
            super().__init__(self)

        def wait_for(self, count):
            assert count == 4

    def job(*given):
        raise NobodyThereError(60.0, live_farm.Outcome(2000))

    monkeypatch.setattr(live_farm, "Workers", Gone)
    monkeypatch.setattr(live_farm, "_job", job)
    outcome = live(RULES, "calibration=measured.json")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "no worker has been there for 60 s; 0 tasks are done\n"
    assert {path.name for path in here.iterdir()} == {"measured.json"}


def session_of(pid):
    """Of a process that is there; None of one that merely waits to be noticed."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        state, _, _, session, *_ = file.read().rpartition(")")[2].split()
        return int(session) if state != "Z" else None


def test_ctrl_c_ends_everything_with_a_sentence(here):
    """A terminal tells all processes of it, those of workers too."""
    command = [sys.executable, "-m", "train.live_farm", RULES, "workers=1", "task_seconds=10"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=quick_environment(), start_new_session=True, **pipes) as process:
        assert process.stderr.readline() == "measuring workers and tasks\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "")
    assert err == "SIGINT: stopping; once more to stop at once\n"
    until = time.monotonic() + 300  # what looks after processes ends a moment later
    while process.pid in map(session_of, filter(str.isdigit, os.listdir("/proc"))):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert list(here.iterdir()) == []
