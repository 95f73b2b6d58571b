"""The game of the guide is entered as the guide says, and trains, is compared and can be loaded."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from doc_pages import ROOT, blocks
from processes import own_environment

import jaxdlb
from jaxdlb import checkpoint, evaluation
from train.__main__ import main

GUIDE = ROOT / "docs" / "extending.md"
TINY = (
    "total_agent_rounds=192",
    "learner.num_envs=4",
    "learner.rollout_length=8",
    "network.hidden=[8]",
    "network.critic_hidden=[8]",
    "evaluation.num_episodes=2",
    "evaluation.num_rounds=30",
    "evaluation.warmup=5",
    "run_dir=run",
)


@pytest.fixture(scope="module")
def source():
    """The game of the guide, its entry among it: the first block of the page."""
    text = blocks(GUIDE, "python")[0].text
    assert "ENTRY = Entry(" in text
    return text


def test_the_game_of_the_guide_is_added_in_its_three_steps(source, tmp_path):
    for folder in ("jaxdlb", "train", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "jaxdlb" / "games" / "routers").mkdir()
    (tmp_path / "jaxdlb" / "games" / "routers" / "__init__.py").write_text(source)
    registry = tmp_path / "jaxdlb" / "games" / "__init__.py"
    imported, imports = re.subn(
        r"from jaxdlb\.games import (.+)", r"from jaxdlb.games import \1, routers", registry.read_text()
    )
    entered, lines = re.subn(r"for each in \((.+?),?\)", r"for each in (\1, routers)", imported)
    assert (imports, lines) == (1, 1)
    registry.write_text(entered)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "conf" / "game" / "routers.yaml").write_text(re.sub("^  ", "", yaml, flags=re.MULTILINE))
    given = ["game=routers", "game.num_servers=3", "game.params.horizon=20", "game.randomise.horizon=[10,20]"]
    finished = subprocess.run(
        [sys.executable, "-m", "train", *TINY, *given],
        cwd=tmp_path,
        env=own_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    result = evaluation.from_json(json.loads((tmp_path / "run" / "evaluation.json").read_text()))
    assert {each.name for each in result.results} == {"learned", "learned(greedy)", "shortest_queue"}
    assert list(result.columns) == ["utility", "longest"]
    assert "longest" in finished.stdout


def test_a_game_and_a_rule_of_a_users_own_package_need_no_edit(source, tmp_path, monkeypatch, capsys, own_packages):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "routers.py").write_text(source)
    (package / "rules.py").write_text(
        "from jaxdlb.policies import Family\nfrom my_package.routers import ShortestQueue\n"
        "class Mine(ShortestQueue):\n    name = 'mine'\nFRESH = Family(Mine)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    rules = "evaluation.heuristics=[shortest_queue,my_package.rules:FRESH]"
    status = main([*TINY, "game.name=my_package.routers:ENTRY", "game.num_servers=3", rules])
    assert status == 0, capsys.readouterr().err
    result = evaluation.from_json(json.loads((tmp_path / "run" / "evaluation.json").read_text()))
    assert {each.name for each in result.results} == {"learned", "learned(greedy)", "shortest_queue", "mine"}
    policy = jaxdlb.load_policy(tmp_path / "run")
    assert (policy.game.name, policy.game.num_servers) == ("routers", 3)
    assert checkpoint.read_about(tmp_path / "run")["game"]["name"] == "my_package.routers:ENTRY"
