"""Settings of the whole suite; nothing of `jaxdlb` may be imported before the hook below is in place."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The suite compiles thousands of programs and runs each for a moment. Without optimisation, in one piece, they compile
# in a third of the time. Where a program is to be as users have it, a process of its own compiles it (`processes`).
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
# One cache of compiled programs for the whole run: for all files, all workers, and all processes that tests start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"jaxdlb-compiled-{os.getpid()}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
sys.path.insert(0, str(Path(__file__).parent))  # for `reference` and `typechecking`, from whatever folder pytest runs

import hypothesis
import jax
import pytest
import typechecking

# Shapes and dtypes that the annotations promise are checked in every function that a test reaches.
typechecking.install("jaxdlb")

jax.devices()  # one, before a launcher that a test calls makes more of them

# No deadline: the first example of a test compiles. Derandomized: the suite's verdict depends on the code alone;
# `--hypothesis-profile=explore` looks for new examples.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def own_packages(monkeypatch):
    """What hydra is told of users' own packages in a test, no later test in this process sees."""
    from hydra.core.config_store import ConfigStore

    from train import config

    config.register()
    groups = ConfigStore.instance().repo
    monkeypatch.setattr(config, "_FOREIGN", {})
    monkeypatch.setitem(groups["schema"], "game", dict(groups["schema"]["game"]))
    monkeypatch.setitem(groups, "game", dict(groups.get("game", {})))


def pytest_unconfigure() -> None:
    """Remove the cache of compiled programs, in the process that named it."""
    if os.environ["JAX_COMPILATION_CACHE_DIR"].endswith(f"jaxdlb-compiled-{os.getpid()}"):
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
