"""The steps that the rules work by hand: whoever plays the farm must get these numbers."""

import itertools
import math

import jax
import numpy as np
import pytest
from reference import farm as reference
from reference.farm_episodes import FARMS, GAMES, STEPS, facts_by_rules, facts_of, play_all, stacked

FARM_A = dict(job=20, comm_time=0.5, speed=[1, 2, 4])
STEPS_A = [(17, 5, -3), (1, 12, 0), (0, 7, 13), (0, 0, 9), (4, 0, 18)]
SIZES_A = [1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 7, 10, 14, 19, 20]  # of choices 1, 2, …
IDEAL_A = 20 / 7
FARM_B = dict(job=10, comm_time=0.25, speed=[1, 2])
STEPS_B = [(17, 0), (0, 21), (9, 9), (24, 0), (9, 9), (0, 17)]
CHANGES_B = [[math.inf], [2.0, 4.0, math.inf]]  # the second fails at 2 and joins again 4 later


def by_the_rules(choices, changes=None, **given):
    """Every reset and step of an episode under each list of choices, by the scalar reference."""
    objective = {1: "makespan", 2: "idle", 3: "makespan"}[len(given["speed"])]
    p = reference.rules(len(given["speed"]), objective=objective, **given)
    chance = reference.Chance(
        costs=[1.0] * p["job"],
        speed=lambda i, time: p["speed"][i],
        change=lambda i, number, is_present: changes[i][number] if changes else math.inf,
    )
    episodes = []
    for actions in choices:
        farm = reference.reset(p, chance)
        told = [facts_by_rules(p, farm, reference.nothing(farm))]
        for action in actions:
            of_step = reference.step(p, chance, farm, action)
            told.append(facts_by_rules(p, farm, of_step))
        episodes.append(told)
    return episodes


def by_the_game(choices, changes=None, **given):
    """The same, by the game."""
    game = next(game for game in GAMES if game.num_workers == len(given["speed"]))
    table = np.full((FARMS, game.num_workers, STEPS + 1), np.inf)
    for i, stays in enumerate(changes or []):
        table[:, i, : len(stays)] = stays
    actions = np.zeros((FARMS, STEPS, game.num_workers), int)
    for which, each in enumerate(choices):
        actions[which, : len(each)] = np.reshape(each, (-1, game.num_workers))
    given = {name: np.broadcast_to(each, (FARMS, *np.shape(each))) for name, each in given.items()}
    params = stacked(game, noise=0.0, drift=0.0, **given)
    facts = facts_of(play_all(game, jax.random.split(jax.random.key(0), FARMS), params, actions, table))
    return [
        [{name: each[which, t].tolist() for name, each in facts.items()} for t in range(len(actions) + 1)]
        for which, actions in enumerate(choices)
    ]


@pytest.fixture(params=[by_the_rules, by_the_game], ids=["reference", "game"])
def play(request):
    return request.param


def near(expected):
    return pytest.approx(expected, rel=1e-6, abs=1e-6)


def shown(facts, *names):
    return [facts[name] for name in names]


def test_at_reset_who_waits_is_told_by_its_index_how_long(play):
    ((reset,),) = play([[]], **FARM_A)
    assert shown(reset, "decider", "remaining", "time", "over", "last", "discount") == [0, 20, 0, False, False, 1]
    assert reset["told_wait"] == [0, 0.5, 1]
    assert reset["reward"] == [0, 0, 0]


def test_choices_have_the_stated_sizes_and_none_that_gives_no_more_is_legal(play):
    """One that is not legal is played as one task."""
    episodes = play([[(k, 0, 0)] for k in range(16)], **FARM_A)
    legal = [False, True, *(more > less for less, more in itertools.pairwise(SIZES_A))]
    nothing_else = [True] + [False] * 15
    for k, (reset, after) in enumerate(episodes):
        assert reset["legal"] == [legal, nothing_else, nothing_else]
        assert after["remaining"] == 20 - (SIZES_A[k - 1] if legal[k] else 1)


def test_a_share_that_is_a_hair_over_whole_tasks_gives_no_further_one(play):
    """577 / √2 is 408.0006."""
    ((_, after),) = play([[(10,)]], job=577, comm_time=1.0, speed=[1])
    assert after["tasks_done of a step"] == 408


