"""The game against the scalar reference, on random clusters under hostile choices, over whole episodes.

The reference plays every episode by itself from its start. Where the verdict of a step hangs on the last digits, in a
cluster of which the numbers are not exact, that step is left out, and the reference goes on from what the game made.
"""

import collections
import functools

import numpy as np
import pytest
from reference import cluster as reference
from reference.cluster_episodes import (
    CLUSTERS,
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

INTEGERS = ("status", "task_class", "number", "index", "clock", "step", "over")


def identity(game):
    ends = f"-{game.episode_tasks}" if game.episode_tasks else ""
    return f"{game.num_nodes}-{game.num_dispatchers}-{game.num_candidates}-{game.max_tasks}{ends}"


every_game = pytest.mark.parametrize("game", GAMES, ids=identity)


@functools.cache
def steps_of(game):
    return list(each_step(game))


def each_step(game):
    """Of each cluster and step: its place, the rules, what they make of it, and whether that can be compared.

    The place is that of the state after the step; at the place 0 of an episode there is what a reset makes.
    """
    made = played(game)
    for which, params in enumerate(made.params):
        p, chance = rules_of(game, params), chance_of(game, made, which)
        cluster = reference.reset(p, chance)
        yield (which, 0), p, chance, cluster, None
        for t in range(STEPS):
            cluster, facts = reference.step(p, chance, cluster, made.actions[which, t].tolist())
            if made.exact[which] or isolated(facts["margin"]):
                yield (which, t + 1), p, chance, cluster, facts
            else:
                cluster = cluster_of(p, chance, made.at(made.states, which, t + 1))


def assert_near(name, place, found, expected):
    assert is_near(found, expected), (name, place, found, expected)


@every_game
def test_states_are_as_the_rules_say(game):
    made, compared = played(game), collections.Counter()
    for place, _, _, cluster, _ in steps_of(game):
        compared[bool(made.exact[place[0]])] += 1
        state = made.at(made.states, *place)
        for name, expected in arrays_of(cluster).items():
            found = getattr(state, name)
            if name in INTEGERS:
                assert np.array_equal(found, expected), (name, place, found, expected)
            else:
                assert_near(name, place, found, expected)
        window = [each.arrives for each in cluster.window]
        assert_near("window", place, [arrives for arrives, _ in window_of(state)], window)
        for j, (_, task) in enumerate(window_of(state)):
            expected = cluster.window[j].task
            assert (task.run_time, task.cores, task.memory, task.rank) == (
                expected.run_time,
                expected.cores,
                expected.memory,
                expected.rank,
            )
    assert sum(compared.values()) > 0.9 * CLUSTERS * (STEPS + 1)
    assert compared[True] in (0, (STEPS + 1) * CLUSTERS // 2)


@every_game
def test_rewards_and_metrics_are_as_the_rules_say(game):
    made, happened = played(game), collections.Counter()
    for place, p, _, _, facts in steps_of(game):
        if facts is None:
            continue
        timestep, wanted = made.at(made.timesteps, *place), facts["metrics"]
        assert set(timestep.metrics) == set(wanted)
        for name, expected in wanted.items():
            assert_near(name, place, timestep.metrics[name], expected)
            happened[name] += expected
        assert_near("reward", place, timestep.reward, [facts["reward"]] * p["num_dispatchers"])
        assert_near("elapsed", place, timestep.elapsed, facts["elapsed"])
        assert (bool(timestep.last), float(timestep.discount)) == (facts["last"], facts["discount"])
    missing = [name for name, value in happened.items() if not value]
    assert not missing


@every_game
def test_dispatchers_see_what_the_rules_say(game):
    made = played(game)
    for place, p, chance, cluster, _ in steps_of(game):
        seen = made.at(made.timesteps.observation, *place)
        expected = reference.observe(p, chance, cluster)
        assert_near("own", place, seen.own, expected["own"])
        if isolated(view_margin(cluster)):
            assert_near("peers", place, seen.peers, expected["peers"])
        assert np.array_equal(seen.legal, expected["legal"]), place


@every_game
def test_a_critic_sees_what_the_rules_say(game):
    made = played(game)
    for place, p, _, cluster, _ in steps_of(game):
        if isolated(view_margin(cluster)):
            parts = reference.global_state(p, cluster)
            expected = np.concatenate([np.ravel(each) for each in parts.values()])
            assert_near("global state", place, made.global_states[place], expected)


def view_margin(cluster):
    """How near a task is to just fitting on a node, or to being just in time."""
    fits = [
        reference.unless_exact(node.memory - reference.memory_of(node.tasks) - each.task.memory)
        for node in cluster.nodes
        for each in cluster.window
    ]
    late = [abs(reference.remaining(node, held) - held.due) for node in cluster.nodes for held in node.tasks]
    return min([*fits, *late])
