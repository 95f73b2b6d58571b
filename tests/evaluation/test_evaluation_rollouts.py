"""Rollouts: common random numbers, warm-up, Little's law, columns, true ends, and nonsense refused."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ticking

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.evaluation import rollouts
from jaxdlb.evaluation.rollouts import columns_of, evaluate, evaluate_all, sums
from jaxdlb.evaluation.side_by_side import Tally
from jaxdlb.mechanics.peer_view import Action
from jaxdlb.recording import record

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=6)
PARAMS = GAME.default_params(heartbeat_period=7, failure_prob=0.05, repair_prob=0.2)
KEY = jax.random.key(3)
SHORT = {"num_episodes": 6, "num_rounds": 40, "warmup": 10}
NAMES = ("round_robin", "shortest_expected_delay", "oracle_shortest_expected_delay", "work_stealing")
POLICIES = {name: heuristic(name) for name in NAMES}


def one_cluster(key):
    return PARAMS


clusters = jaxdlb.randomised(GAME, PARAMS, load=(0.1, 1.0), heartbeat_period=(1, 20))


class Keeper:
    """A policy of somebody else's: neither a heuristic nor a pytree."""

    name, kind = "keeper", "learned"

    def init(self, game):
        return jnp.int32(0)

    def act(self, key, carry, observation, params):
        nodes = jnp.arange(observation.own.shape[0], dtype=jnp.int32)
        return carry + 1, Action(dispatch=nodes, steal=nodes)


EVERYONE = {"keeper": Keeper(), **POLICIES}


def play_everyone(**sizes):
    results = sums(GAME, list(EVERYONE.values()), clusters, KEY, **(SHORT | sizes))
    return dict(zip(EVERYONE, results, strict=True))


@pytest.fixture(scope="module")
def played():
    """The sums of all policies on random clusters, with somebody else's among them."""
    return play_everyone()


@pytest.fixture(scope="module")
def columns(played):
    """The game's columns of the same episodes."""
    return {name: columns_of(GAME, episodes) for name, episodes in played.items()}


def test_all_policies_meet_exactly_the_same_clusters_arrivals_and_failures(played):
    first = played["round_robin"]
    assert len(set(first["arrivals"].tolist())) > SHORT["num_episodes"] / 2  # clusters of their own
    for result in played.values():
        for shared in ("arrivals", "nodes_up"):
            np.testing.assert_array_equal(result[shared], first[shared])
    assert len({tuple(result["utility"]) for result in played.values()}) == len(played)  # and yet they play differently


def test_the_sums_are_of_every_metric_the_steps_and_their_time_for_each_episode(played):
    for result in played.values():
        assert set(result) == {*GAME.metrics, "steps", "elapsed"}
        assert all(values.shape == (6,) and values.dtype == np.float64 for values in result.values())
        assert np.all(result["steps"] == 30) and np.all(result["elapsed"] == 30)


def test_the_columns_are_the_games(columns):
    for result in columns.values():
        assert list(result) == list(GAME.columns)
        assert all(values.shape == (6,) and values.dtype == np.float64 for values in result.values())


def test_columns_are_means_and_quotients_of_the_sums(played, columns):
    total, result = played["work_stealing"], columns["work_stealing"]
    for name in ("utility", "imbalance", "drops"):
        np.testing.assert_allclose(result[name], total[name] / 30)
    np.testing.assert_allclose(result["queue_length"], total["total_load"] / 30 / 3)
    np.testing.assert_allclose(result["steal_requests_per_completion"], total["steal_requests"] / total["completions"])
    accepted = total["arrivals"] - total["drops"]
    np.testing.assert_allclose(result["response_time"] * accepted, total["total_load"] + total["total_in_transit"])
    assert np.all(columns["keeper"]["migrations_per_arrival"] == 0)


def test_a_policy_plays_the_same_alone_as_beside_others_and_whatever_the_batch(columns, monkeypatch):
    monkeypatch.setattr(rollouts, "_ENTRIES_AT_ONCE", 3 * 9)  # 3 episodes at once, then 3
    alone = evaluate(GAME, heuristic("round_robin"), clusters, KEY, **SHORT)
    assert alone.keys() == columns["round_robin"].keys()
    for name, values in alone.items():
        np.testing.assert_allclose(values, columns["round_robin"][name], rtol=1e-6)


