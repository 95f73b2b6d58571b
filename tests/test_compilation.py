import os
import subprocess
import sys

import pytest

from jaxdlb.compilation import tune_for_cpu

EXTRA, WIDTH = "--xla_backend_extra_options", "--xla_cpu_prefer_vector_width"


@pytest.mark.parametrize("given", ["", "--xla_backend_optimization_level=1"])
@pytest.mark.parametrize("whole_loops", [False, True])
def test_options_are_added_to_those_given(given, whole_loops, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    tune_for_cpu(whole_loops=whole_loops)
    flags = os.environ["XLA_FLAGS"].split()
    assert flags[: len(given.split())] == given.split()
    assert [flag.partition("=")[0] for flag in flags[-2:]] == [EXTRA, WIDTH]
    assert ("while_loop" in flags[-2]) is whole_loops


@pytest.mark.parametrize("name", [EXTRA, WIDTH])
def test_what_the_user_has_set_stays(name, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"{name}=1")
    tune_for_cpu()
    flags = os.environ["XLA_FLAGS"].split()
    assert [flag for flag in flags if flag.startswith(name)] == [f"{name}=1"]
    assert len(flags) == 2


def test_xla_knows_the_options():
    """A process with an unknown flag ends at its first computation."""
    code = "import jax, jaxdlb.compilation as c; c.tune_for_cpu(whole_loops=True); jax.numpy.ones(3).sum()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
