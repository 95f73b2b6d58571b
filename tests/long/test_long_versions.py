"""What `pyproject.toml` allows: its lower bounds on the oldest Python, and the newest of everything on the newest."""

import tomllib

import environments
import pytest
from packaging.requirements import Requirement
from processes import ROOT

PYTHONS = environments.pythons()
SHOWN = """
import importlib.metadata, sys
names = ["jax", "flax", "optax", "chex", "numpy", "scipy", "orbax-checkpoint", "hydra-core", "wandb"]
print("Python", sys.version.split()[0], *(f"{name} {importlib.metadata.version(name)}" for name in names))
"""


def lowest():
    """Constraints that hold every dependency at its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for name, extra in project["optional-dependencies"].items() if name != "dev" for each in extra]
    bounds = [
        f"{requirement.name}=={specifier.version}"
        for requirement in map(Requirement, [*project["dependencies"], *extras])
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]
    return "\n".join(sorted(set(bounds)))


@pytest.mark.parametrize(
    ("python", "constraints"),
    [
        pytest.param(PYTHONS[0], lowest(), id=f"lower bounds, {PYTHONS[0].name}"),
        pytest.param(PYTHONS[-1], "", id=f"newest, {PYTHONS[-1].name}"),
    ],
)
def test_everything_works_once(python, constraints, built, tmp_path):
    wheel, _ = built
    with environments.fresh(tmp_path, python) as environment:
        (environment.here / "constraints.txt").write_text(constraints)
        environment.pip("install", "--constraint=constraints.txt", f"{wheel}[train]")
        print(environment.python(SHOWN))
        environments.tour(environment)
