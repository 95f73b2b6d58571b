"""What agents of a job are told, and which seat its workers have; without processes."""

import dataclasses
import time

import jax
import jaxtyping
import numpy as np
import pytest

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import IPPOConfig
from jaxdlb.live import ActorState, LearningAlgorithm, PolicyAlgorithm
from jaxdlb.live import master as masters
from jaxdlb.live.session import Seats, Session
from jaxdlb.networks import NetworkConfig
from jaxdlb.policies.learned import LearnedPolicy

GAME = jaxdlb.make("farm", num_workers=3)
PARAMS = GAME.default_params(job=30, comm_time=0.5, speed=[1, 2, 4])
ROW = {"decides": 0, "remaining": 2, "present": 5, "measured": 9}


@dataclasses.dataclass
class Scribe:
    """An agent that takes as many tasks as it is told, and writes down what it is told."""

    name: str
    takes: int
    told: list = dataclasses.field(default_factory=list)

    def init_agent(self, actor_state):
        self.told.append(("init", actor_state))

    def is_learning(self):
        return False

    def sample_action(self):
        return self.takes + GAME.num_sizes - 1 if self.told[-1][1].features[ROW["decides"]] else 0

    def update(self, actor_state, reward):
        self.told.append((reward, actor_state))

    def action_probabilities(self):
        raise AssertionError("nobody asks")

    def agent_joined(self, agent):
        self.told.append(("joined", agent))

    def agent_left(self, agent):
        self.told.append(("left", agent))


class Scribes:
    def __init__(self, **takes):
        self.takes, self.all, self.gone = takes, {}, []

    def agent(self, name):
        return self.all.setdefault(name, Scribe(name, self.takes.get(name, 1)))

    def leave(self, name):
        self.gone.append(name)


def a_session(team, num_workers=3):
    game = dataclasses.replace(GAME, num_workers=num_workers)
    handed = []
    params = game.default_params(job=30, comm_time=0.5, speed=[1, 2, 4][:num_workers])
    session = Session(masters.find(game)(game, params), team, lambda *out: handed.append(out), Seats(num_workers))
    return session, handed


def rows_of(scribe):
    return [state.features for _, state in scribe.told if isinstance(state, ActorState)]


def test_everybody_is_told_of_every_request_and_the_decider_alone_chooses():
    team = Scribes(a=2, b=9, c=6)
    assert isinstance(team.agent("a"), LearningAlgorithm)
    session, handed = a_session(team)
    session.start(["a", "b", "c"])
    session.serve(0.0)
    assert handed == [("a", (0, 2)), ("b", (2, 9)), ("c", (11, 6))]
    for name, decides in (("a", [1, 0, 0]), ("b", [0, 1, 0]), ("c", [0, 0, 1])):
        rows = rows_of(team.all[name])
        assert [row[ROW["decides"]] for row in rows] == decides
        assert [row[ROW["remaining"]] for row in rows] == [30, 28, 19]
    assert len(session.decision_seconds) == 3
    session.finish("a", 2.0, 3.0)
    session.serve(3.0)
    assert handed[-1] == ("a", (17, 2))
    for name in ("a", "b", "c"):
        reward, state = team.all[name].told[-1]
        assert state.elapsed == 3 and reward == pytest.approx(-3 / (30 / 7))


def test_rewards_of_a_job_sum_to_its_makespan():
    team = Scribes(a=7, b=7, c=7)
    session, handed = a_session(team)
    session.start(["a", "b", "c"])
    session.serve(0.0)
    now = 0.0
    while not session.master.over:
        now += 1.5
        name, _ = handed.pop(0)
        session.finish(name, 1.0, now)
        session.serve(now)
    session.end(now)
    for scribe in team.all.values():
        told = [each for each in scribe.told if isinstance(each[1], ActorState)]
        assert sum(reward for reward, _ in told[1:]) == pytest.approx(-now / (30 / 7))
        assert [state.over for _, state in told] == [False] * (len(told) - 1) + [True]
        assert sum(state.elapsed for _, state in told) == pytest.approx(now)
    assert sorted(team.gone) == ["a", "b", "c"]


