"""One shipped config comes within 1% of the team optimum of small clusters, and nobody gains as much by deviating."""

import json
import subprocess
import sys

import pytest
from processes import ROOT, own_environment


@pytest.mark.parametrize("of", [("--of-two=2", "--of-three=0"), ("--of-two=0", "--of-three=1")], ids=["two", "three"])
def test_the_shipped_config_comes_near(of, tmp_path):
    command = [sys.executable, "-m", "benchmarks.near_optimal", *of, f"--json={tmp_path / 'near.json'}"]
    subprocess.run(command, cwd=ROOT, env=own_environment(), check=True)
    for run in json.loads((tmp_path / "near.json").read_text())["results"]:
        assert run["gap"] < 0.01, run
        assert run["nash_gap"] < 0.01, run
