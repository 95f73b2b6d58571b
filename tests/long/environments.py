"""Fresh environments that the project is installed into, and a tour of everything that it does there."""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from processes import ROOT

OLDEST_PYTHON = int(re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[1])
COMPILERS = ("cc", "gcc", "g++", "clang", "clang++")
SMALL = ("experiment=smoke", "total_agent_rounds=1500", "evaluation.enabled=false")


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder to work in; neither sees the checkout, or a compiler."""

    folder: Path
    here: Path

    def run(self, program, *arguments, status=0, **variables):
        """Run one of its programs, which must end with a status, and return what it came to."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
        path = {"PATH": f"{self.folder / 'bin'}:{self.folder / 'tools'}"}
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.here,
            env=kept | path | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{program} {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done

    def pip(self, *arguments):
        return self.run("python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def python(self, code):
        return self.run("python", "-c", code, **self._caches()).stdout

    def jaxdlb(self, *arguments, status=0, **variables):
        """Run the command, and return what it came to."""
        return self.run("jaxdlb", *arguments, status=status, **self._caches(), **variables)

    def _caches(self):
        return {"XDG_CACHE_HOME": str(self.folder / "cache"), "JAX_COMPILATION_CACHE_DIR": str(self.folder / "xla")}


@contextlib.contextmanager
def fresh(folder, python=sys.executable):
    """An environment of its own for a Python, removed afterwards: it may take a gigabyte."""
    subprocess.run([python, "-m", "venv", folder / "env"], check=True)
    (folder / "here").mkdir()
    tools = folder / "env" / "tools"
    tools.mkdir()
    (tools / "bash").symlink_to(shutil.which("bash"))
    assert not any(shutil.which(name, path=f"{folder / 'env' / 'bin'}:{tools}") for name in COMPILERS)
    try:
        yield Environment(folder / "env", folder / "here")
    finally:
        shutil.rmtree(folder / "env")


def pythons():
    """The interpreters of this machine that the project may run on, from the oldest to the newest, by their version."""
    found = {}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for place in (*os.environ["PATH"].split(":"), *versions.glob("*/bin"), str(Path(sys.executable).resolve().parent)):
        for path in Path(place).glob("python3.*"):
            minor = re.fullmatch(r"python3\.(\d+)", path.name)
            if minor and int(minor[1]) >= OLDEST_PYTHON and _works(path):
                found[int(minor[1])] = path
    return [found[minor] for minor in sorted(found)]


def _works(python):
    """Whether it can make environments with pip in them: some are shims of what is not there, or come without."""
    done = subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False)
    return done.returncode == 0


def tour(environment):
    """Use everything once, as users do."""
    use_launchers(environment)
    train_the_others(environment)
    use_bash(environment)
    use_library(environment)


def use_launchers(environment):
    """Every launcher, wandb offline, a run that goes on, a search of the rules' options."""
    here, jaxdlb = environment.here, environment.jaxdlb
    trained = jaxdlb("train", "experiment=smoke", "run_dir=run", "logger=wandb", "logger.mode=offline")
    assert "» learned" in trained.stdout and "the run is in run" in trained.stdout
    assert {"report.html", "metrics.csv", "wandb"} <= {path.name for path in (here / "run").iterdir()}
    resumed = jaxdlb("train", "resume=run", "total_agent_rounds=9000", "evaluation.enabled=false")
    assert "update 42/47, compiling" in resumed.stderr
    local = ("evaluation.heuristics=[local]", "evaluation.num_episodes=4")
    assert "» learned" in jaxdlb("evaluate", "checkpoint=run", "output=again", "game.num_nodes=3", *local).stdout
    jaxdlb("simulate", "checkpoint=run", "policy=[learned,local]", "duration=100", "output=played")
    assert (here / "played" / "series.csv").read_text().startswith("policy,time,steps")
    certified = jaxdlb("certify", "game.capacity=3", "evaluation.heuristics=[local]", "output=certified")
    assert "= team optimum" in certified.stdout
    jaxdlb("render", "checkpoint=run", "policy=learned", "rounds=2", "first_round=3", "output=game.gif")
    assert (here / "game.gif").read_bytes().startswith(b"GIF8")
    suite = jaxdlb("robustness", "experiment=smoke", "only=[reference]", "learner.num_seeds=1", *local)
    assert "written to runs/robustness" in suite.stdout


def train_the_others(environment):
    """The other learners, networks and the other game, and a sweep."""
    for other in ("learner=consensus", "learner=ippo network=mlp_gru", "game=rack network=pointer"):
        environment.jaxdlb("train", *SMALL, *other.split())
    environment.jaxdlb("train", "-m", *SMALL, "seed=1,2", "runs_dir=swept")
    assert len([*environment.here.glob("swept/*/[01]/checkpoints")]) == 2


def use_bash(environment):
    """Completion of launchers, groups and keys."""
    rack = ["game=rack_heterogeneous", "game=rack_homogeneous"]
    assert completed(environment, "jaxdlb train game=rack_h") == rack
    assert completed(environment, "jaxdlb ev") == ["evaluate"]


def use_library(environment):
    """The README's example, the check of a game, and the policy of a run."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert environment.python(example)
    check = "import jaxdlb; from jaxdlb.testing import check_game; check_game(jaxdlb.make('dlb', num_nodes=3))"
    environment.python(f"{check}; print(jaxdlb.load_policy('run').name)")


def completed(environment, line):
    """What bash, which evaluates what `jaxdlb train --shell-completion install=bash` prints, offers for a line."""
    script = f"""
        eval "$(jaxdlb train --shell-completion install=bash)"
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_CWORD={len(line.split()) - 1}
        COMP_WORDS=($COMP_LINE)
        hydra_bash_completion
        echo "${{COMPREPLY[@]}}"
    """
    return environment.run(environment.folder / "tools" / "bash", "-c", script).stdout.split()