def test_the_warm_up_is_left_out(played):
    """Sums over all rounds are those of the warm-up and those of the rest."""
    whole, start = play_everyone(warmup=0), play_everyone(num_rounds=10, warmup=0)
    for policy, metric in itertools.product(EVERYONE, [*GAME.metrics, "steps", "elapsed"]):
        parts = start[policy][metric] + played[policy][metric]
        np.testing.assert_allclose(whole[policy][metric], parts, rtol=1e-5, atol=4e-3)


@pytest.mark.parametrize("rule", ["shortest_expected_delay", "fading_stealing"])
def test_an_oracle_sees_at_any_heartbeat_period_what_fresh_heartbeats_would_tell(rule):
    fresh, stale = (GAME.default_params(heartbeat_period=period) for period in (1, 1000))
    heard, oracle = heuristic(rule), heuristic(f"oracle_{rule}")
    sizes = {"num_episodes": 4, "num_rounds": 60, "warmup": 0}
    (with_news,) = sums(GAME, [heard], lambda key: fresh, KEY, **sizes)
    (without,) = sums(GAME, [oracle], lambda key: stale, KEY, **sizes)
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
    metrics = recording.timesteps.metrics
    np.testing.assert_array_equal(present, metrics["total_load"] + metrics["total_in_transit"])
    accepted = metrics["arrivals"].sum()
    # The few tasks still present at the end are all that Little's law over a finite time counts differently.
    assert abs(present.sum() / accepted - np.mean(sojourns)) < 0.01 * np.mean(sojourns)


def follow_tasks(recording, delay):
    """Rounds that each completed task stayed, and how many were present at the end of each round."""
    states, actions = recording.states, recording.actions
    num_nodes = states.load.shape[1]
    queues = [collections.deque() for _ in range(num_nodes)]
    under_way, sojourns, present = [], [], []
    for r in range(recording.num_rounds):
        for i in np.flatnonzero(states.completed[r]):
            sojourns.append(r - queues[i].popleft())
        for i in sorted(range(num_nodes), key=lambda i: (i - r) % num_nodes):
            victim = actions.steal[r, i] if states.completed[r, i] else i
            if victim != i and len(queues[victim]) > 1:
                under_way.append((r + delay, i, queues[victim].pop()))
        for i in np.flatnonzero(states.arrived[r]):
            target = actions.dispatch[r, i]
            under_way.append((r if target == i else r + delay, target, r))
        for due, target, born in [each for each in under_way if each[0] == r]:
            queues[target].append(born)
            under_way.remove((due, target, born))
        np.testing.assert_array_equal([len(queue) for queue in queues], states.load[r + 1])
        present.append(sum(map(len, queues)) + len(under_way))
    return sojourns, np.array(present)


def test_a_quotient_by_nothing_is_nan():
    idle = {name: np.zeros(2) for name in GAME.metrics} | {"arrivals": np.array([0.0, 0.5]), "steps": np.full(2, 9.0)}
    result = columns_of(GAME, idle)
    np.testing.assert_array_equal(result["response_time"], [np.nan, 0.0])
    np.testing.assert_array_equal(result["migrations_per_arrival"], [np.nan, 0.0])
    np.testing.assert_array_equal(result["steal_requests_per_completion"], [np.nan, np.nan])
    np.testing.assert_array_equal(result["queue_length"], [0.0, 0.0])


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


# A game that ends, whose steps take unequal time and whose metrics are no scalars

RACE = ticking.Ticking(num_workers=2, capacity=4)
EAGER, STEADY, IDLE = (jaxdlb.heuristic(name, game="reference.ticking:ENTRY") for name in ("eager", "work", "idle"))
LONG = {"num_episodes": 40, "num_rounds": 60, "warmup": 0}


