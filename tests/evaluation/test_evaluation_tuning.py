"""Tuning: the best of each grid and of a search over each box, on episodes of its own."""

import dataclasses
import inspect

import jax
import numpy as np
import pytest
from reference import ticking

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.evaluation import compare, tuning
from jaxdlb.evaluation.rollouts import utilities
from jaxdlb.policies import NODE_HEURISTICS, Family, Span

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
        seen.update(key=key, policies=policies, results=utilities(game, policies, sample_params, key, **sizes))
        return seen["results"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "utilities", spy)
        tuned = tuning.tune(GAME, FAMILIES, one_cluster, KEY, **SIZES)
        return {name: each.policy for name, each in tuned.items()}, seen


def test_each_family_is_tuned_to_the_best_of_its_grid(tuned):
    policies, seen = tuned
    assert list(policies) == list(FAMILIES)
    assert [policy.family for policy in policies.values()] == list(FAMILIES)
    utility = {p.name: np.mean(r) for p, r in zip(seen["policies"], seen["results"], strict=True)}
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
    monkeypatch.setattr(tuning, "utilities", None)
    families = {name: NODE_HEURISTICS[name] for name in ("local", "random")}
    found = tuning.tune(GAME, families, one_cluster, KEY)
    assert [each.policy.name for each in found.values()] == ["local", "random"]
    assert all((each.options, each.candidates, each.agent_rounds) == ({}, 1, 0) for each in found.values())


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
    winner = tuning.tune(RACE, {"eager": family}, lambda key: certain, KEY, **sizes)["eager"].policy
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


# Boxes, by an evaluation in closed form: how far an option is from its best

BEST = {"margin": 7.0, "steal_margin": -20.0}
BOXED = {
    name: NODE_HEURISTICS[name] for name in ("proportional", "proportional_stealing", "threshold_stealing", "local")
}
SEARCH = {"population": 24, "elites": 4, "generations": 12, "finalists": 3, "search_episodes": 2}


def distance(policy):
    margins = {"margin": policy.dispatch.margin, "steal_margin": getattr(policy.steal, "margin", BEST["steal_margin"])}
    return sum((margins[name] - best) ** 2 for name, best in BEST.items())


@pytest.fixture
def played(monkeypatch):
    """What each evaluation was asked: its key, policies and number of episodes."""
    seen = []

    def by_distance(game, policies, sample_params, key, *, num_episodes, num_rounds, warmup):
        seen.append((jax.random.key_data(key).tolist(), policies, num_episodes))
        return [np.full(num_episodes, -distance(policy)) for policy in policies]

    monkeypatch.setattr(tuning, "utilities", by_distance)
    return seen


def test_a_search_finds_the_best_options_of_a_box(played):
    found = tuning.tune(GAME, BOXED, one_cluster, KEY, **SIZES, **SEARCH)
    assert list(found) == list(BOXED)
    for name in ("proportional", "proportional_stealing"):
        for option, value in found[name].options.items():
            assert value == pytest.approx(BEST[option], abs=1.0)
        assert found[name].policy == heuristic(name, **found[name].options)
        assert found[name].utility == -distance(found[name].policy)
    assert found["threshold_stealing"].options == {"margin": 7.0}


def test_what_a_search_finds_follows_from_its_arguments_whoever_else_is_tuned(played):
    def options(families, key):
        return {name: each.options for name, each in tuning.tune(GAME, families, one_cluster, key, **SEARCH).items()}

    together = options(BOXED, KEY)
    assert together == options(BOXED, KEY)
    assert options({"proportional": BOXED["proportional"]}, KEY)["proportional"] == together["proportional"]
    drawn = [policy.dispatch.margin for policy in played[0][1]]
    played.clear()
    options(BOXED, jax.random.key(1))
    assert drawn != [policy.dispatch.margin for policy in played[0][1]]


def test_a_search_tells_what_it_took_and_how_far_it_is(played):
    progress = []
    sizes = SIZES | SEARCH
    found = tuning.tune(GAME, BOXED, one_cluster, KEY, **sizes, progress=lambda *each: progress.append(each))
    each = SIZES["num_rounds"] * GAME.num_agents
    of_one, of_two = 12 * 12, 12 * 24  # generations × candidates; a single option has 12
    assert [found[name].candidates for name in BOXED] == [of_one + 5, of_two + 5, 20, 1]
    episodes = [of_one * 2 + 5 * 8, of_two * 2 + 5 * 8, 20 * 8, 0]
    assert [found[name].agent_rounds for name in BOXED] == [num * each for num in episodes]
    assert len(progress) == 12 + 1 and progress == sorted(progress)
    assert {total for _, total in progress} == {sum(episodes) * each} == {progress[-1][0]}
    assert all(one.seconds > 0 for one in found.values())


def test_a_contest_in_fresh_episodes_decides_and_not_the_luck_of_the_search(monkeypatch):
    keys = []

    def lucky(game, policies, sample_params, key, **sizes):
        keys.append(jax.random.key_data(key).tolist())
        best = 40.0 if keys[-1] == keys[0] else 6.0  # 6 is the default
        return [-np.abs(np.full(2, float(policy.dispatch.margin) - best)) for policy in policies]

    monkeypatch.setattr(tuning, "utilities", lucky)
    family = {"proportional": NODE_HEURISTICS["proportional"]}
    found = tuning.tune(GAME, family, one_cluster, KEY, **SEARCH)["proportional"]
    assert found.policy == heuristic("proportional")
    assert keys[:-1] == [keys[0]] * SEARCH["generations"] and keys[-1] != keys[0]


def test_further_generations_are_played_by_the_programs_of_the_first():
    traces = []

    class Counted(type(GAME)):
        def step(self, *arguments):
            traces.append(arguments)  # runs only while a program is traced
            return super().step(*arguments)

    game, counts = Counted(num_nodes=GAME.num_nodes), []
    for generations in (1, 4):
        sizes = SEARCH | {"population": 4, "elites": 2, "generations": generations}
        families = {name: NODE_HEURISTICS[name] for name in ("fading_stealing", "surplus_split")}
        found = tuning.tune(game, families, one_cluster, KEY, num_episodes=3, num_rounds=30, warmup=5, **sizes)
        assert all(np.isfinite(each.utility) for each in found.values())
        counts.append(len(traces))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"population": 1}, "population is 1; it must be an integer ≥ 2"),
        ({"elites": 49}, r"elites is 49; it must be an integer in \[1, 48\]"),
        ({"generations": 0}, "generations is 0; it must be an integer ≥ 1"),
        ({"finalists": 0}, "finalists is 0; it must be an integer ≥ 1"),
        ({"search_episodes": 1}, "search_episodes is 1; it must be an integer ≥ 2"),
        ({"num_episodes": 1}, "num_episodes is 1; it must be an integer ≥ 2"),
    ],
)
def test_sizes_that_are_not_allowed_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        tuning.tune(GAME, BOXED, one_cluster, KEY, **sizes)


def test_a_family_has_a_grid_or_a_box():
    with pytest.raises(ValueError, match="grid and box are both given"):
        dataclasses.replace(NODE_HEURISTICS["threshold"], box=lambda game: {"margin": Span(0.0, 9.0)})


def test_the_defaults_of_a_family_lie_within_its_box():
    for name, family in NODE_HEURISTICS.items():
        box = family.box(GAME) if family.box else {}
        assert not box or tuple(box) == family.options
        for option, span in box.items():
            for value in (span.low, span.high):
                family.make(**{option: value})
            default = inspect.signature(family.make).parameters[option].default
            assert span.low <= default <= span.high, (name, option)
