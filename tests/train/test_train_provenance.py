"""provenance.json: what a run came from, without nulls and without this machine's folders."""

import dataclasses
import importlib.metadata
import json
import platform
import shutil

import jax
import numpy as np
import pytest
from command_line import ROUNDS, TINY

import jaxdlb
from train import build, compose, provenance


def told(folder):
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


def prepared(overrides):
    """The settings of a command line, and their scenario."""
    settings = compose.settings(compose.from_conf(overrides), overrides)
    return settings, build.scenario(settings.game)


def nulls(value):
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(nulls, below))


def test_a_run_tells_its_seeds_versions_device_and_command_line(varied_run, shared):
    found = told(varied_run)
    assert (found["seed"], found["num_seeds"]) == (7, 2)
    (launch,) = found["launches"]
    packages = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
    assert launch["versions"] == {"python": platform.python_version(), "jaxdlb": jaxdlb.__version__, **packages}
    assert launch["device"]["kind"] == jax.devices()[0].device_kind
    assert (launch["device"]["platform"], launch["device"]["count"]) == (jax.default_backend(), jax.device_count())
    assert launch["update"] == 0
    assert launch["command"].startswith("python -m train total_agent_rounds=384 ")
    assert "learner.num_seeds=2" in launch["command"]
    assert "'game.trace.path=…/trace.csv'" in launch["command"] and "'run_dir=…/varied_run'" in launch["command"]
    assert str(shared) not in (varied_run / "provenance.json").read_text(encoding="utf-8")


def test_a_run_tells_what_its_settings_came_to_without_nulls(varied_run):
    found = told(varied_run)["resolved"]
    assert not nulls(found)
    assert found["game"] == {"name": "dlb", **dataclasses.asdict(jaxdlb.make("dlb", num_nodes=3))}
    assert found["parameters"]["completion_prob"] == [0.2, 0.55, 0.9]
    assert found["parameters"]["arrival_modulation"]["kind"] == "trace"
    assert found["randomise"] == {"heartbeat_period": [2, 9]}
    assert found["evaluation"] == {"seed": 1, "num_episodes": 4, "num_rounds": 60, "warmup": 10}
    learner = found["learner"]
    assert (learner["name"], learner["schedule_updates"], learner["num_envs"]) == ("ippo", 4, 4)
    assert (found["network"]["kind"], found["network"]["hidden"]) == ("mlp", [8])
    assert found["training"] == {"num_updates": 4}


def test_the_config_stays_one_that_a_run_can_be_evaluated_by(varied_run, evaluate_, here, shared):
    (here / "trace.csv").symlink_to(shared / "workload" / "trace.csv")
    outcome = evaluate_(f"checkpoint={varied_run}", "output=again", "game.trace.path=trace.csv")
    assert outcome.status == 0, outcome.err
    assert "learned (2 seeds)" in outcome.out
    found = told(here / "again")
    (launch,) = found["launches"]
    assert launch["command"] == (
        "python -m train.evaluate 'checkpoint=…/varied_run' output=again game.trace.path=trace.csv"
    )
    assert launch["update"] == 4
    assert found["resolved"] == {
        name: each for name, each in told(varied_run)["resolved"].items() if name in found["resolved"]
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ["game.params.load=0.37"],
        ["game.params.arrival_prob=[0.1,0.2,0.3]", "game.num_nodes=3", "game.params.transfer_delay=3"],
        ["game.params.arrival_modulation.kind=step", "game.params.arrival_modulation.at=40"],
        ["game.heartbeats=per_link", "game.num_nodes=3", "game.params.heartbeat_loss=0.015"],
    ],
)
def test_the_parameters_told_make_the_same_cluster_again(overrides):
    settings, scenario = prepared(overrides)
    written = json.loads(json.dumps(provenance.resolved(settings, scenario)["parameters"]))
    again = scenario.game.default_params(**written)
    assert jax.tree.structure(again) == jax.tree.structure(scenario.params)
    for one, other in zip(*map(jax.tree.leaves, (again, scenario.params)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("run_dir=/home/somebody/my runs/run", "'run_dir=…/run'"),
        ("game.trace.path='/data//in here/t.csv'", "'game.trace.path='\"'\"'…/t.csv'\"'\"''"),
        ("some={path: /a/b/c, other: [/d/e]}", "'some={path: …/c, other: […/e]}'"),
        ("some=file:///a/b", "'some=file:…/b'"),
        ("output=../there/x", "output=../there/x"),
        ("resume=runs/now", "resume=runs/now"),
        ("game.params.load=0.8", "game.params.load=0.8"),
    ],
)
def test_a_command_line_keeps_all_but_the_folders_of_absolute_paths(given, kept):
    assert provenance.command("train", [given]) == f"python -m train {kept}"


def test_a_resumed_run_adds_its_launch_to_those_before(mlp_run, train, here):
    run = shutil.copytree(mlp_run, here / "run")
    before = told(run)
    outcome = train("resume=run", "resume_step=8", f"total_agent_rounds={13 * ROUNDS}")
    assert outcome.status == 0, outcome.err
    first, second = told(run)["launches"]
    assert [first] == before["launches"]
    assert second["command"] == f"python -m train resume=run resume_step=8 total_agent_rounds={13 * ROUNDS}"
    assert second["update"] == 8
    assert told(run)["resolved"]["training"] == {"num_updates": 13}


def test_a_file_that_tells_something_else_is_written_anew(mlp_run, tmp_path):
    for text in ("", "[]", '{"launches": 3}', "{"):
        (tmp_path / "provenance.json").write_text(text)
        provenance.write(tmp_path, *prepared(TINY), "python -m train", update=0)
        assert [each["command"] for each in told(tmp_path)["launches"]] == ["python -m train"]
