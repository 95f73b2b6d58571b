"""Rollouts: common random numbers, warm-up, Little's law, recordings, and nonsense refused."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.evaluation import rollouts
from jaxdlb.evaluation.rollouts import evaluate, evaluate_all, record
from jaxdlb.evaluation.side_by_side import Tally
from jaxdlb.games.dlb import Ranges, random_clusters
from jaxdlb.mechanics.peer_view import Action
from jaxdlb.policies import heuristic

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=6)
PARAMS = GAME.default_params(heartbeat_period=7, failure_prob=0.05, repair_prob=0.2)
KEY = jax.random.key(3)
SHORT = {"num_episodes": 6, "num_rounds": 40, "warmup": 10}
NAMES = ("round_robin", "shortest_expected_delay", "oracle_shortest_expected_delay", "work_stealing")
POLICIES = {name: heuristic(name) for name in NAMES}


def one_cluster(key):
    return PARAMS


clusters = random_clusters(GAME, PARAMS, Ranges(load=(0.1, 1.0), heartbeat_period=(1, 20)))


class Keeper:
    """A policy of somebody else's: neither a heuristic nor a pytree."""

    name, sees_true_state = "keeper", False

    def init(self, game):
        return jnp.int32(0)

    def act(self, key, carry, observation, params):
        nodes = jnp.arange(observation.own.shape[0], dtype=jnp.int32)
        return carry + 1, Action(dispatch=nodes, steal=nodes)


EVERYONE = {"keeper": Keeper(), **POLICIES}


def play_everyone(**sizes):
    results = evaluate_all(GAME, list(EVERYONE.values()), clusters, KEY, **(SHORT | sizes))
    return dict(zip(EVERYONE, results, strict=True))


@pytest.fixture(scope="module")
def played():
    """All policies on random clusters, with somebody else's among them."""
    return play_everyone()


def test_all_policies_meet_exactly_the_same_clusters_arrivals_and_failures(played):
    first = played["round_robin"]
    assert len(set(first["arrivals"].tolist())) == SHORT["num_episodes"]  # clusters of their own
    for result in played.values():
        for shared in ("arrivals", "nodes_up"):
            np.testing.assert_array_equal(result[shared], first[shared])
    assert len({tuple(result["utility"]) for result in played.values()}) == len(played)  # and yet they play differently


def test_the_result_has_every_metric_and_quotient_for_each_episode(played):
    quotients = {"response_time", "queue_length", "migrations_per_arrival", "steal_requests_per_completion"}
    for result in played.values():
        assert set(result) == set(GAME.metrics) | quotients
        assert all(values.shape == (6,) and values.dtype == np.float64 for values in result.values())


def test_quotients_are_those_of_the_means(played):
    result = played["work_stealing"]
    np.testing.assert_allclose(result["queue_length"], result["total_load"] / 3)
    np.testing.assert_allclose(
        result["steal_requests_per_completion"], result["steal_requests"] / result["completions"]
    )
    accepted = result["arrivals"] - result["drops"]
    np.testing.assert_allclose(result["response_time"] * accepted, result["total_load"] + result["total_in_transit"])
    assert np.all(played["keeper"]["migrations_per_arrival"] == 0)


def test_a_policy_plays_the_same_alone_as_beside_others_and_whatever_the_batch(played, monkeypatch):
    monkeypatch.setattr(rollouts, "_ENTRIES_AT_ONCE", 3 * 9)  # 3 episodes at once, then 3
    alone = evaluate(GAME, heuristic("round_robin"), clusters, KEY, **SHORT)
    for name, values in alone.items():
        np.testing.assert_allclose(values, played["round_robin"][name], rtol=1e-6)


def test_the_warm_up_is_left_out(played):
    """Sums over all rounds are those of the warm-up and those of the rest."""
    whole, start = play_everyone(warmup=0), play_everyone(num_rounds=10, warmup=0)
    for policy, metric in itertools.product(EVERYONE, GAME.metrics):
        parts = 10 * start[policy][metric] + 30 * played[policy][metric]
        np.testing.assert_allclose(40 * whole[policy][metric], parts, rtol=1e-5, atol=1e-4)


