"""`learner.fixed_agents`: whoever plays the policy of such a run plays its fixed agents as they were in training."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest
import yaml
from command_line import ROUNDS, TINY, assert_refused, once

import jaxdlb
from jaxdlb import checkpoint
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.networks import build_actor, suited
from jaxdlb.policies.fixed import Accompanied
from jaxdlb.policies.learned import variable_shapes
from jaxdlb.recording import record
from train import build, comparison, compose, evaluate, held_out
from train.__main__ import main
from train.loggers import metrics_file
from train.settings import Settings

RULE = "{name: power_of_d, d: 2}"
LINE = (
    *TINY,
    f"total_agent_rounds={4 * ROUNDS}",
    "learner.fixed_agents=[2,0]",
    f"learner.fixed_policy={RULE}",
    "evaluation.held_out_episodes=2",
    "evaluation.enabled=false",
    "logging_interval=1",
    "checkpoint_interval=1",
    "kept_checkpoints=4",
)


@pytest.fixture(scope="module")
def run(shared):
    """A run whose agents 0 and 2 are fixed; no test writes to it."""
    return once(shared / "fixed_run", lambda run: main([*LINE, f"run_dir={run}"]))


def test_the_policy_of_a_run_is_that_of_its_team(run):
    policy = jaxdlb.load_policy(run)
    assert isinstance(policy, Accompanied) and policy.name == "learned"
    game = policy.learned.game
    actions = record(game, policy, game.default_params(), jax.random.key(0), 60).actions
    rule = jaxdlb.heuristic("power_of_d", d=2)
    assert policy.fixed.policy.name == rule.name  # which never steals, nor chooses whom to steal from
    np.testing.assert_array_equal(actions.steal[:, [0, 2]], [[0, 2]] * 60)
    assert np.any(actions.steal[:, 1] != 1) and np.any(actions.dispatch[:, [0, 2]] != [0, 2])


def test_each_checkpoint_is_scored_by_what_its_team_does(run):
    _, settings, located = evaluate.from_run([f"checkpoint={run}"], evaluate.EvaluateSettings)
    scenario = build.scenario(settings.game)
    best = checkpoint.best_step(located.folder)
    (row,) = (row for row in metrics_file.read(run, metrics_file.HELD_OUT) if row["update"] == best)
    (policy,) = checkpoint.load_policies(located.folder)
    scored = held_out.HeldOut(scenario, None, True, 1, settings.evaluation)
    key = jax.random.fold_in(jax.random.key(settings.evaluation.seed), held_out._HELD_OUT)
    team, alone = evaluate_all(scenario.game, [policy, policy.learned], scenario.train, key, **scored.sizes)
    assert float(np.mean(team["utility"])) == pytest.approx(row["utility"], rel=1e-6)
    assert float(np.mean(alone["utility"])) != pytest.approx(row["utility"], rel=1e-3)


def test_checkpoints_may_be_scored_by_greedy_agents(run):
    _, settings, located = evaluate.from_run([f"checkpoint={run}"], evaluate.EvaluateSettings)
    scenario = build.scenario(settings.game)
    (policy,) = checkpoint.load_policies(located.folder)
    network = suited(scenario.game, build.network(settings.network))
    drawn, greedy = (
        held_out.HeldOut(scenario, network, True, 1, asked, policy.fixed)(policy.learned.variables)[0]["utility"]
        for asked in (settings.evaluation, dataclasses.replace(settings.evaluation, held_out_greedy=True))
    )
    best = checkpoint.read_about(located.folder, checkpoint.best_step(located.folder))
    assert drawn == pytest.approx(best["utility"])
    sizes = held_out.HeldOut(scenario, network, True, 1, settings.evaluation).sizes
    key = jax.random.fold_in(jax.random.key(settings.evaluation.seed), held_out._HELD_OUT)
    surest = dataclasses.replace(policy, learned=dataclasses.replace(policy.learned, greedy=True))
    (expected,) = evaluate_all(scenario.game, [surest], scenario.train, key, **sizes)
    assert greedy == pytest.approx(float(np.mean(expected["utility"])), rel=1e-6)
    assert greedy != pytest.approx(drawn, rel=1e-3)


def test_as_many_checkpoints_are_kept_as_asked_for_and_the_games_figures_show_several(run, monkeypatch):
    _, settings, located = evaluate.from_run([f"checkpoint={run}"], evaluate.EvaluateSettings)
    assert checkpoint.steps(located.folder) == [1, 2, 3, 4]
    scenario, shown = build.scenario(settings.game), {}
    viewer = types.SimpleNamespace(figures=lambda recordings: shown.update(recordings) or {"loads": ("Loads", "drawn")})
    scenario = dataclasses.replace(scenario, entry=dataclasses.replace(scenario.entry, viewer=lambda: viewer))
    monkeypatch.setattr(comparison, "_PANELS", 2)
    drawn = comparison.of_checkpoints(located.folder, scenario, settings.evaluation)
    assert drawn == {"checkpoints_loads": ("Loads: checkpoints", "drawn")}
    best = checkpoint.best_step(located.folder)
    names = {step: f"update {step}" + (", best" if step == best else "") for step in sorted({1, best, 4})}
    assert list(shown) == list(names.values())
    (policy,) = checkpoint.load_policies(located.folder, step=1)
    recording = comparison.record(scenario, policy, settings.evaluation.seed, settings.evaluation.recorded_rounds)
    np.testing.assert_array_equal(shown[names[1]].actions.dispatch, recording.actions.dispatch)


def test_what_a_run_says_of_itself_names_its_fixed_agents(run):
    saved = yaml.safe_load((run / "config.yaml").read_text())["learner"]
    assert (saved["fixed_agents"], saved["fixed_policy"]) == ([2, 0], {"name": "power_of_d", "d": 2})
    told = json.loads((run / "provenance.json").read_text())["resolved"]["learner"]
    assert told["fixed_agents"] == [2, 0] and told["fixed_policy"].startswith("power_of_d")


def test_a_run_goes_on_and_only_with_the_same_fixed_agents(run, train):
    assert_refused(train(f"resume={run}", "learner.fixed_agents=[0]"), "learner.fixed_agents")
    given = compose.from_run(run, [f"total_agent_rounds={5 * ROUNDS}"], Settings, resumed=True)
    settings = compose.settings(given, [])
    learner = build.learner(settings, build.scenario(settings.game))
    assert learner.fixed.agents == (0, 2) and learner.fixed.policy.name == "power_of_d(d=2)"


def test_where_there_are_no_such_agents_the_policy_is_refused(run, evaluate_, here):
    sentence = "fixed_agents[0] is 2; it must be an integer in [0, 1]"
    assert_refused(evaluate_(f"checkpoint={run}", "game.num_nodes=2", "game.params.completion_prob=0.5"), sentence)
    assert list(here.iterdir()) == []


def test_a_learner_that_knows_no_fixed_agents_says_so(train, here):
    sentence = "learner.fixed_agents is no known key; the keys of learner are actor_learning_rate"
    assert_refused(train("learner=consensus", "learner.fixed_agents=[1]"), sentence)
    assert list(here.iterdir()) == []


def write_about(folder, policy):
    """A checkpoint that names `policy` as that of its fixed agents."""
    game = jaxdlb.make("dlb", num_nodes=3)
    network = build.NetworkConfig("mlp", hidden=(4,))
    shapes = variable_shapes(game, build_actor(game, network))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    about = checkpoint.describe(game, network, True, 1, fixed=([1], policy))
    with checkpoint.Writer(folder / "checkpoints", about) as writer:
        writer.save(1, variables, variables, 0.0)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("this_module.is_never:IMPORTED", "what a checkpoint names is not imported"),
        ("nobody", "heuristic is 'nobody'"),
        ({"d": 2}, "cannot be made a policy again"),
    ],
)
def test_a_checkpoint_with_another_policy_than_those_known_is_refused(policy, sentence, tmp_path):
    write_about(tmp_path, policy)
    with pytest.raises(checkpoint.CheckpointError, match=sentence):
        jaxdlb.load_policy(tmp_path)
