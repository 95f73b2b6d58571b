"""A run of the edge beside an agent that does not learn: it goes on bit for bit, and tells what every agent did."""

import csv
import gzip
import shutil

import pytest
from command_line import TINY, once

from jaxdlb import checkpoint
from train.__main__ import main
from train.loggers import metrics_file

LINE = (
    *(text for text in TINY if not text.startswith(("total_agent_rounds", "evaluation"))),
    "game=edge_three",
    "game.params.horizon=12",
    "learner.fixed_agents=[1]",
    "learner.fixed_policy=aimd",  # it remembers what came back
    f"total_agent_rounds={2 * 4 * 8 * 3}",
    "checkpoint_interval=1",
    "kept_checkpoints=2",
    "logging_interval=1",
    "evaluation.enabled=false",
)


@pytest.fixture(scope="module")
def run(shared):
    """Two updates in one go; no test writes to it."""
    return once(shared / "edge_run", lambda run: main([*LINE, f"run_dir={run}"]))


def test_a_run_beside_a_fixed_agent_goes_on_bit_for_bit(run, train, here):
    shutil.copytree(run, here / "halved")
    shutil.rmtree(here / "halved" / "checkpoints" / "2")
    assert checkpoint.steps(here / "halved" / "checkpoints") == [1]
    assert train("resume=halved").status == 0
    assert checkpoint.read_about(here / "halved") == checkpoint.read_about(run)  # checksums of the whole state
    first, second = ([row | {"seconds": 0} for row in metrics_file.read(each)] for each in (run, here / "halved"))
    assert first == second and len(first) == 2


def test_an_evaluation_tells_what_every_agent_did_in_every_step(run, evaluate_, here):
    sizes = ("evaluation.num_episodes=2", "evaluation.num_rounds=5", "evaluation.recorded_rounds=2")
    told = ("statistics=true", "evaluation.heuristics=[spread]", "evaluation.actions=[greedy]", "output=out")
    outcome = evaluate_(f"checkpoint={run}", *sizes, *told)
    assert outcome.status == 0, outcome.err
    files = {path.name.removesuffix(".csv.gz"): path for path in (here / "out" / "statistics").iterdir()}
    assert {"learned(greedy)_0", "learned(greedy)_1", "spread_0", "spread_1"} <= set(files)
    with gzip.open(files["learned(greedy)_1"], "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["agent"]) for row in rows] == [(str(t), str(i)) for t in range(5) for i in range(3)]
    assert all(row["flow_to_1"] == "" for row in rows if row["agent"] == "1")
    assert (here / "out" / "config.yaml").exists()
