"""The game against the scalar reference, on random farms under hostile actions.

Random farms go from one state to the next, and numbers err by float32's rounding. A step in which two things happen
closer to each other than that, but not at once, is left out, and so is one in which a choice stands for nearly a whole
number of tasks. Farms whose times float32 holds exactly go from reset to the end, with the clocks of the reference
alone; there many things happen at once, and nothing is left out.
"""

import functools
import itertools

import numpy as np
import pytest
from reference import farm as reference
from reference.farm_episodes import (
    COUNTED,
    FARMS,
    FIELDS,
    GAMES,
    MEASURED,
    are_between,
    drawn_changes,
    drawn_speeds,
    facts_by_rules,
    facts_of,
    farm_of,
    period_of,
    played,
    played_evenly,
)

ERROR = 2e-6  # of a number, and of the durations that it is the difference of
NEAR = 1e-5  # of a duration
NEAR_PERIODS = 1e-6  # of a time in periods
NEAR_TASKS = 3e-7  # of a share
DURATIONS = {"time", "time of a step", "until_free", "until_start", "until_back", "until_change", "waited", "told_wait"}

every_game = pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{game.num_workers}-{game.objective}")


def longest_chunk(p, farm):
    """How long a chunk would take if its tasks cost 1, as float32's rounding of their cost is relative to that."""
    sizes = (max(worker.in_hand, worker.last_size) / worker.speed for worker in farm.workers)
    return p["task_time"] * max(sizes)


def longest_duration(farm, lasts):
    """Of the durations that rates and rewards are made of; of the farm as it is after the step."""
    spans = [lasts, farm.until_free]
    for worker in farm.workers:
        spans += [lasts + abs(worker.until_back), abs(worker.until_start), worker.compute_time]
    return max(spans)


def is_tie(p, farm, of_step):
    """Whether it hangs on the last digits of a time what happened, or in which order; of the farm after the step."""
    times, lasts = of_step["times"], of_step["metrics"]["time"]

    def are_near(one, other):
        return 0 < abs(one - other) < NEAR * (lasts + abs(other))

    if any(are_near(each, lasts) for each in times.values()):
        return True
    if any(are_near(worker.until_change, 0) for worker in farm.workers):
        return True
    busy = [worker.until_back for worker in farm.workers if worker.phase == reference.BUSY]
    waited = [worker.waited for worker in farm.workers if worker.phase == reference.WAITING]
    if any(are_near(each, 0) for each in busy + waited):
        return True
    if any(are_near(one, other) for one, other in itertools.combinations(waited, 2)):
        return True
    return are_between(farm.time / p["drift_period"], NEAR_PERIODS)


def is_near_whole_tasks(p, farm):
    """Whether a choice stands for so many tasks that float32 may take one more or less."""
    if farm.decider is None:
        return False
    _, most = reference.interval(p, farm)
    shares = [share for share in reference.unrounded_sizes(p, farm) if share < most + 1]
    return any(
        abs(share - round(share)) < NEAR_TASKS * share and (share + reference.LEAST_PART) % 1 for share in shares
    )


