"""The launchers as a user meets them: command lines, run in this process where that is enough."""

import importlib
import os
import subprocess
import sys

import pytest
from command_line import ROOT, ROUNDS, TINY, call, once
from processes import quick_environment

sys.path.insert(0, str(ROOT))  # for `train`, which is not installed: it is imported from here on


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that the workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def tuning_cache(shared):
    """What is tuned here is kept apart from what the user has tuned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("train.tuning_cache"), "user_cache", lambda: shared / "cache")
        yield


def main_of(module):
    return importlib.import_module(module).main


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def train(here, capfd):
    return lambda *arguments: call(main_of("train.__main__"), arguments, capfd)


@pytest.fixture
def train_launcher(here, capfd):
    """Calls the launcher of a module."""
    return lambda module: lambda *arguments: call(main_of(module), arguments, capfd)


@pytest.fixture
def evaluate_(here, capfd):
    return lambda *arguments: call(main_of("train.evaluate"), arguments, capfd)


@pytest.fixture
def render_(here, capfd):
    return lambda *arguments: call(main_of("train.render"), arguments, capfd)


@pytest.fixture(scope="session")
def process():
    """Starts `python -m <module> <arguments>` as a user would, in a folder of choice."""

    def start(module, *arguments, cwd):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=quick_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def pointer_run(shared):
    """A finished run of a pointer network: 20 updates, evaluated."""
    settings = [*TINY, "network=pointer", f"total_agent_rounds={20 * ROUNDS}"]
    return once(shared / "pointer_run", lambda run: main_of("train.__main__")([*settings, f"run_dir={run}"]))


@pytest.fixture(scope="session")
def mlp_run(shared):
    """A finished run of an MLP: 12 updates, steps 4, 8 and 12 kept, not evaluated."""
    settings = [*TINY, f"total_agent_rounds={12 * ROUNDS}", "evaluation.enabled=false"]
    return once(shared / "mlp_run", lambda run: main_of("train.__main__")([*settings, f"run_dir={run}"]))


@pytest.fixture(scope="session")
def varied_run(shared):
    """A finished run of IPPO with two seeds on random clusters under a recorded workload, at an absolute path."""
    counts = [1 + k % 3 for k in range(40)] + [9, 1] * 10
    path = shared / "workload" / "trace.csv"
    clusters = ["game=dlb_trace", f"game.trace.path={path}", "game.trace.held_out=0.3333"]
    clusters += ["game.params.load=0.4", "game.randomise.heartbeat_period=[2,9]"]
    given = [*TINY, *clusters, "learner=ippo", "learner.num_seeds=2", "evaluation.heuristics=[local]"]
    given += ["evaluation.actions=[drawn,greedy]", "seed=7"]

    def run(folder):
        path.parent.mkdir()
        path.write_text("timestamp,value\n" + "".join(f"{60 * k},{count}\n" for k, count in enumerate(counts)))
        return main_of("train.__main__")([*given, f"run_dir={folder}"])

    return once(shared / "varied_run", run)
