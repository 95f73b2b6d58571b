"""A policy for each of several prices, in one command: what is refused, what is trained, run once, and told."""

import csv
import dataclasses
import importlib
import io
import json
import shutil

import jax
import numpy as np
import pytest
from command_line import files_of
from PIL import Image

from jaxdlb.checkpoint import load_policies, steps
from jaxdlb.evaluation import sweep as sweeps
from train import build, compose, frontier, tradeoff
from train.loggers import metrics_file

ROUNDS = 4 * 8 * 3  # agent-rounds of one update of one policy
TINY = (
    "experiment=pods_headline_quick",
    "network=mlp",
    f"total_agent_rounds={2 * ROUNDS}",
    "logging_interval=2",
    "across.values=[0.05,0.5]",
    "game.params.horizon=8",
    "learner.num_envs=4",
    "learner.rollout_length=8",
    "learner.num_minibatches=2",
    "network.hidden=[8]",
    "network.critic_hidden=[8]",
    "evaluation.num_episodes=2",
    "evaluation.num_rounds=12",
    "evaluation.heuristics=[fixed_equal,{name: target_usage, target: 0.3},{name: target_usage, target: 0.6}]",
)


@pytest.fixture
def frontier_(train_launcher):
    return train_launcher("train.frontier")


def suite(folder, clusters):
    (folder / "suite.yaml").write_text(json.dumps({"common": list(TINY), "clusters": clusters}))
    return "suite=suite.yaml"


def composed(*overrides):
    given = [*TINY, *overrides]
    return compose.settings(compose.from_conf(given), given)


# What is refused

BAD = {
    "across.over=violation_costs": "across.over is 'violation_costs'; it must be one of ",
    "across.over=null": "across.values is [0.05, 0.5]; it must not be given without across.over=…",
    "across.values=[0.5]": "across.values is [0.5]; it must hold at least two values, in ascending order",
    "across.values=[0.5,0.1]": "across.values is [0.5, 0.1]; it must hold at least two values, in ascending order",
    "across.values=[-1,0.1]": "across.values[0] is -1; it must be a finite number in [0, 1000000]",
    "evaluation.frontier.spent=core": "evaluation.frontier.spent is 'core'; it must be one of utility, violation_share",
    "evaluation.frontier.harm=null": "evaluation.frontier.harm is not given; it must be one of utility, ",
    "evaluation.frontier.harm=utility": "evaluation.frontier.harm is 'utility'; it must be a column in which less is",
    "evaluation.frontier.harms_besides=[cores,violations]": "harms_besides[1] is 'violations'; it must be one of",
    "evaluation.held_out_episodes=null": "evaluation.held_out_episodes is null; it must be 0 with across.over",
    "plots=timeline": "plots is timeline; it must be null with across.over",
}
BAD_LAUNCHES = {
    "across.over=null across.values=[]": "across.over is null; it must name the parameter at whose values policies are",
    "evaluation.enabled=false": "evaluation.enabled is false; it must be true, since train.frontier compares",
    "learner.population=4": "learner.population is 4; it must be null with across.over",
    "across.values=[0.5]": "across.values is [0.5]; it must hold at least two values, in ascending order",
    "only=[other]": "only holds 'other'; it must hold names of suite.yaml: one, recorded",
    "only=[recorded]": "trace is null; it must be given as trace=<file> for 'recorded', which only holds",
    "suite=nowhere.yaml": "suite is 'nowhere.yaml'; it must be a YAML file with common and clusters",
}


@pytest.mark.parametrize("given", BAD)
def test_what_cannot_be_trained_or_compared_is_refused_by_its_key(given):
    with pytest.raises(ValueError) as refused:
        tradeoff.check(composed(given))
    assert BAD[given] in str(refused.value)


@pytest.mark.parametrize("given", BAD_LAUNCHES)
def test_what_is_wrong_is_refused_in_a_sentence_before_anything_is_written(given, frontier_, here):
    known = suite(here, {"one": [], "recorded": ["game.trace.path={trace}"]})
    outcome = frontier_(known, "output=all", *given.split(" "))
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert BAD_LAUNCHES[given] in outcome.err
    assert not (here / "all").exists()


# What is trained


WHOLE = ("learner.num_seeds=2", "checkpoint_interval=2", f"total_agent_rounds={4 * ROUNDS}")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of two seeds at each of two values that was never stopped, and not compared: steps 2 and 4 are kept."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    given = [*TINY, *WHOLE, "game.params.classes=3", "evaluation.enabled=false", f"run_dir={folder}"]
    assert importlib.import_module("train.__main__").main(given) == 0
    return folder


def test_policies_trained_side_by_side_are_those_that_are_trained_alone_at_their_values(straight):
    settings = composed(*WHOLE, "game.params.classes=3")
    scenario = build.scenario(settings.game)
    base = build.learner(settings, tradeoff.trained_on(settings, scenario))

    @jax.jit
    def alone(key, params):
        learner = dataclasses.replace(base, sample_params=lambda key: params)
        state, metrics = jax.lax.scan(lambda state, _: learner.update(state), learner.init(key), length=2)
        return learner.policy_variables(state).actor, metrics["utility"]

    together = load_policies(straight, game=scenario.game, step=2)
    rows = metrics_file.read(straight)
    for number, (seed, value) in enumerate([(s, v) for s in (0, 1) for v in (0.05, 0.5)]):
        key = jax.random.fold_in(jax.random.key(settings.seed), seed)
        actor, utility = alone(key, scenario.game.default_params(horizon=8, classes=3, violation_cost=value))
        mine = [row["utility"] for row in rows if row["seed"] == number and row["update"] <= 2]
        np.testing.assert_allclose(utility, mine, rtol=1e-4)
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, atol=1e-4),
            together[number].variables.actor,
            actor,
        )


