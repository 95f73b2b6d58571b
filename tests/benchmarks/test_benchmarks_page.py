"""RESULTS.md and its picture, from what the benchmarks report; and when training has reached its target."""

import copy

import numpy as np
import pytest

from benchmarks import __main__ as everything
from benchmarks import training

MACHINE = {"cpu_model": "Some CPU", "cores": 2, "jax": "0", "python": "3", "platform": "cpu"}


def spread(value):
    return {"median": value, "low": 0.9 * value, "high": 1.1 * value}


RESULTS = {
    "against_c": [{"num_nodes": 8, "jax_over_c": spread(1.25), "c_node_rounds_per_second": spread(3e7)}],
    "against_python": [
        {"num_nodes": 16, "num_envs": envs, "policy": policy, "jax_node_rounds_per_second": spread(rate)}
        for policy, envs, rate in (("random", 16, 2.1e6), ("random", 256, 1.1e6), ("noop", 16, 1.0e6))
    ],
    "growth": [
        {
            "num_nodes": n,
            "over_base": spread(ratio),
            "nanoseconds_per_node_round": spread(30 * ratio),
            "share_of_numbers": spread(0.2),
        }
        for n, ratio in ((16, 1.0), (1024, 2.5))
    ],
    "games": [
        {
            "num_nodes": n,
            "num_envs": envs,
            "policy": "random",
            "consume": consume,
            "node_rounds_per_second": spread(1e6 * envs),
        }
        for n in (8, 16)
        for envs in (4, 64)
        for consume in ("reward", "observation")
    ],
    "edge": [
        {"num_nodes": n, "num_envs": envs, "node_rounds_per_second": spread(rate)}
        for n, envs, rate in ((2, 32, 6760e3), (2, 256, 6760e2), (5, 32, 2240e2), (8, 32, 4e6), (64, 8, 1e6))
    ],
    "learners": [
        {
            "network": network,
            "num_nodes": 8,
            "shares": {"game": spread(0.02)},
            "of_matmul_rate": spread(rate),
            "compile_seconds": 8.0,
        }
        for network, rate in (("mlp", 0.7), ("pointer", 0.3))
    ],
    "forms": [{"program": "round", "num_nodes": 8, "obvious_over_ours": {"stealing: sorted": spread(3.0)}}],
    "certificates": [
        {"num_nodes": 2, "capacity": 30, "whole_seconds": spread(2.5)},
        {"num_nodes": 3, "capacity": 7, "whole_seconds": spread(9.0)},
        {"num_nodes": 3, "capacity": 8, "whole_seconds": spread(31.0)},
    ],
    "training": [{"cold": {"seconds_to_target": 40.0}, "warm": {"seconds_to_target": None}}],
}


def run(part, folder):
    return f"table of {part.name}\n", {"machine": MACHINE, "results": copy.deepcopy(RESULTS[part.name])}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    everything.main(["--output", str(folder)], run)
    return folder


def test_the_page_holds_every_table_under_its_command(page):
    text = (page / "RESULTS.md").read_text()
    for part in everything.PARTS:
        assert f"`{part.command}`\n\n```text\ntable of {part.name}\n```" in text
    assert "Some CPU, 2 cores" in text


@pytest.mark.parametrize(
    "row",
    [
        "| JAX over C in node-rounds/s, N = 8 | ≥ 1 | 1.25 | yes |",
        "| million node-slices/s of the rack, N = 16, random | ≥ 1.2 | 2.1 | yes |",
        "| million node-slices/s of the rack, N = 16, noop | ≥ 1.2 | 1 | no |",
        "| cost of a node at N = 1,024 over N = 16 | ≤ 2 | 2.5 | no |",
        "| steps/s of the edge over the 6,760 of its source, N = 2 | ≥ 300 | 500 | yes |",
        "| steps/s of the edge over the 2,240 of its source, N = 5 | ≥ 200 | 20 | no |",
        "| cost of a node of the edge at N = 64 over N = 8 | ≤ 3 | 4 | no |",
        "| game in an update, mlp, N = 8 | ≤ 15% | 2% | yes |",
        "| optimising over its matmul rate, mlp, N = 8 | ≥ 50% | 70% | yes |",
        "| optimising over its matmul rate, pointer, N = 8 | ≥ 35% | 30% | no |",
        "| compilation of an update, pointer, N = 8 | ≤ 15 s | 8 s | yes |",
        "| solved exactly, N = 2, K = 30 | ≤ 30 s | 2.5 s | yes |",
        "| solved exactly, N = 3, K = 8 | ≤ 30 s | 31 s | no |",
        "| 1.4 times closer to 0 than the best heuristic, first launch | ≤ 45 s | 40 s | yes |",
        "| 1.4 times closer to 0 than the best heuristic, second launch | ≤ 45 s | not reached | no |",
    ],
)
def test_targets_are_judged_by_the_medians(page, row):
    assert row in (page / "RESULTS.md").read_text().splitlines()


def test_the_picture_is_a_picture(page):
    assert (page / everything.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_benchmark_that_fails_leaves_nothing_written(tmp_path):
    def fail(part, folder):
        raise SystemExit("benchmarks: failed; nothing was written")

    with pytest.raises(SystemExit, match="nothing was written"):
        everything.main(["--output", str(tmp_path)], fail)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        everything.main(["--output", "no/such/folder"], run)
    assert ended.value.code == 2
    assert "--output is no/such/folder" in capsys.readouterr().err


def test_a_run_has_reached_its_target_when_the_mean_of_its_last_updates_has(tmp_path):
    utility = np.r_[np.full(20, -9.0), np.full(20, -3.0)]
    rows = "\n".join(f"{k + 1},{u},{0.5 * (k + 1)}" for k, u in enumerate(utility))
    (tmp_path / "metrics.csv").write_text(f"update,utility,seconds\n{rows}\n")
    found = training.reached(tmp_path, -6.0, wall=27.0)
    assert found["starting_seconds"] == pytest.approx(7.0)
    assert found["seconds_to_target"] == pytest.approx(7.0 + 0.5 * 25)  # five of the last ten updates at −3
    assert found["final_utility"] == -3.0
    assert training.reached(tmp_path, -1.0, wall=27.0)["seconds_to_target"] is None
