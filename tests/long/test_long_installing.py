"""What is built, installed into a fresh environment without a compiler and used in an empty folder."""

import environments
import pytest
from processes import ROOT

CONSTRAINTS = f"--constraint={ROOT / 'constraints.txt'}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with environments.fresh(tmp_path_factory.mktemp("installed")) as made:
        yield made


def test_the_library_alone_the_extra_that_the_command_asks_for_and_everything_once(environment, built):
    wheel, sdist = built
    environment.pip("install", CONSTRAINTS, wheel)
    assert environment.python("import jaxdlb, jax; print(jaxdlb.make('dlb').num_agents)") == "8\n"
    refused = environment.jaxdlb("train", status=2)
    assert refused.stderr.count("\n") == 1 and refused.stderr.startswith("jaxdlb train needs hydra, matplotlib, PIL, ")
    (asked,) = [text.strip("'") for text in refused.stderr.split() if text.startswith("'")]
    environment.pip("install", CONSTRAINTS, asked)
    environments.tour(environment)
    found = "import importlib.util as u; print([u.find_spec(name) for name in ('train', 'conf', 'tests')])"
    assert environment.python(found) == "[None, None, None]\n"
    environment.pip("uninstall", "--yes", "jaxdlb")
    assert not (environment.folder / "bin" / "jaxdlb").exists()
    environment.pip("install", CONSTRAINTS, f"{sdist}[train]")
    assert environment.jaxdlb("train", *environments.SMALL, "run_dir=by_sdist").stdout == "the run is in by_sdist\n"