def test_an_oracle_sees_at_any_heartbeat_period_what_fresh_heartbeats_would_tell():
    fresh, stale = (GAME.default_params(heartbeat_period=period) for period in (1, 1000))
    heard, oracle = POLICIES["shortest_expected_delay"], POLICIES["oracle_shortest_expected_delay"]
    sizes = {"num_episodes": 4, "num_rounds": 60, "warmup": 0}
    with_news = evaluate(GAME, heard, lambda key: fresh, KEY, **sizes)
    without = evaluate(GAME, oracle, lambda key: stale, KEY, **sizes)
    for name, values in with_news.items():
        np.testing.assert_allclose(without[name], values, rtol=1e-6)
    assert np.all(with_news["migrations"] > 0)


def test_little_s_law_meets_the_closed_form_of_one_node():
    """Birth and death with N = 1, up with p(1 − q), down with q(1 − p); the response time is L/p."""
    p, q = 0.3, 0.5
    game = jaxdlb.make("dlb", num_nodes=1, capacity=500)
    params = game.default_params(arrival_prob=p, completion_prob=q)
    sizes = {"num_episodes": 256, "num_rounds": 3000, "warmup": 500}
    result = evaluate(game, heuristic("local"), lambda key: params, KEY, **sizes)
    rho = p * (1 - q) / (q * (1 - p))
    weights = np.array([1.0, *(p / (q * (1 - p)) * rho ** np.arange(200))])
    mean_load = float(np.arange(201) @ weights / weights.sum())
    error = result["response_time"].std(ddof=1) / 16
    # Within 4 standard errors, which a right program misses once in 16,000 seeds; and the error itself is small.
    assert abs(result["response_time"].mean() - mean_load / p) < 4 * error < 0.1
    assert np.all(result["drops"] == 0)


def test_the_response_time_is_that_of_the_tasks_themselves():
    """Tasks with names, in first-in-first-out queues moved by what a recording says, against Little's law."""
    params = GAME.default_params(transfer_delay=2, heartbeat_period=3, load=0.8)
    game = jaxdlb.make("dlb", num_nodes=3, capacity=60)
    recording = record(game, heuristic("power_of_d_stealing", d=1), params, KEY, 3000)
    sojourns, present = follow_tasks(recording, delay=2)
    np.testing.assert_array_equal(present, recording.metrics["total_load"] + recording.metrics["total_in_transit"])
    accepted = recording.metrics["arrivals"].sum()
    # The few tasks still present at the end are all that Little's law over a finite time counts differently.
    assert abs(present.sum() / accepted - np.mean(sojourns)) < 0.01 * np.mean(sojourns)


def follow_tasks(recording, delay):
    """Rounds that each completed task stayed, and how many were present at the end of each round."""
    num_rounds, num_nodes = recording.load.shape
    queues = [collections.deque() for _ in range(num_nodes)]
    under_way, sojourns, present = [], [], []
    for r in range(num_rounds):
        for i in np.flatnonzero(recording.completed[r]):
            sojourns.append(r - queues[i].popleft())
        for i in sorted(range(num_nodes), key=lambda i: (i - r) % num_nodes):
            victim = recording.steal[r, i]
            if victim != i and len(queues[victim]) > 1:
                under_way.append((r + delay, i, queues[victim].pop()))
        for i in np.flatnonzero(recording.arrived[r]):
            target = recording.dispatch[r, i]
            under_way.append((r if target == i else r + delay, target, r))
        for due, target, born in [each for each in under_way if each[0] == r]:
            queues[target].append(born)
            under_way.remove((due, target, born))
        np.testing.assert_array_equal([len(queue) for queue in queues], recording.load[r])
        present.append(sum(map(len, queues)) + len(under_way))
    return sojourns, np.array(present)