def test_workers_get_chunks_one_after_the_other(play):
    ((_, one, two, *_),) = play([STEPS_A], **FARM_A)
    assert shown(one, "time", "decider", "remaining") == near([0.5, 1, 18])
    assert one["until_back"][0] == near(2)
    assert one["reward"] == near([-0.5 / IDEAL_A] * 3)
    assert shown(one, *(f"{kind}_time of a step" for kind in ("compute", "comm", "idle"))) == near([0, 0.5, 1])
    assert shown(one, "elapsed", "discount", "last") == near([0.5, 1, False])
    assert shown(two, "time", "decider", "remaining") == near([1, 2, 9])
    assert two["until_back"][1] == near(4.5)


def test_who_comes_back_is_served_and_sees_the_stated_row(play):
    ((*_, three, _, _),) = play([STEPS_A], **FARM_A)
    assert shown(three, "time", "decider", "remaining") == near([2.5, 0, 3])
    assert shown(three, *(f"{kind}_time of a step" for kind in ("compute", "comm", "idle"))) == near([4, 0.5, 0])
    assert three["own"][0] == near([1, 1, 3, 3, 15, 3, 0, 0, 0, 1, 1, 3, 7.5, 2, 2, 0.5, 0, 0])
    assert three["true own"][0] == near([1, 1, 3, 3, 15, 3, 0, 0, 0, 1, 1, 3, 7.5, 2, 2, 0.5, 1, 7])


def test_one_declines_and_the_next_finishes_the_job(play):
    ((*_, three, four, five),) = play([STEPS_A], **FARM_A)
    assert three["legal"][0][0]
    assert shown(four, "time", "decider", "declines of a step") == near([3, 2, 1])
    assert four["phase"][0] == reference.DECLINED
    assert shown(five, "time", "over", "last", "discount") == near([5.5, True, True, 0])
    assert sum(facts["tasks_done of a step"] for facts in (three, four, five)) == 20
    assert shown(five, "remaining", "outstanding after a step") == [0, 0]


def test_the_return_is_the_makespan_in_ideal_ones(play):
    ((_, *steps),) = play([STEPS_A], **FARM_A)
    assert sum(facts["reward"][0] for facts in steps) == near(-5.5 / IDEAL_A)


def test_a_chunk_in_the_hand_of_who_fails_comes_back(play):
    ((_, one, two, *_),) = play([STEPS_B], CHANGES_B, **FARM_B)
    assert one["time"] == near(0.25)
    assert shown(two, "time", "decider", "remaining") == near([2, 2, 8])
    assert list(two["returned"][0]) == [2, 6]
    assert two["reward"] == near([-(0.25 / 2) / (10 / 3)] * 2)
    assert shown(two, "failures of a step", "tasks_returned of a step", "present after a step") == [1, 6, 1]


def test_what_came_back_is_handed_out_first_and_by_itself(play):
    ((_, _, _, three, four, *_),) = play([STEPS_B], CHANGES_B, **FARM_B)
    assert shown(three, "time", "decider") == near([2.25, 0])
    assert three["own"][0][2:5] == [8, 6, 0]
    assert shown(four, "time", "decider", "remaining", "joins of a step") == near([6, 2, 2, 1])
    assert shown(four, "in hand", "first in hand") == [[6, 0], [2, -1]]


def test_who_joins_decides_a_step_later_and_the_job_goes_on(play):
    ((_, *steps),) = play([STEPS_B], CHANGES_B, **FARM_B)
    *_, five, six = steps
    assert shown(five, "time", "decider", "elapsed") == near([6, 1, 0])
    assert shown(six, "time", "over", "discount") == near([8.5, True, 0])
    assert sum(facts["tasks_done of a step"] for facts in steps) == 10
    lost = sum(facts["idle_time of a step"] + facts["comm_time of a step"] for facts in steps)
    assert sum(facts["reward"][0] for facts in steps) == near(-lost / (2 * 10 / 3))


def test_a_worker_alone_takes_the_stated_time_of_a_task(play):
    ((_, one),) = play([[(1,)]], job=4, comm_time=1.0, speed=[1])
    assert one["reward"] == near([-2 / 4])
    assert shown(one, "elapsed", "discount", "last") == near([2, 1, False])
