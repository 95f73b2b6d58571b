"""The plain event loop is the game's farm: the same events at the same times, whatever befalls its workers."""

import time
import types

import pytest

from benchmarks import events, timing
from benchmarks.reference.farm import Chance, Plain, guided, seeing, self_scheduling
from jaxdlb.games.farm import Farm

GAME = Farm(num_workers=3)
PARAMS = GAME.default_params(  # workers fail with chunks in hand, which come back, and join; one comes late
    job=150, comm_time=0.3, latency=0.1, failure_rate=0.02, rejoin_rate=0.2, join_time=[0.0, 0.0, 5.0]
)


def test_both_play_the_same_farm():
    events.check(GAME, PARAMS, "adaptive_weighted_factoring", {}, seed=3)


def test_a_farm_that_is_another_is_noticed(monkeypatch):
    honest = Plain.speed
    monkeypatch.setattr(Plain, "speed", lambda self, worker: 0.9 * honest(self, worker))
    with pytest.raises(events.DisagreementError, match=r"is .* in JAX, .* in Python"):
        events.check(GAME, PARAMS, "guided", {}, seed=3)


def test_one_worker_alone_takes_what_it_should():
    """Chunks of 4 from 10 tasks of time 1 at speed 2: three requests of 0.5, and 5 of work."""
    game = Farm(num_workers=1, task_law="deterministic")
    plain = Plain(game, game.default_params(job=10, comm_time=0.5, speed=2.0, drift=0.0), self_scheduling(4), Chance(0))
    assert plain.play() == pytest.approx(3 * 0.5 + 10 / 2)
    assert (plain.chunks, plain.num_events) == (3, 3)


def test_seeing_what_the_worker_sees_changes_no_choice():
    """Its row as the game's: what remains, tasks in hand, workers, and the measured rates."""
    seen = []

    def rule(farm, worker):
        seen.append((farm.row(worker), farm.legal(worker)))
        return guided()(farm, worker)

    makespans = [Plain(GAME, PARAMS, each, Chance(7)).play() for each in (guided(), rule, seeing(guided()))]
    assert makespans[0] == makespans[1] == makespans[2]
    row, legal = seen[0]
    assert row[:7] == [1.0, 1.0, 150, 150, 0, 2, 1]
    assert len(legal) == GAME.num_sizes and legal[1] and not legal[0]


def test_a_race_gives_the_ratio_of_events_in_the_same_time(monkeypatch):
    """With a program in the game's place that plays a known number of events in at least a known time."""

    def prepare(game, policy, params, num_envs, cores, seed):
        def advance(carry):
            time.sleep(0.01)
            return carry

        return timing.Program(advance, 0.0, None), timing.Chain(advance, types.SimpleNamespace()), 1000

    monkeypatch.setattr(events, "prepare", prepare)
    words = ["--repeats", "2", "--min-seconds", "0.02", "--num-envs", "4"]
    results = events.race(GAME, PARAMS, "guided", events._parser().parse_args(words))
    for result in results:
        assert result["events_per_second"].high <= 1000 / 0.01
        mine, theirs = result["events_per_second"], result["loop_events_per_second"]
        assert mine.low / theirs.high <= result["over_loop"].median <= mine.high / theirs.low
    assert "JAX over loop" in events.to_text(results)
