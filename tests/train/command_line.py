"""What the tests of the launchers share: a small run, and what a command line comes to."""

import dataclasses
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A run as small as it goes, without the heuristics' tuning. Tests that keep its sizes and its logging interval share
# one compiled program, by the cache on disk.
TINY = (
    "total_agent_rounds=384",
    "logging_interval=4",
    "checkpoint_interval=4",
    "game.num_nodes=3",
    "network=mlp",
    "learner.num_envs=4",
    "learner.rollout_length=8",
    "learner.num_epochs=2",
    "learner.num_minibatches=2",
    "network.hidden=[8]",
    "network.critic_hidden=[8]",
    "evaluation.num_episodes=4",
    "evaluation.num_rounds=60",
    "evaluation.warmup=10",
    "evaluation.recorded_rounds=20",
    "evaluation.actions=[drawn]",
    "evaluation.heuristics=[local,{name: power_of_d, d: 2, weighted: true}]",
)
ROUNDS = 4 * 8 * 3  # agent-rounds of one update


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

    status: int
    out: str
    err: str


def call(main, arguments, capfd):
    capfd.readouterr()
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    return Outcome(status, *capfd.readouterr())


def assert_refused(outcome, sentence):
    assert outcome.status == 2, outcome
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
    assert sentence in outcome.err
    assert outcome.out == ""


def once(folder, make):
    """Have the first worker that asks make a run in `folder`, by `make(folder)`, which returns the status 0."""
    done = folder.with_suffix(".done")
    try:
        folder.with_suffix(".begun").mkdir()
    except FileExistsError:
        deadline = time.monotonic() + 300
        while not done.exists():
            assert time.monotonic() < deadline, f"the other worker did not finish {folder.name}"
            time.sleep(0.1)
    else:
        status = folder.with_suffix(".status")
        status.write_text(str(make(folder)))
        status.replace(done)  # all at once, since the other worker reads it as soon as it is there
    assert done.read_text() == "0"
    return folder


def files_of(folder):
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