def chances(made):
    """What the library drew for each farm."""
    speeds, changes, period = dict(drawn_speeds(made)), dict(drawn_changes(made)), made.params.drift_period.tolist()
    unknown = [np.nan] * made.game.num_workers

    def of(which):
        drawn = which % (FARMS // 2)
        return reference.Chance(
            costs=made.costs[which],
            speed=lambda i, time: speeds.get((drawn, period_of(time, period[which])), unknown)[i],
            change=lambda i, number, is_present: changes.get((drawn, i, number), np.nan),
        )

    return of


@functools.cache
def steps_of(game):
    """Of each step that is no tie: its place, the scales of durations, sums, rewards and `elapsed`, and what is due."""
    made = played(game)
    steps, chance_of = [], chances(made)
    for which, end in enumerate(made.ends.tolist()):
        p, chance = made.rules(which), chance_of(which)
        ideal = reference.ideal_makespan(p)
        record = {name: made.states[name][which].tolist() for name in FIELDS}
        for t, action in enumerate(made.actions[which, :end].tolist()):
            farm = farm_of(record, t)
            if is_near_whole_tasks(p, farm):
                continue
            of_step = reference.step(p, chance, farm, action)
            if not is_tie(p, farm, of_step) and not is_near_whole_tasks(p, farm):
                lasts = of_step["metrics"]["time"]
                work = longest_chunk(p, farm)
                longest = longest_duration(farm, lasts) + work
                scales = lasts + work, longest, longest / ideal, (lasts + work) / p["task_time"]
                steps.append(((which, t + 1), scales, facts_by_rules(p, farm, of_step)))
    return steps


def compare(facts, places, expected, scales):
    """All facts of the library at these places [step, 2] with those of the reference; `scales` [step, 4]."""
    farms, times = np.transpose(places)
    of_duration, of_sum, of_reward, of_elapsed = np.transpose(scales)
    scale_of = dict.fromkeys(DURATIONS, of_duration)
    scale_of |= {"reward": of_reward, "utility of a step": of_reward, "elapsed": of_elapsed}
    for name in COUNTED:
        found, wanted = facts[name][farms, times], np.array([each[name] for each in expected])
        differ = np.flatnonzero((found != wanted).reshape(len(places), -1).any(1))
        assert not differ.size, explain(name, places, found, wanted, differ)
    for name in MEASURED:
        found, wanted = facts[name][farms, times], np.array([each[name] for each in expected])
        scale = scale_of.get(name, of_sum).reshape(-1, *[1] * (wanted.ndim - 1))
        with np.errstate(invalid="ignore"):
            agree = (found == wanted) | (np.abs(found - wanted) <= ERROR * (np.abs(wanted) + scale))
        differ = np.flatnonzero(~agree.reshape(len(places), -1).all(1))
        assert not differ.size, explain(name, places, found, wanted, differ)


def explain(name, places, found, wanted, differ):
    first = differ[0]
    return f"{name} at {places[first]}: {found[first]}, by the rules {wanted[first]}; {len(differ)} of {len(places)}"


@every_game
def test_every_step_is_as_the_rules_say(game):
    made = played(game)
    places, scales, expected = zip(*steps_of(game), strict=True)
    compare(facts_of(made), places, expected, scales)
    assert len(places) > 0.99 * made.counts.sum()


@every_game
def test_every_reset_is_as_the_rules_say(game):
    made, chance_of, expected = played(game), chances(played(game)), []
    for which in range(FARMS):
        p, chance = made.rules(which), chance_of(which)
        farm = reference.reset(p, chance)
        expected.append(facts_by_rules(p, farm, reference.nothing(farm)))
    compare(facts_of(made), [(which, 0) for which in range(FARMS)], expected, np.ones((FARMS, 4)))


def test_everything_happens_in_these_episodes():
    happened = {name: 0 for name in ("declines", "tasks_returned", "failures", "joins")}
    for made in map(played, GAMES):
        for name in happened:
            happened[name] += made.metrics[name].sum()
    assert min(happened.values()) > 500, happened


@functools.cache
def episodes_of(game):
    """Of each farm with exact times: its places, what the rules say, and the chunks that were done."""
    made, changes = played_evenly(game)
    episodes = []
    for which in range(FARMS):
        p, stays = made.rules(which), changes[which]
        chance = reference.Chance(
            costs=np.ones(p["job"]),
            speed=lambda i, time, p=p: p["speed"][i],
            change=lambda i, number, is_present, stays=stays: stays[i, number],
        )
        farm, told, finished, at_once = reference.reset(p, chance), [], [], 0
        for action in made.actions[which, : made.ends[which] + 1].tolist():
            of_step = reference.step(p, chance, farm, action)
            finished += of_step["finished"]
            times = sorted(of_step.get("times", {}).values())
            at_once += len(times) > 1 and times[0] == times[1]
            told.append(facts_by_rules(p, farm, of_step))
        episodes.append((told, finished, at_once))
    return episodes


@every_game
def test_every_episode_of_exact_times_is_as_the_rules_say(game):
    """To its end and a step beyond."""
    made, _ = played_evenly(game)
    places = [(which, t + 1) for which, (told, _, _) in enumerate(episodes_of(game)) for t in range(len(told))]
    expected = [facts for told, _, _ in episodes_of(game) for facts in told]
    compare(facts_of(made), places, expected, np.ones((len(places), 4)))
    assert sum(at_once for _, _, at_once in episodes_of(game)) > FARMS // 4


@every_game
def test_every_task_is_done_once(game):
    made, _ = played_evenly(game)
    complete = 0
    for which, (_, finished, _) in enumerate(episodes_of(game)):
        tasks = [task for first, count in finished for task in range(first, first + count)]
        assert len(set(tasks)) == len(tasks)
        if made.states["over"][which, -1]:
            assert sorted(tasks) == list(range(made.job[which]))
            complete += 1
    assert complete > FARMS // 2


@every_game
def test_speeds_and_churn_are_the_same_whatever_is_done(game):
    """Each farm is played in two ways."""
    made = played(game)
    for drawn in (drawn_speeds(made), drawn_changes(made)):
        first = {}
        for place, value in drawn:
            assert first.setdefault(place, value) == value, place
    np.testing.assert_array_equal(made.costs[: FARMS // 2], made.costs[FARMS // 2 :])
