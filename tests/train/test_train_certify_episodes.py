"""Certificates of episodes in which nothing is left to chance, through the command line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import assert_refused

import jaxdlb
from jaxdlb import checkpoint
from jaxdlb.networks import NetworkConfig, build_actor
from jaxdlb.policies.learned import variable_shapes
from train import build, certify, comparison, compose, episodes

SMALL = (
    *("game=farm", "game.num_workers=2", "game.task_law=deterministic", "game.params.drift=0"),
    *("game.params.job=12", "game.params.speed=[1,3]", "game.params.comm_time=0.5"),
)
RULES = "evaluation.heuristics=[static,{name: adaptive_weighted_factoring, share: 1, probe: 4}]"
WRITTEN = {"certificate.txt", "certificate.json", "config.yaml", "provenance.json", "figures/gaps.png"}


@pytest.fixture
def certify_(train_launcher):
    return train_launcher("train.certify")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of an MLP on the reference farm, of eight workers, with parameters that nobody trained."""
    folder = tmp_path_factory.mktemp("farms") / "run"
    folder.mkdir()
    given = ["game=farm", "network=mlp", "network.hidden=[8]"]
    compose.save(compose.from_conf(given), folder)
    game, network = jaxdlb.make("farm"), NetworkConfig("mlp", hidden=(8,))
    random = np.random.default_rng(0)
    shapes = variable_shapes(game, build_actor(game, network))
    variables = jax.tree.map(lambda leaf: random.uniform(0, 1, leaf.shape).astype(leaf.dtype), shapes)
    with checkpoint.Writer(folder / checkpoint.FOLDER, checkpoint.describe(game, network, True, 1)) as writer:
        writer.save(1, variables, variables, utility=-1.0)
    return folder


def told(folder):
    return json.loads((folder / "certificate.json").read_text(encoding="utf-8"))


def test_the_policy_of_eight_workers_is_certified_on_two_beside_rules_and_the_optimum(run, certify_, here):
    outcome = certify_(f"checkpoint={run}", *SMALL, RULES, "evaluation.num_episodes=4", "output=out")
    assert outcome.status == 0, outcome.err
    written = {path.relative_to(here / "out").as_posix() for path in (here / "out").rglob("*") if path.is_file()}
    assert written >= WRITTEN
    assert (here / "out" / "certificate.txt").read_text() + "written to out\n" == outcome.out
    found = told(here / "out")
    assert (found["num_states"], found["num_moves"], found["num_episodes"]) == (477, 1891, 4)
    assert found["utility"] == pytest.approx(-4 / 3, rel=1e-6) and found["elapsed"] == pytest.approx(4, rel=1e-6)
    assert [len(each) for each in found["actions"]] == [2] * 3  # three chunks
    lines = {line["name"]: line for line in found["lines"]}
    best, *others = [line["name"] for line in found["lines"]]
    assert best == "optimum" and others[:2] == ["optimum, nobody declines", "optimum, choices of agents alone"]
    assert {lines[name]["kind"] for name in (best, *others[:2])} == {"optimal"}
    for name, makespan in (("optimum", 4), ("static", 6.5)):
        assert lines[name]["columns"]["makespan"]["mean"] == pytest.approx(makespan, rel=1e-6)
        assert lines[name]["gap"] == pytest.approx(makespan / 4 - 1, abs=1e-6)
    assert lines["adaptive_weighted_factoring(least=1, probe=4, share=1)"]["kind"] == "heuristic"
    for name in ("learned", "learned(greedy)"):
        assert lines[name]["kind"] == "learned" and lines[name]["gap"] > 0
        assert f"{name} is not near-optimal, {100 * lines[name]['gap']:.3f}% behind the optimum." in outcome.out
    drawn, greedy = (lines[name]["columns"]["makespan"] for name in ("learned", "learned(greedy)"))
    assert greedy["low"] == greedy["mean"] == greedy["high"] and drawn["low"] < drawn["high"]
    assert "  static " in outcome.out and " 62.500%" in outcome.out and " 6.5000 " in outcome.out


def test_a_run_that_played_another_game_is_certified_in_the_small_one_of_its_name(run, certify_, here, monkeypatch):
    monkeypatch.setattr(episodes.deterministic, "explore", lambda episode: episode)
    plan = certify.prepare([f"checkpoint={run}"])
    assert plan.cut == ["game=farm_certified"] and plan.scenario.game.num_workers == 3
    assert certify._told(plan.cut) == ["The run played another game, and this one is small: game=farm_certified"]
    assert certify.prepare(["game=farm_certified"]).cut == []


GIVEN = {
    "game.params.drift=0.5": "game.params.drift is 0.5; it must be 0 for an exact solution; what would make a small "
    "game: game=farm_certified",
    "game.task_law=exponential": "game.params.noise is 1; it must be 0, or task_law 'deterministic', for an exact",
    "game.params.job=5000": "game.params.job is 5,000; it must be at most 200 for an exact solution; what",
    "game.randomise.comm_time=[0.1,0.2]": "game.randomise is given; it must not be for an exact solution",
}


@pytest.mark.parametrize("given", GIVEN)
def test_what_cannot_be_solved_is_refused_in_a_sentence(given, certify_, here):
    assert_refused(certify_(*SMALL, given), GIVEN[given])
    assert list(here.iterdir()) == []


def test_a_policy_of_eight_workers_plays_at_one_and_at_three(run):
    for num_workers in (1, 3):
        game = jaxdlb.make("farm", num_workers=num_workers)
        (policy,) = checkpoint.load_policies(run, game=game, greedy=True)
        params = game.default_params()

        def first(key, game=game, policy=policy, params=params):
            seen = game.reset(key, params)[1].observation
            return seen.legal, policy.act(key, policy.init(game), seen, params)[1]

        legal, action = jax.jit(first)(jax.random.key(0))
        assert action.shape == (num_workers,)
        assert bool(legal[0, action[0]]) and not jnp.any(action[1:])


def test_comparisons_have_the_optimal_row_where_the_episode_is_small():
    def optimal(*given):
        return comparison.optimal(build.scenario(compose.settings(compose.from_conf(given), given).game))

    (policy,) = optimal(*SMALL)
    assert (policy.name, policy.kind) == ("optimum", "optimal")
    assert optimal("game=farm") == optimal("game=farm_marlon") == []
    assert optimal(*SMALL, "game.randomise.comm_time=[0.1,0.2]") == []
