"""Seeds and members of the size that users train, in a process that compiles as theirs does."""

import subprocess
import sys

import pytest
from processes import own_environment


@pytest.mark.parametrize("side_by_side", ["learner.num_seeds=8", "learner.population=8"])
def test_eight_networks_of_an_mlp_start_on_a_cpu_instead_of_waiting_for_each_other(side_by_side, tmp_path):
    """Batches of QR decompositions, side by side in one program, have blocked all threads of a machine with two."""
    given = ["network=mlp", "total_agent_rounds=2e5", "evaluation.enabled=false", "evaluation.held_out_episodes=0"]
    environment = own_environment() | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": ""}
    command = [sys.executable, "-m", "train", side_by_side, *given, "run_dir=run"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "update 13/13" in ended.stderr
