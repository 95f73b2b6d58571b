"""A few steps worked by hand: whoever plays the cluster must get these numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cluster as reference
from reference.cluster_episodes import rules_of

from jaxdlb.games.cluster import Cluster, Replay

TASKS = {  # the four that are stated, then others at the same instant, until the mean gap is 1
    "gap": [0, 0, 3, 20] + [0] * 19,
    "run_time": [2, 1, 4, 1] + [1] * 19,
    "cores": [2, 4, 2, 1] + [1] * 19,
    "memory": [4, 8, 8, 1] + [1] * 19,
    "task_class": [1, 0, 2, 1] + [1] * 19,
}
GIVEN = {
    "cores": (4, 2),
    "memory": (16, 8),
    "speed": (1, 0.5),
    "idle_power": (100, 20),
    "dynamic_power": (100, 20),
    "network_delay": (0, 0.5),
    "transfer_time": 0,
    "tier": (0, 2),
    "sleep_after": 2,
    "sleep_power": 0.1,
    "wake_time": 1.5,
    "arrival_rate": 2,
    "deadline_factor": (1.4, 3, 5),
    "class_weight": (2, 1, 0.5),
    "completion_scale": 10,
    "energy_scale": 0.5,
    "balance_scale": 0.1,
    "slot": 1,
    "weights": (0.4, 0.3, 0.2, 0.1),
    "drop_cost": 10,
}
CHOICES = [(0, 0), (0, 0), (1, 0), (0, 0)]
SLEEPS, T_HAT, E_HAT = 14, 18, 20  # columns of a candidate
HELD = ("status", "left", "age", "due", "arrives", "number")


@functools.cache
def played_with(max_tasks):
    """The game, and its parameters."""
    game = Cluster(num_nodes=2, num_dispatchers=2, num_candidates=2, max_tasks=max_tasks)
    return game, game.default_params(**GIVEN, workload=Replay(**TASKS, random_start=False))


@functools.cache
def by_the_rules(max_tasks=3):
    """What the steps make, by the scalar reference: of each step what it finds, what happens, and what it leaves."""
    p = rules_of(*played_with(max_tasks))
    names = ("run_time", "cores", "memory", "task_class")

    def task(k):
        return reference.Task(k, *(TASKS[name][k % 23] for name in names))

    chance = reference.Chance(task, lambda k: TASKS["gap"][k % 23], lambda k: [0, 1], lambda clock: 1.0)
    cluster, made = reference.reset(p, chance), []
    for choices in CHOICES:
        before, peers = cluster, reference.observe(p, chance, cluster)["peers"]
        cluster, facts = reference.step(p, chance, before, list(choices))
        nodes = [[vars(held) | {"number": held.task.number} for held in node.tasks] for node in cluster.nodes]
        made.append(
            {
                "peers": np.array(peers),
                "window_before": [each.arrives for each in before.window],
                "window": [each.arrives for each in cluster.window],
                "nodes": [[{**held, "status": 1 + held["running"]} for held in node] for node in nodes],
                "idle_for": [node.idle_for for node in cluster.nodes],
                "wake_in": [node.wake_in for node in cluster.nodes],
                "metrics": facts["metrics"],
                "utility": facts["reward"],
                "index": cluster.index,
            }
        )
    return made


@functools.cache
def by_the_game(max_tasks=3):
    """The same, by the game."""
    game, params = played_with(max_tasks)
    state, timestep = jax.jit(game.reset)(jax.random.key(0), params)
    step, made = jax.jit(game.step), []
    for choices in CHOICES:
        before, peers = state, timestep.observation.peers
        state, timestep = step(jax.random.key(1), before, jnp.int32(choices), params)
        there = [np.flatnonzero(row) for row in np.asarray(state.status)]
        made.append(
            {
                "peers": np.asarray(peers),
                "window_before": before.window.arrives.tolist(),
                "window": state.window.arrives.tolist(),
                "nodes": [
                    [{name: float(getattr(state, name)[i, q]) for name in HELD} for q in slots]
                    for i, slots in enumerate(there)
                ],
                "idle_for": state.idle_for.tolist(),
                "wake_in": state.wake_in.tolist(),
                "metrics": {name: float(value) for name, value in timestep.metrics.items()},
                "utility": timestep.reward.tolist()[1],
                "index": int(state.index),
            }
        )
    return made


@pytest.fixture(params=[by_the_rules, by_the_game], ids=["reference", "game"])
def play(request):
    return request.param


def near(expected):
    return pytest.approx(expected, rel=2e-6, abs=1e-6)


def joules(step):
    return step["metrics"]["energy_kwh"] * 3.6e6


def of_all(step, name):
    return [[held[name] for held in node] for node in step["nodes"]]


def assert_use(step, of_first, of_second):
    """The use of both nodes shows in their mean and in its variance."""
    assert step["metrics"]["utilisation"] == near((of_first + of_second) / 2)
    assert step["metrics"]["balance"] == near(((of_first - of_second) / 2) ** 2)


def test_in_the_first_step_both_tasks_share_the_first_node(play):
    step = play()[0]
    assert step["window_before"] == near([0, 0])
    assert of_all(step, "left")[0] == near([4 / 3, 1 / 3])
    assert of_all(step, "status") == [[2, 2], []]
    assert of_all(step, "number") == [[0, 1], []]
    assert_use(step, 1, 0)
    assert joules(step) == near(220)
    assert step["utility"] == near(-0.292222)
    assert step["window"] == near([0.5, 10.5])
    assert step["index"] == 2


def test_in_the_second_step_one_task_is_done_and_late(play):
    step = play()[1]
    assert not step["peers"].any()
    assert of_all(step, "left")[0] == near([2 / 3])
    metrics = step["metrics"]
    for name, expected in {"completions": 1, "missed": 1, "on_time": 0, "completion_time": 1.5}.items():
        assert metrics[name] == metrics[f"{name}_production"] == near(expected), name
    assert_use(step, 2 / 3, 0)
    assert joules(step) == near(186 + 2 / 3)
    assert step["utility"] == near(-0.543981)
    assert metrics["asleep"] == 1


def test_in_the_third_step_a_task_that_waited_wakes_the_second_node(play):
    step = play()[2]
    assert step["window_before"][0] == near(-0.5)
    peers = step["peers"][0]
    assert peers[:, SLEEPS].tolist() == [0, 1]
    assert peers[:, T_HAT] == near([4, 10])
    assert 1000 * peers[:, E_HAT] == near([200, 331])
    metrics = step["metrics"]
    for name, expected in {"completions": 1, "missed": 0, "on_time": 1, "completion_time": 2 + 2 / 3}.items():
        assert metrics[name] == metrics[f"{name}_batch"] == near(expected), name
    (first, (second,)) = step["nodes"]
    assert not first
    stated = {"status": 2, "left": 4, "due": 18.5, "age": 1.5, "number": 2}
    assert {name: second[name] for name in stated} == near(stated)
    assert step["wake_in"] == near([0, 0.5])
    assert step["utility"] == near(-0.068796)


def test_in_the_fourth_step_the_task_runs_half_a_slot(play):
    step = play()[3]
    assert of_all(step, "left")[1] == near([3.75])
    assert joules(step) == near(130)
    assert_use(step, 0, 0.5)
    assert step["utility"] == near(-0.084722)


def test_where_a_node_holds_one_task_the_second_goes_to_the_other(play):
    assert of_all(play(max_tasks=1)[0], "number") == [[0], [1]]
