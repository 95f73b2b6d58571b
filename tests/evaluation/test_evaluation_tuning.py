"""Tuning: the best of each grid, on episodes of its own."""

import dataclasses

import jax
import numpy as np
import pytest
from reference import ticking

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.evaluation import compare, tuning
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.policies import NODE_HEURISTICS, Family

GAME = jaxdlb.make("dlb", num_nodes=3)
PARAMS = GAME.default_params()
KEY = jax.random.key(0)
SIZES = {"num_episodes": 8, "num_rounds": 120, "warmup": 20}


def small(name, **grid):
    return dataclasses.replace(NODE_HEURISTICS[name], grid=lambda game: grid)


FAMILIES = {
    "local": NODE_HEURISTICS["local"],
    "power_of_d": small("power_of_d", d=(1, 2), weighted=(False, True), width=(2,)),
    "threshold_stealing": small("threshold_stealing", margin=(0.0, 3.0, 50.0)),
}


def one_cluster(key):
    return PARAMS


@pytest.fixture(scope="module")
def tuned():
    """The winners by family, and what the evaluation of all members was asked and said."""
    seen = {}

    def spy(game, policies, sample_params, key, **sizes):
        seen.update(key=key, policies=policies, results=evaluate_all(game, policies, sample_params, key, **sizes))
        return seen["results"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "evaluate_all", spy)
        return tuning.tune(GAME, FAMILIES, one_cluster, KEY, **SIZES), seen


def test_each_family_is_tuned_to_the_best_of_its_grid(tuned):
    policies, seen = tuned
    assert list(policies) == list(FAMILIES)
    assert [policy.family for policy in policies.values()] == list(FAMILIES)
    utility = {p.name: np.mean(r["utility"]) for p, r in zip(seen["policies"], seen["results"], strict=True)}
    assert len(utility) == 4 + 3
    for name in ("power_of_d", "threshold_stealing"):
        rivals = [rival for rival in utility if rival.split("(")[0] == name]
        assert policies[name].name == max(rivals, key=utility.get)
        assert policies[name] == heuristic(name, **options(policies[name]))


def options(policy):
    if "margin" in policy.name:
        return {"margin": policy.dispatch.margin}
    return {"d": policy.dispatch.d, "weighted": policy.dispatch.weighted, "width": 2}


def test_tuning_sees_other_episodes_than_an_evaluation_by_the_same_key(tuned):
    assert not np.array_equal(jax.random.key_data(tuned[1]["key"]), jax.random.key_data(KEY))


def test_a_family_without_a_grid_has_one_member_and_is_not_played(tuned, monkeypatch):
    assert not any(policy.family == "local" for policy in tuned[1]["policies"])
    monkeypatch.setattr(tuning, "evaluate_all", None)
    families = {name: NODE_HEURISTICS[name] for name in ("local", "random")}
    assert [policy.name for policy in tuning.tune(GAME, families, one_cluster, KEY).values()] == ["local", "random"]


@pytest.mark.parametrize("name", ["power_of_d", "power_of_d_stealing"])
def test_members_that_sample_get_the_shapes_of_the_widest_of_their_grid(name):
    members = NODE_HEURISTICS[name].members(jaxdlb.make("dlb", num_nodes=8))
    assert {member.dispatch.width for member in members} == {max(member.dispatch.d for member in members)}
    assert len({jax.tree.structure(member) for member in members}) == 1  # and so one program plays them all
    assert {member.name for member in members} >= {f"{name}(d=1)", f"{name}(d=6, weighted)"}


@pytest.mark.parametrize("num_nodes", [1, 2, 8])
def test_grids_hold_no_sample_larger_than_the_peers(num_nodes):
    members = NODE_HEURISTICS["power_of_d"].members(jaxdlb.make("dlb", num_nodes=num_nodes))
    sampled = {member.dispatch.d for member in members}
    assert max(sampled) <= max(num_nodes - 1, 1) and 1 in sampled


def test_members_have_names_of_their_own():
    for family in NODE_HEURISTICS.values():
        names = [member.name for member in family.members(GAME)]
        assert len(set(names)) == len(names) >= 1


def test_a_family_tells_its_options_and_makes_every_combination_of_its_grid():
    family = Family(ticking.eager, lambda game: {"rest": tuple(range(1, game.num_agents + 1))})
    assert family.options == ("rest",)
    names = [member.name for member in family.members(ticking.Ticking(num_workers=3))]
    assert names == ["eager(rest=1)", "eager(rest=2)", "eager(rest=3)"]
    assert [member.name for member in Family(ticking.eager).members(ticking.Ticking())] == ["eager(rest=3)"]


# A game that ends: what never plays a step that counts cannot win

RACE = ticking.Ticking(num_workers=2, capacity=2)


def test_a_member_whose_episodes_end_within_the_warm_up_does_not_win():
    """With certain success the box of two is empty after two steps; who rests in every step hurries never."""
    certain = RACE.default_params(pieces=2, skill=0, tiring=False)
    family = Family(ticking.eager, lambda game: {"rest": (9, 1)})
    sizes = {"num_episodes": 2, "num_rounds": 12, "warmup": 4}
    winner = tuning.tune(RACE, {"eager": family}, lambda key: certain, KEY, **sizes)["eager"]
    assert winner.name == "eager(rest=1)"


def test_what_has_no_utility_comes_last_in_a_comparison():
    certain = RACE.default_params(pieces=2, skill=0, tiring=False)
    sizes = {"num_episodes": 2, "num_rounds": 12, "warmup": 4}
    policies = [ticking.eager(9), ticking.Always(ticking.IDLE, "idle")]
    evaluation = compare(RACE, policies, lambda key: certain, KEY, **sizes)
    assert [result.name for result in evaluation.results] == ["idle", "eager(rest=9)"]
    assert evaluation.best_heuristic == "idle"
    assert evaluation.settings == {"game": "ticking", "num_workers": 2, "capacity": 2}
    assert evaluation.columns["makespan"] == ("makespan", "time until the end")
