"""What takes long or installs much, and is no part of `make test`: `make test-all` runs it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "train")]  # for `train`, and for what its tests share

import pytest  # noqa: E402
import wheels  # noqa: E402

pytest.register_assert_rewrite("environments")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The wheel and the source distribution of the checkout."""
    folder = tmp_path_factory.mktemp("built")
    tree = wheels.source(folder / "jaxdlb")
    return wheels.built("wheel", tree, folder / "wheel"), wheels.built("sdist", tree, folder / "sdist")