def test_workers_come_and_go():
    team = Scribes(a=5, b=5, d=5)
    session, handed = a_session(team)
    session.start(["a", "b"])
    session.serve(0.0)
    session.leave("b", 1.0)
    assert team.gone == ["b"] and ("left", "b") in team.all["a"].told
    session.join("d", 2.0)
    assert ("joined", "d") in team.all["a"].told
    session.serve(2.0)
    assert handed == [("a", (0, 5)), ("b", (5, 5)), ("d", (5, 5))]  # what came back goes out first
    assert session.master.tasks_returned == 5 and session.master.remaining == 20
    assert rows_of(team.all["a"])[-1][ROW["present"]] == 2


def test_who_comes_again_has_the_seat_it_had_and_is_known():
    seats = Seats(3)
    assert [seats.take(name) for name in "abc"] == [(0, True), (1, True), (2, True)]
    assert seats.take("d") is None
    seats.leave("b")
    seats.leave("a")
    assert seats.take("a") == (0, True)
    assert seats.take("d") == (1, False)  # where b has been measured
    assert seats.name_of(1) == "d" and "b" not in seats


def test_who_finds_no_seat_gets_one_when_another_leaves():
    session, handed = a_session(Scribes(a=3, b=3, c=3), num_workers=2)
    session.start(["a", "b"])
    session.serve(0.0)
    session.join("c", 1.0)
    session.serve(1.0)
    assert [name for name, _ in handed] == ["a", "b"]
    session.leave("a", 2.0)
    session.serve(2.0)
    assert handed[-1] == ("c", (0, 3))
    session.join("e", 3.0)
    session.leave("e", 4.0)  # without having had one
    assert session.master.failures == 1


def test_a_policy_lives_on_from_job_to_job():
    team = PolicyAlgorithm(jaxdlb.heuristic("factoring", game="farm"), GAME, PARAMS)
    jobs = []
    for _ in range(2):
        session, handed = a_session(team)
        session.start(["a", "b", "c"])
        session.serve(0.0)
        session.finish("b", 1.0, 1.0)
        session.serve(1.0)
        session.end(1.0)
        jobs.append([chunk.size for _, chunk in handed])
    assert jobs == [[5, 5, 5, 3]] * 2


def test_games_that_no_process_plays_are_refused():
    with pytest.raises(ValueError, match=r"^game is dlb; it must be one that processes play, farm$"):
        masters.find(jaxdlb.make("dlb"))


def test_times_that_go_on_while_nobody_asks_are_told_at_once():
    """An agent that comes between two events is told of the time since it came, and no other."""
    team = Scribes(a=1, b=1)
    session, _ = a_session(team)
    session.start(["a"])
    session.serve(0.0)
    session.join("b", 4.0)
    session.serve(5.0)
    elapsed = {name: [s.elapsed for _, s in team.all[name].told if isinstance(s, ActorState)] for name in "ab"}
    assert elapsed == {"a": [0, 4, 1], "b": [0, 1]}
    assert np.isfinite(rows_of(team.all["b"])).all()


def test_a_request_takes_less_than_2_ms_to_decide(monkeypatch):
    """Of the processor's time, that of all threads: the machine may have other things to do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # without the tests' checks of types
    game = jaxdlb.make("farm", num_workers=8)
    network = NetworkConfig("mlp", hidden=(64, 64), critic_hidden=(8,))
    learner = learners.make(game, IPPOConfig(num_envs=1, rollout_length=8), network=network)
    state = jax.jit(learner.init)(jax.random.key(0))
    learned = LearnedPolicy(game, learner.network.actor, learner.policy_variables(state))
    params = game.default_params(job=200, comm_time=0.0)
    for policy in (learned, jaxdlb.heuristic("tapered", game="farm")):
        assert np.median(request_seconds(policy, game, params)) < 0.002


def request_seconds(policy, game, params):
    """The processor's time for each request of a job whose chunks all take the same time."""
    handed, took = [], []
    team = PolicyAlgorithm(policy, game, params)
    session = Session(masters.find(game)(game, params), team, lambda *out: handed.append(out), Seats(game.num_workers))
    session.start([str(number) for number in range(game.num_workers)])
    while not session.master.over:
        now = float(len(took))
        for name, _ in handed:
            session.finish(name, 1.0, now)
        handed.clear()
        began, before = time.process_time(), len(session.decision_seconds)
        session.serve(now)
        requests = len(session.decision_seconds) - before
        took += [(time.process_time() - began) / max(requests, 1)] * requests
    return took
