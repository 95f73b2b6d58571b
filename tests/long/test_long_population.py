"""Seeds and members of the size that users train, in a process that compiles as theirs does."""

import json
import subprocess
import sys

from processes import own_environment

COMMON = ("network=mlp", "total_agent_rounds=2e5", "evaluation.held_out_episodes=4", "evaluation.held_out_rounds=100")


def train(folder, *arguments):
    environment = own_environment() | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": ""}
    command = [sys.executable, "-m", "train", *COMMON, *arguments, "run_dir=run"]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "update 13/13" in ended.stderr
    return folder / "run"


def test_eight_seeds_of_an_mlp_start_on_a_cpu_instead_of_waiting_for_each_other(tmp_path):
    """Batches of QR decompositions, side by side in one program, have blocked all threads of a machine with two."""
    train(tmp_path, "learner.num_seeds=8", "evaluation.enabled=false")


def test_the_best_of_eight_members_is_compared_with_the_heuristics(tmp_path):
    given = ["evaluation.heuristics=[local]", "evaluation.num_episodes=4", "evaluation.num_rounds=300"]
    run = train(tmp_path, "learner.population=8", "learner.evolution.interval=4", *given)
    assert "learned" in (run / "table.txt").read_text(encoding="utf-8")
    assert all((run / "figures" / f"{name}.png").exists() for name in ("population", "learning_curve"))
    result = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert [each["num_seeds"] for each in result["results"] if each["kind"] == "learned"] == [1, 1]
    assert result["settings"]["members"] == 8
    assert result["settings"]["agent_rounds of training"] == 8 * 13 * 64 * 32 * 8