def test_a_run_that_was_cut_short_goes_on_bit_for_bit_and_is_compared_once(
    straight, frontier_, here, evaluate_, monkeypatch
):
    monkeypatch.setattr(sweeps, "RESAMPLES", 20)
    suite(here, {"three classes": ["game.params.classes=3"], "recorded": ["game.trace.path={trace}"]})
    shutil.copytree(straight, here / "all" / "three_classes")
    shutil.rmtree(here / "all" / "three_classes" / "checkpoints" / "4")
    outcome = frontier_("suite=suite.yaml", "output=all", *WHOLE)
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("recorded is left out, since no recorded demand is given (trace=<file>)\n") == 1
    assert outcome.err.count("update 4/4") == 1
    folder = here / "all" / "three_classes"
    assert steps(folder / "checkpoints")[-1] == 4
    rows = [csv.DictReader(io.StringIO((each / "metrics.csv").read_text())) for each in (folder, straight)]
    for one, other in zip(*rows, strict=True):
        assert {**one, "seconds": ""} == {**other, "seconds": ""}

    assert {path.name for path in (here / "all").iterdir()} == {"three_classes", "frontier.md", "frontier.json"}
    with Image.open(folder / "frontier.png") as picture:
        assert min(picture.size) > 200
    found = json.loads((folder / tradeoff.JSON).read_text())
    of_classes = [f"violations, {name} priority" for name in ("high", "medium", "low")]
    assert [each["harm"] for each in found["columns"]] == ["violations", *of_classes] and found["told"] == []
    assert [each["name"] for each in found["columns"][0]["policies"]] == ["mappo", "fixed_equal", "target_usage"]
    points = csv.DictReader(io.StringIO((folder / "frontier.csv").read_text()))
    assert len(list(points)) == 4 * (2 + 1 + 2)
    text = (folder / "frontier.txt").read_text()
    assert text.startswith("mappo trained at 2 values of violation_cost from 0.05 to 0.5, beside every setting of each")
    assert text.strip() in outcome.out
    assert (here / "all" / "frontier.md").read_text().count("| three classes |") == 4

    before = files_of(here / "all")
    assert frontier_("suite=suite.yaml", "output=all", *WHOLE).status == 0
    assert files_of(here / "all") == before
    refused = evaluate_("checkpoint=all/three_classes")
    assert (
        refused.status == 2 and "it must be a run of one policy, and that one has policies for several" in refused.err
    )


# What is told


def table(**columns):
    """A policy at one value, with one training seed, in two episodes."""
    share = {name: [0.5, 0.4] for name in ("violation_share", "violations_high")}
    rest = {"violations_medium": [np.nan, 0.1], "violations_low": [np.nan, np.nan], "utility": [-1, -2]}
    every = {**share, **rest, "truncated": [0, 0], **columns}
    return {name: np.array(values, float).reshape(1, 1, 2) for name, values in every.items()}


def test_where_arrivals_were_cut_off_or_a_class_had_no_request_the_table_says_so():
    settings = composed()
    scenario, tables = build.scenario(settings.game), {"mappo": table(truncated=[0.3, 0.7]), "rule": table()}
    cut, classes = tradeoff._told(settings, scenario, tables)
    assert cut.startswith("More requests may have come to a pod in a step than max_arrivals has room for: ")
    assert cut.endswith("pods cut short up to 0.5 a step, with mappo.")
    assert classes.endswith("divide by: “violations, medium priority”, “violations, low priority”.")
    assert list(tradeoff._told(settings, scenario, {"rule": table()})) == [classes]


def test_a_class_that_is_everybody_has_no_table_of_its_own():
    settings = composed()
    assert tradeoff._columns(settings, {"mappo": table()}) == ["violation_share"]
    assert tradeoff._columns(settings, {"mappo": table(violations_high=[0.5, 0.3])})[1:] == ["violations_high"]


def test_rules_have_every_member_of_a_grid_and_what_tuning_finds_at_each_value(monkeypatch):
    settings = composed("evaluation.heuristics=null")
    scenario, prices = build.scenario(settings.game), []

    def tuned(at, asked, families):
        prices.append(float(at.params.violation_cost))
        return {name: family.make() for name, family in families.items()}

    monkeypatch.setattr(tradeoff.comparison, "tuned", tuned)
    found = tradeoff.rules(settings, scenario)
    assert prices == pytest.approx([0.05, 0.5])
    assert {name: len(each) for name, each in found.items()} | {"random": 1} == {
        **{"fixed_equal": 1, "random": 1, "fixed_by_priority": 1, "usage_threshold": 18, "target_usage": 7},
        **{"peak_usage": 21, "headroom": 2, "vpa": 27, "oracle_water_filling": 1},
    }


@pytest.mark.parametrize("name", ["pods_headline", "pods_headline_quick"])
def test_the_headline_experiments_fit_every_cluster_of_the_suite(name, here):
    rows = "".join(f"{60 * k},{1 + k % 7}\n" for k in range(200))
    (here / "counts.csv").write_text("timestamp,value\n" + rows)
    _, clusters = frontier.suites.read("conf/pods_headline.yaml")
    for keys in clusters.values():
        given = [f"experiment={name}", *(key.replace("{trace}", "counts.csv") for key in keys)]
        settings = compose.settings(compose.from_conf(given), given)
        build.check(settings)
        tradeoff.check(settings)
        assert tradeoff.trained_on(settings, build.scenario(settings.game)).params.violation_cost == np.float32(0.02)