def test_a_quotient_by_nothing_is_nan():
    idle = {name: np.zeros(2) for name in GAME.metrics} | {"arrivals": np.array([0.0, 0.5])}
    result = rollouts.quotients(idle, num_nodes=3)
    np.testing.assert_array_equal(result["response_time"], [np.nan, 0.0])
    np.testing.assert_array_equal(result["migrations_per_arrival"], [np.nan, 0.0])
    np.testing.assert_array_equal(result["steal_requests_per_completion"], [np.nan, np.nan])
    np.testing.assert_array_equal(result["queue_length"], [0.0, 0.0])


def test_a_game_without_the_metrics_has_no_quotients_of_them():
    means = {"arrivals": np.ones(2), "migrations": np.ones(2), "total_load": np.ones(2)}
    assert set(rollouts.quotients(means, num_nodes=2)) == {"migrations_per_arrival", "queue_length"}


def test_a_long_sum_keeps_small_addends():
    values = np.random.default_rng(0).exponential(size=200_000).astype(np.float32)
    start = Tally(jnp.float32(1e6), jnp.float32(0))
    total, excess = jax.jit(lambda: jax.lax.scan(lambda tally, value: (tally.add(value), None), start, values)[0])()
    exact = 1e6 + values.astype(np.float64).sum()
    assert abs(float(total) - float(excess) - exact) < 1e-2
    plain = np.add.accumulate(np.concatenate([[np.float32(1e6)], values]), dtype=np.float32)[-1]
    assert abs(float(plain) - exact) > 1.0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_episodes": 1}, "num_episodes is 1; it must be an integer ≥ 2"),
        ({"num_rounds": 0}, "num_rounds is 0; it must be an integer ≥ 1"),
        ({"warmup": -1}, "warmup is -1; it must be an integer ≥ 0"),
        ({"warmup": 40}, "warmup is 40; it must be below num_rounds, which is 40"),
        ({"num_rounds": True}, "num_rounds is True; it must be an integer ≥ 1"),
    ],
)
def test_sizes_that_leave_nothing_to_measure_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(GAME, heuristic("local"), one_cluster, KEY, **(SHORT | sizes))


def test_no_policies_are_refused():
    with pytest.raises(ValueError, match="policies is empty"):
        evaluate_all(GAME, [], one_cluster, KEY, **SHORT)


# Recordings


def test_recordings_by_one_key_meet_the_same_arrivals_and_failures():
    first, second = (record(GAME, policy, PARAMS, KEY, 50) for policy in (heuristic("random"), Keeper()))
    np.testing.assert_array_equal(first.arrived, second.arrived)
    np.testing.assert_array_equal(first.alive, second.alive)
    assert not np.array_equal(first.load, second.load)
    assert not first.alive.all() and first.alive.any()


def test_a_recording_holds_what_was_played_and_how_old_news_was():
    game = jaxdlb.make("dlb", num_nodes=3, capacity=6, heartbeats="per_link")
    params = game.default_params(heartbeat_period=4, heartbeat_loss=0.4)
    recording = record(game, heuristic("random"), params, KEY, 60)
    itself = np.arange(3)
    assert np.all((recording.dispatch == itself) | recording.arrived)
    assert np.any(recording.dispatch != itself)
    assert np.all(recording.steal == itself)
    np.testing.assert_array_equal(recording.completion_prob, params.completion_prob)
    assert recording.in_transit.shape == (60, game.max_delay, 3)
    sent, landed = recording.metrics["migrations"].sum(), recording.in_transit[-1].sum()
    assert 0 <= landed <= sent
    # Two receivers: their mean age is a multiple of 1/2, sometimes not of 1, and 0 only when both have just heard.
    assert np.all(recording.heard_age * 2 == np.round(recording.heard_age * 2)) and np.any(recording.heard_age % 1 != 0)
    assert np.all(recording.heard_age[0::4] <= 60) and recording.heard_age.max() > 4


def test_a_recording_without_rounds_is_refused():
    with pytest.raises(ValueError, match="num_rounds is 0; it must be an integer ≥ 1"):
        record(GAME, heuristic("local"), PARAMS, KEY, 0)