@pytest.fixture(scope="module")
def race():
    """The sums of three policies by name, where who works succeeds in three steps of four."""
    params = RACE.default_params(pieces=[4, 2], skill=0.75, horizon=5)
    found = sums(RACE, [EAGER, STEADY, IDLE], lambda key: params, KEY, **LONG)
    return dict(zip(["eager", "steady", "idle"], found, strict=True))


def test_nothing_counts_after_a_true_end(race):
    """The boxes hold 6 pieces: no more are finished, and the steps are those until the last is."""
    for name in ("eager", "steady"):
        np.testing.assert_array_equal(race[name]["finished"], [[4.0, 2.0]] * 40)
        assert race[name]["steps"].min() >= 4 and race[name]["steps"].max() < 60
        np.testing.assert_array_equal(race[name]["choices"].sum(axis=1), 2 * race[name]["steps"])
    assert len(np.unique(race["steady"]["steps"])) > 1


def test_the_step_that_ends_an_episode_counts():
    certain = RACE.default_params(pieces=[1, 1], skill=1)
    (done,) = sums(RACE, [STEADY], lambda key: certain, KEY, **(LONG | {"num_episodes": 2}))
    np.testing.assert_array_equal(done["steps"], [1, 1])
    np.testing.assert_array_equal(done["utility"], [1, 1])


def test_a_time_limit_is_played_over(race):
    """The horizon is 5: who idles never ends, and slow workers end behind it."""
    np.testing.assert_array_equal(race["idle"]["steps"], [60] * 40)
    np.testing.assert_array_equal(race["idle"]["choices"], [[120, 0, 0]] * 40)
    assert race["steady"]["steps"].max() > 5


def test_metrics_of_any_shape_are_summed_as_they_are(race):
    shapes = {name: values.shape for name, values in race["eager"].items()}
    assert shapes == {"utility": (40,), "finished": (40, 2), "choices": (40, 3), "steps": (40,), "elapsed": (40,)}


def test_time_is_the_sum_of_what_the_steps_took(race):
    """A step in which somebody hurries takes half the time; an eager worker hurries in steps 1, 2, 4, 5, …"""
    np.testing.assert_array_equal(race["steady"]["elapsed"], race["steady"]["steps"])
    np.testing.assert_array_equal(race["idle"]["elapsed"], [60] * 40)
    assert np.all(race["eager"]["elapsed"] < race["eager"]["steps"])
    recording = record(RACE, EAGER, RACE.default_params(pieces=4), KEY, 8)
    hurried = np.any(recording.actions == ticking.HURRY, axis=1)
    np.testing.assert_array_equal(recording.timesteps.elapsed, np.where(hurried, 0.5, 1.0))


def test_columns_may_be_totals_and_quotients(race):
    for episodes in race.values():
        columns = columns_of(RACE, episodes)
        np.testing.assert_allclose(columns["finished"], episodes["finished"].sum(axis=1))
        np.testing.assert_allclose(columns["makespan"], episodes["elapsed"])
        np.testing.assert_allclose(columns["throughput"], episodes["finished"].sum(axis=1) / episodes["elapsed"])
        np.testing.assert_allclose(columns["utility"], episodes["utility"] / episodes["steps"])
    assert np.all(np.isnan(columns_of(RACE, race["idle"])["hurried"]))
    assert np.all(columns_of(RACE, race["steady"])["hurried"] == 0)


def test_an_episode_that_ends_within_the_warm_up_has_no_mean():
    certain = RACE.default_params(pieces=[2, 2], skill=1)
    sizes = {"num_episodes": 2, "num_rounds": 20, "warmup": 10}
    (done,) = sums(RACE, [STEADY], lambda key: certain, KEY, **sizes)
    assert np.all(done["steps"] == 0) and np.all(done["finished"] == 0)
    columns = columns_of(RACE, done)
    assert np.all(np.isnan(columns["utility"])) and np.all(columns["finished"] == 0)


def test_a_policy_that_ends_early_leaves_the_others_as_they_are(race):
    params = RACE.default_params(pieces=[4, 2], skill=0.75, horizon=5)
    (alone,) = sums(RACE, [STEADY], lambda key: params, KEY, **LONG)
    for name, values in alone.items():
        np.testing.assert_allclose(values, race["steady"][name], rtol=1e-6)
