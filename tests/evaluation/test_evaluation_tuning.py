"""Tuning: the best of each grid, on episodes of its own."""

import jax
import numpy as np
import pytest

import jaxdlb
from jaxdlb.evaluation import tuning
from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.policies import heuristic, options_of

GAME = jaxdlb.make("dlb", num_nodes=3)
PARAMS = GAME.default_params()
KEY = jax.random.key(0)
SIZES = {"num_episodes": 8, "num_rounds": 120, "warmup": 20}


FAMILIES = ("local", "power_of_d", "threshold_stealing")


def one_cluster(key):
    return PARAMS


@pytest.fixture
def small_grids(monkeypatch):
    grids = {("d", "weighted"): {"d": (1, 2, 6), "weighted": (False, True)}, ("margin",): {"margin": (0.0, 3.0, 50.0)}}
    monkeypatch.setattr(tuning, "GRIDS", grids)
    monkeypatch.setattr(tuning, "HEURISTICS", FAMILIES)


@pytest.mark.usefixtures("small_grids")
def test_each_family_is_tuned_to_the_best_of_its_grid_on_other_episodes(monkeypatch):
    seen = {}

    def spy(game, policies, sample_params, key, **sizes):
        seen.update(key=key, policies=policies, results=evaluate_all(game, policies, sample_params, key, **sizes))
        return seen["results"]

    monkeypatch.setattr(tuning, "evaluate_all", spy)
    policies = tuning.contenders(GAME, one_cluster, KEY, **SIZES)
    assert [policy.family for policy in policies] == list(FAMILIES)
    utility = {p.name: np.mean(r["utility"]) for p, r in zip(seen["policies"], seen["results"], strict=True)}
    assert len(utility) == 4 + 3  # 3 nodes have 2 peers: d = 6 is out
    for policy in policies:
        if options_of(policy.family):
            rivals = [name for name in utility if name.split("(")[0] == policy.family]
            assert policy.name == max(rivals, key=utility.get)
            assert policy == heuristic(policy.family, **options(policy))
    assert not np.array_equal(jax.random.key_data(seen["key"]), jax.random.key_data(KEY))


def options(policy):
    if "margin" in policy.name:
        return {"margin": policy.dispatch.margin}
    return {"d": policy.dispatch.d, "weighted": policy.dispatch.weighted}


def test_members_that_sample_get_the_shapes_of_the_widest_of_their_grid():
    for name, d in (("power_of_d", 1), ("power_of_d_stealing", 3)):
        policy = heuristic(name, d=d)
        widened = tuning._widened(policy)
        assert (widened.name, widened.dispatch.width) == (policy.name, max(tuning.GRIDS["d", "weighted"]["d"]))
    assert tuning._widened(heuristic("threshold")) == heuristic("threshold")


@pytest.mark.parametrize("num_nodes", [1, 2, 8])
def test_grids_hold_no_sample_larger_than_the_peers(num_nodes):
    sampled = {member.dispatch.d for member in tuning.members("power_of_d", num_nodes)}
    assert max(sampled) <= max(num_nodes - 1, 1) and 1 in sampled
