"""When heartbeats are sent, what they say, when they are heard, and what is known without them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.episodes import batch_player, clusters, no_ops, resetter, stepper

from jaxdlb.games.dlb import DLB, ENTRY

ROUNDS = 20
TIMINGS = [(1, 0), (4, 0), (4, 1), (4, 3), (5, 2), (30, 0), (1, 3)]  # period, delay
PHASES = [0, 3, 7]  # 7 is more than most periods: phases count modulo the period


def expected_news(loads, period, phase, delay, r):
    """(load, age) that peers know at the end of round r of a node whose loads are [reset, end of round 0, 1, …]."""
    heard = [rho for rho in range(r - delay + 1) if (rho - phase) % period == 0]
    said = max(heard, default=-1)
    return loads[said + 1], r - said


@pytest.mark.parametrize("heartbeats", ["shared", "per_link"])
def test_a_heartbeat_is_sent_in_its_phase_of_each_period_and_heard_after_the_delay(heartbeats):
    game = DLB(3, capacity=50, max_delay=3, heartbeats=heartbeats)
    periods, delays = zip(*TIMINGS, strict=True)
    params = clusters(
        game,
        len(TIMINGS),
        arrival_prob=0.9,
        heartbeat_period=periods,
        heartbeat_delay=delays,
        heartbeat_phase=PHASES,
        initial_load=[1, 2, 3],
    )
    keys = jax.random.split(jax.random.key(0), len(TIMINGS))
    states, timesteps = batch_player(game)(keys, params, no_ops(len(TIMINGS), ROUNDS, 3))
    loads, peers = np.asarray(states.load), np.asarray(timesteps.observation.peers)
    for c, (period, delay) in enumerate(TIMINGS):
        for j in range(3):
            expected = [expected_news(loads[c, :, j], period, PHASES[j], delay, r) for r in range(ROUNDS)]
            for i in {0, 1, 2} - {j}:
                assert [tuple(known) for known in peers[c, 1:, i, j, :2]] == expected


@pytest.mark.parametrize("heartbeats", ["shared", "per_link"])
def test_with_fresh_news_all_see_every_load_as_it_is_and_the_cluster_is_the_same_otherwise(heartbeats):
    game, size = DLB(3, capacity=50, max_delay=3, heartbeats=heartbeats), len(TIMINGS)
    loss = 0.4 if heartbeats == "per_link" else 0.0
    stale = {"heartbeat_period": 4, "heartbeat_delay": 2, "heartbeat_loss": loss, "heartbeat_phase": PHASES}
    params = clusters(game, size, arrival_prob=0.9, **stale)
    fresh = jax.vmap(ENTRY.fresh)(params)
    states, timesteps = batch_player(game)(jax.random.split(jax.random.key(0), size), fresh, no_ops(size, ROUNDS, 3))
    loads = np.asarray(states.load)
    np.testing.assert_array_equal(timesteps.observation.peers[..., 0], np.repeat(loads[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(timesteps.observation.peers[..., 1], 0)
    changed = {name for name, value in vars(params).items() if not np.array_equal(value, getattr(fresh, name))}
    assert changed == {name for name, value in stale.items() if name != "heartbeat_phase" and np.any(value)}
    game.validate(ENTRY.fresh(game.default_params()))


def test_a_node_knows_itself_without_heartbeats():
    game = DLB(3, capacity=50, max_delay=3)
    size = len(TIMINGS)
    params = clusters(game, size, arrival_prob=0.9, heartbeat_period=10**6, heartbeat_phase=10**6 - 1)
    states, timesteps = batch_player(game)(jax.random.split(jax.random.key(1), size), params, no_ops(size, ROUNDS, 3))
    for i in range(3):
        np.testing.assert_array_equal(timesteps.observation.peers[0, :, i, i, 0], states.load[0, :, i])
        np.testing.assert_array_equal(timesteps.observation.peers[0, :, i, i, 1], 0)
    assert np.all(np.diff(timesteps.observation.peers[0, :, 0, 1, 1]) == 1)


def test_each_receiver_loses_heartbeats_of_its_own():
    game = DLB(3, capacity=50, max_delay=3, heartbeats="per_link")
    params = clusters(game, len(TIMINGS), arrival_prob=0.9, heartbeat_period=1, heartbeat_loss=0.5)
    keys = jax.random.split(jax.random.key(2), len(TIMINGS))
    _, timesteps = batch_player(game)(keys, params, no_ops(len(TIMINGS), ROUNDS, 3))
    age = np.asarray(timesteps.observation.peers[..., 1])
    links = ~np.eye(3, dtype=bool)
    before, after = age[:, :-1, links], age[:, 1:, links]
    assert np.all((after == 0) | (after == before + 1))
    assert 0.4 < np.mean(after == 0) < 0.6
    assert np.mean(age[:, :, 0, 2] != age[:, :, 1, 2]) > 0.3


class TestChurn:
    """Node 2 fails, or comes up, in a round of our choosing; heartbeats are due in every round."""

    GAME = DLB(3, capacity=50, max_delay=3)

    def play(self, state, rounds, failure=0.0, repair=0.0, delay=0):
        """The age and load that node 0 has of node 2 after each of `rounds`, and the last state."""
        params = self.GAME.default_params(
            heartbeat_period=1,
            heartbeat_delay=delay,
            failure_prob=[0, 0, failure],
            repair_prob=[0, 0, repair],
            arrival_prob=1.0,
        )
        if state is None:
            state, _ = resetter(self.GAME)(jax.random.key(0), params)
        news = []
        for _ in range(rounds):
            key = jax.random.fold_in(jax.random.key(3), state.round)
            state, timestep = stepper(self.GAME)(key, state, no_ops(3), params)
            news.append((float(timestep.observation.peers[0, 2, 1]), float(timestep.observation.peers[0, 2, 0])))
        return news, state

    def test_a_down_node_is_silent_from_the_round_in_which_it_fails(self):
        news, state = self.play(None, 3)
        assert [age for age, _ in news] == [0, 0, 0]
        last_known = news[-1][1]
        news, _ = self.play(state, 3, failure=1.0)
        assert news == [(1, last_known), (2, last_known), (3, last_known)]

    def test_a_repaired_node_speaks_at_the_end_of_the_round_in_which_it_comes_up(self):
        _, state = self.play(None, 3, failure=1.0)
        news, state = self.play(state, 1, repair=1.0)
        assert news == [(0, float(state.load[2]))]

    def test_what_was_sent_before_a_failure_is_still_heard(self):
        _, state = self.play(None, 4, delay=2)
        news, _ = self.play(state, 4, failure=1.0, delay=2)
        assert [age for age, _ in news] == [2, 2, 3, 4]

    def test_a_heartbeat_says_the_load_after_landing(self):
        _, state = self.play(None, 1)
        state = dataclasses.replace(state, in_transit=state.in_transit.at[0, 2].set(7), load=jnp.array([0, 0, 1]))
        news, after = self.play(state, 1)
        assert after.load[2] >= 8
        assert news == [(0, float(after.load[2]))]
