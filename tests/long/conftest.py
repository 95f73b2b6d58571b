"""What takes long or installs much, and is no part of `make test`: `make test-all` runs it."""

import pytest
import wheels

pytest.register_assert_rewrite("environments")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The wheel and the source distribution of the checkout."""
    folder = tmp_path_factory.mktemp("built")
    tree = wheels.source(folder / "jaxdlb")
    return wheels.built("wheel", tree, folder / "wheel"), wheels.built("sdist", tree, folder / "sdist")
