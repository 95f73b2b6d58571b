"""One step worked by hand: whoever plays the pods must get these numbers."""

import copy
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import pods as reference

from jaxdlb.games.pods import Pods, server

GIVEN = {"queue_capacity": 2, "budget": 1000, "priority": [1, 0.5, 0.2], "change_cost": 0.2}
LIMITS, TOKENS, PERCENTS = (400, 300, 250), (0, 10, 25), (20, 90, 40)
HELD = [[(0.3, 60), (0.1, 20)], [(2.0, 400)], []]
ARRIVALS = [[(0.2, 30), (0.7, 50)], [(0.5, 40)], [(0.6, 200), (0.8, 10), (0.95, 10)]]
ACTION = [1, 0.5, -0.2]
STEP = 4


def by_the_rules(**given):
    """What comes of the step, by the scalar reference, under the defaults but for `given`."""
    p = reference.rules(3, **GIVEN | given)
    pods = [
        reference.Pod(limit, tokens, limit * percent / 100, percent, copy.copy(held), rows=[[0.0] * 7] * p["history"])
        for limit, tokens, percent, held in zip(LIMITS, TOKENS, PERCENTS, HELD, strict=True)
    ]
    cluster, facts = reference.step(p, reference.Cluster(pods, STEP), ACTION, ARRIVALS)
    names = ("limit", "denied", "usage", "percent", "violations", "own_utility", "reward")
    return {name: facts[name] for name in names} | {
        "limit_after": [pod.limit for pod in cluster.pods],
        "tokens": [pod.tokens for pod in cluster.pods],
        "held": [pod.held for pod in cluster.pods],
        "drops": facts["metrics"]["drops"],
        "completions": facts["metrics"]["completions"],
        "response_sum": facts["metrics"]["response_sum"],
        "row": cluster.pods[0].rows[-1],
    }


def arrive(key, pod, index, last, scale, pods):
    """In place of what is drawn, the stated requests."""
    table = np.full((2, 4, 3), np.inf, np.float32)  # time and work, by request and pod
    for each, requests in enumerate(ARRIVALS):
        table[:, : len(requests), each] = np.transpose(requests)
    time, work = jnp.asarray(table)[:, index]
    return server.Request(time < pods.interval, time, work)


@functools.cache
def stepped(sharing, reward):
    """The game, and a step of it in which the stated requests come."""
    game = Pods(3, sharing=sharing, reward=reward, queue_capacity=GIVEN["queue_capacity"], max_arrivals=4)
    state, _ = game.reset(jax.random.key(0), game.default_params())
    action = jnp.float32(ACTION)[:, None]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "arrive", arrive)
        return game, jax.jit(game.step).lower(jax.random.key(1), state, action, game.default_params()).compile()


def by_the_game(sharing="proportional", reward="cost", **given):
    """The same, by the game."""
    game, step = stepped(sharing, reward)
    params = game.default_params(**{name: each for name, each in (GIVEN | given).items() if name != "queue_capacity"})
    ages, works = np.zeros((2, 3, 2), np.float32)
    for pod, held in enumerate(HELD):
        ages[pod, : len(held)], works[pod, : len(held)] = np.reshape(held, (-1, 2)).T
    state = game.reset(jax.random.key(0), params)[0].replace(
        limit=jnp.float32(LIMITS),
        held=jnp.int32([len(held) for held in HELD]),
        age=jnp.asarray(ages),
        work=jnp.asarray(works),
        tokens=jnp.float32(TOKENS),
        percent=jnp.float32(PERCENTS),
        step=jnp.int32(STEP),
    )
    key, action = jax.random.key(1), jnp.float32(ACTION)[:, None]
    after, timestep = step(key, state, action, params)
    _, own = step(key, state, action, params.replace(selfishness=jnp.float32(1)))
    metrics = {name: value.tolist() for name, value in timestep.metrics.items()}
    held = [list(zip(*each, strict=True)) for each in zip(after.age.tolist(), after.work.tolist(), strict=True)]
    return {
        **{name: metrics[name] for name in ("denied", "drops", "completions", "response_sum")},
        **{name: getattr(after, name).tolist() for name in ("limit", "usage", "percent", "tokens")},
        "limit_after": after.limit.tolist(),
        "violations": metrics["class_violations"],  # the three pods are of the three classes
        "held": [each[:number] for each, number in zip(held, after.held.tolist(), strict=True)],
        "own_utility": own.reward.tolist(),
        "reward": timestep.reward.tolist(),
        "row": after.history[0, -1].tolist(),
    }


@pytest.fixture(params=[by_the_rules, by_the_game], ids=["reference", "game"])
def play(request):
    return request.param


def near(expected):
    """The numbers are stated to six decimal places, and float32 knows that a bucket is empty up to 10⁻⁵ CPU-ms."""
    return pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_limits_are_granted_in_proportion_to_what_is_asked_for(play):
    after = play()
    assert after["limit"] == near([440, 320, 240]) == after["limit_after"]
    assert after["denied"] == near(15)


def test_limits_are_granted_in_order_of_priority(play):
    assert play(sharing="priority")["limit"] == near([450, 310, 240])


def test_limits_are_granted_by_turns(play):
    assert play(sharing="cyclic")["limit"] == near([435, 325, 240])


def test_servers_work_off_what_their_tokens_pay_for(play):
    after = play()
    assert after["tokens"] == near([44, 0, 0])
    assert after["usage"] == near([160, 330, 120])
    assert after["percent"] == near([100 * 160 / 440, 103.125, 50])


def test_what_is_not_complete_is_held_and_the_newest_dropped(play):
    after = play()
    held = [[], [(3.0, 70), (0.5, 40)], [(0.4, 80), (0.2, 10)]]
    assert [len(each) for each in after["held"]] == [0, 2, 2]
    for is_held, expected in zip(after["held"], held, strict=True):
        for request, wanted in zip(is_held, expected, strict=True):
            assert request == near(wanted)
    assert (after["drops"], after["completions"]) == (1, 4)
    assert after["response_sum"] == near(0.818182)


def test_requests_violate_at_their_objective_or_as_they_are_dropped(play):
    assert play()["violations"] == [1, 1, 2]


def test_utilities_and_rewards_are_the_stated_costs(play):
    after = play()
    assert after["own_utility"] == near([-0.548, -0.374, -0.282])
    assert after["reward"] == near([-0.401333] * 3)
    assert play(selfishness=1)["reward"] == near([-0.548, -0.374, -0.282])


def test_the_newest_row_of_the_history_is_as_stated(play):
    assert play()["row"] == near([440, 160, 0, 0.363636, 0.765625, 1, 0.35])


def test_rewards_of_marlise_are_as_stated(play):
    assert play(reward="marlise_2")["reward"] == near([-17.289394, -18.395455, -17.062121])


def test_requests_depart_at_the_stated_times():
    def departures(pod, limit, interval):
        served = reference.serve(HELD[pod], ARRIVALS[pod], limit, 1000, TOKENS[pod], 0.1, interval)
        return served.departures

    assert departures(0, 440, 1) == near([0.136364, 0.181818, 0.25, 0.75])
    assert departures(1, 320, 1) == [math.inf] * 2
    assert departures(1, 320, 2)[0] == near(1.21875)
    assert departures(2, 240, 1) == [math.inf] * 3
