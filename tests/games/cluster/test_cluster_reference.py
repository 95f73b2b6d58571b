"""The game against the scalar reference, on random clusters under hostile choices, from the start and later on.

The reference plays some steps by itself. Where the verdict of a step hangs on the last digits, in a cluster of which
the numbers are not exact, that step is left out, and the reference goes on from what the game made.
"""

import collections
import functools

import numpy as np
import pytest
from reference import cluster as reference
from reference.cluster_episodes import (
    CLUSTERS,
    COMPARED,
    GAMES,
    STEPS,
    arrays_of,
    chance_of,
    cluster_of,
    is_near,
    isolated,
    played,
    rules_of,
    window_of,
)

JOULES = 3.6e6  # of a kWh
INTEGERS = ("status", "task_class", "number", "index", "clock", "step", "over", "run_time", "cores", "memory")

every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)


@functools.cache
def steps_of(game):
    return list(each_step(game))


def each_step(game):
    """Of each cluster and step: its place, the rules, what they make of it, and whether that can be compared.

    The place is that of the state after the step; of every third cluster the first is what a reset makes. Of the others
    the reference takes over what the game has made until some step.
    """
    made, starts = played(game), np.random.default_rng(0).integers(0, STEPS - COMPARED + 1, CLUSTERS)
    starts[::3] = 0
    for which, start in enumerate(starts.tolist()):
        steps = slice(start, start + COMPARED + 1)
        p, chance = rules_of(game, made.at(made.params, which)), chance_of(game, made, which, steps)

        def as_played(t, which=which, p=p, chance=chance):
            return cluster_of(p, chance, made.at(made.states, which, t))

        cluster = as_played(start) if start else reference.reset(p, chance)
        yield (which, start), p, chance, cluster, None
        for t in range(start, start + COMPARED):
            cluster, facts = reference.step(p, chance, cluster, made.actions[which, t].tolist())
            if made.exact[which] or isolated(facts["margin"]):
                yield (which, t + 1), p, chance, cluster, facts
            else:
                cluster = as_played(t + 1)


def compare(name, places, found, expected, exact=False):
    """Compare what the game has at these places with a list of what it must have."""
    found = found[tuple(np.transpose(places))]
    expected = np.stack([np.asarray(each) for each in expected])
    same = found == expected if exact else is_near(found, expected)
    wrong = np.argwhere(~same)
    if len(wrong):
        first = wrong[0, 0]
        raise AssertionError(f"{name} after step {places[first]} is {found[first]}; it must be {expected[first]}")


def compare_all(places, found, expected):
    """The same of many by their names, each a list over the places of dictionaries."""
    for name in expected[0]:
        unit = JOULES if name.startswith("energy_kwh") else 1  # a slot's energy is next to nothing in kWh
        wanted = [unit * np.asarray(each[name]) for each in expected]
        compare(name, places, unit * np.asarray(found(name)), wanted, exact=name in INTEGERS)


@every_game
def test_states_are_as_the_rules_say(game):
    made, steps = played(game), steps_of(game)
    places = [place for place, *_ in steps]
    compare_all(places, lambda name: getattr(made.states, name), [arrays_of(cluster) for *_, cluster, _ in steps])
    compare_all(
        places, lambda name: getattr(made.states.window, name), [window_of(cluster) for *_, cluster, _ in steps]
    )
    compared = collections.Counter(bool(made.exact[which]) for which, _ in places)
    assert len(steps) > 0.85 * CLUSTERS * (COMPARED + 1)
    assert compared[True] == made.exact.sum() * (COMPARED + 1)


@every_game
def test_rewards_and_metrics_are_as_the_rules_say(game):
    made, steps = played(game), [each for each in steps_of(game) if each[-1] is not None]
    places, wanted = [place for place, *_ in steps], [facts["metrics"] for *_, facts in steps]
    assert set(made.timesteps.metrics) == set(wanted[0])
    compare_all(places, made.timesteps.metrics.__getitem__, wanted)
    for name in ("elapsed", "last", "discount"):
        compare(name, places, getattr(made.timesteps, name), [facts[name] for *_, facts in steps])
    agents = range(game.num_dispatchers)
    compare("reward", places, made.timesteps.reward, [[facts["reward"] for _ in agents] for *_, facts in steps])
    missing = {name for name in wanted[0] if not any(each[name] for each in wanted)}
    assert not missing


@every_game
def test_dispatchers_see_what_the_rules_say(game):
    made, steps = played(game), steps_of(game)[::2]
    places = [place for place, *_ in steps]
    expected = [reference.observe(p, chance, cluster) for _, p, chance, cluster, _ in steps]
    for name in ("own", "legal"):
        compare(name, places, getattr(made.timesteps.observation, name), [each[name] for each in expected])
    clear = [n for n, (*_, cluster, _) in enumerate(steps) if isolated(view_margin(cluster))]
    peers = [expected[n]["peers"] for n in clear]
    compare("peers", [places[n] for n in clear], made.timesteps.observation.peers, peers)
    assert len(clear) > 0.95 * len(steps)


@every_game
def test_a_critic_sees_what_the_rules_say(game):
    made, steps = played(game), steps_of(game)[::3]
    clear = [each for each in steps if isolated(view_margin(each[3]))]
    parts = [reference.global_state(p, cluster) for _, p, _, cluster, _ in clear]
    expected = [np.concatenate([np.ravel(each) for each in part.values()]) for part in parts]
    compare("global state", [place for place, *_ in clear], made.global_states, expected)


def view_margin(cluster):
    """How near a task is to just fitting on a node, or to being just in time."""
    fits = [
        reference.unless_exact(node.memory - reference.memory_of(node.tasks) - each.task.memory)
        for node in cluster.nodes
        for each in cluster.window
    ]
    late = [abs(reference.remaining(node, held) - held.due) for node in cluster.nodes for held in node.tasks]
    return min([*fits, *late])
