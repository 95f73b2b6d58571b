"""The game against the scalar reference, on random clusters under hostile actions, from one state to the next.

Works and tokens err by float32's rounding of what a pod can do in a step, its limit over the interval and the bucket;
times by that of the interval. A step in which a request completes, comes or falls due closer to a boundary than that is
left out, and so is one at the edge of a band of the MARLISE rewards.
"""

import functools
import math

import jax
import numpy as np
import pytest
from reference import pods as reference
from reference.pods_episodes import CLUSTERS, GAMES, STEPS, cluster_of, exponentials, played, rules_of

NEAR = 1e-4
COUNTED = ("arrivals", "completions", "violations", "drops", "evictions", "truncated", "held", "pods_present")
MEASURED = ("response_sum", "usage", "provisioned", "denied", "change", "utility")


def identity(game):
    return f"{game.action}-{game.sharing}-{game.reward}"


def is_tie(p, before, facts, after, arrivals):
    """Whether it hangs on the last digits when something happens, or what it is worth."""
    interval, band = p["interval"], () if p["reward"] == "cost" else (p["lower_usage"], p["upper_usage"])
    near = NEAR * interval
    for i, pod in enumerate(before.pods):
        came = [-age for age, _ in pod.held] + [time for time, _ in arrivals[i]]
        for arrived, departs in zip(came, facts["departures"][i], strict=True):
            due = arrived + p["slo"][i]
            if min(map(abs, (departs - interval, due, due - interval, departs - due))) < near:
                return True
        held = after.pods[i].held
        if held and held[0][1] < NEAR * facts["limit"][i] * (interval + p["burst"]):
            return True  # it would have been complete in a moment
        if pod.present and any(abs(facts["percent"][i] - end) < 0.01 for end in band):
            return True
    return False


@functools.cache
def steps_of(game):
    return list(each_step(game))


def each_step(game):
    """Of each cluster and step that is no tie: its place, the rules, and what they make of it."""
    made = played(game)
    gaps, efforts = exponentials(game, made.keys)
    for which, params in enumerate(made.params):
        p = rules_of(game, params)
        scale = [mean / math.gamma(1 + shape) for mean, shape in zip(p["work_mean"], p["work_shape"], strict=True)]
        for t in range(STEPS):
            before, arrivals, ends = cluster_of(made.at(made.before, which, t)), [], []
            for i, pod in enumerate(before.pods):
                rate = reference.rate(p, pod, i, float(made.factor[which, t, i]))
                times = np.cumsum(gaps[which, t, i]) / rate if rate else np.full(game.max_arrivals, np.inf)
                works = scale[i] * efforts[which, t, i] ** p["work_shape"][i]
                come = times < p["interval"]
                arrivals.append(list(zip(times[come].tolist(), works[come].tolist(), strict=True)))
                ends += [np.min(np.abs(times - p["interval"]))]
            action, running = made.actions[which, t].ravel().tolist(), made.after.running[which, t].tolist()
            truncated = sum(len(each) == game.max_arrivals for each in arrivals)
            after, facts = reference.step(p, before, action, arrivals, running, truncated)
            if min(ends) > NEAR * p["interval"] and not is_tie(p, before, facts, after, arrivals):
                counts = [len(each) for each in arrivals]
                work = [sum(work for _, work in pod.held + new) for pod, new in zip(before.pods, arrivals, strict=True)]
                yield (which, t), p, after, facts | {"arrivals": counts, "work": work}


def class_of(priority):
    """High, medium or low, in thirds; those at the ends of one belong to the lower."""
    return 0 if priority > 2 / 3 + 1e-6 else 1 if priority > 1 / 3 + 1e-6 else 2


def padded(held, place, room):
    """Ages (0) or works (1) of what is held, as the library keeps them."""
    return [each[place] for each in held] + [0.0] * (room - len(held))


def compare(name, found, expected, unit=1.0):
    expected = np.asarray(expected)
    assert np.all(np.abs(found - expected) <= NEAR * (np.abs(expected) + unit / 2)), (name, found, expected)


@pytest.mark.parametrize("game", GAMES, ids=identity)
def test_every_step_is_as_the_rules_say(game):
    made, room, checked = played(game), game.queue_capacity, 0
    happened = dict.fromkeys((*COUNTED, *MEASURED), 0.0)
    for place, p, after, facts in steps_of(game):
        checked += 1
        state, timestep, pods = made.at(made.after, *place), made.at(made.timestep, *place), after.pods
        wanted = facts["metrics"]
        for name in COUNTED:
            assert timestep.metrics[name] == wanted[name], name
        assert state.present.tolist() == [pod.present for pod in pods]
        assert state.held.tolist() == [len(pod.held) for pod in pods]
        assert (int(state.step), bool(timestep.last)) == (after.step, after.step >= 7)
        able = np.maximum(facts["limit"], 1e-9) * (p["interval"] + p["burst"])  # the work that can be done in a step
        compare("work", state.work, [padded(pod.held, 1, room) for pod in pods], able[:, None])
        compare("tokens", state.tokens, [pod.tokens for pod in pods], able)
        if not wanted["drops"] + wanted["evictions"]:
            total = timestep.metrics["usage"] * p["interval"] + state.work.sum()
            compare("work in all", total, sum(facts["work"]), sum(able))
        compare("age", state.age, [padded(pod.held, 0, room) for pod in pods], p["interval"])
        for name in ("limit", "usage", "percent"):
            compare(name, getattr(state, name), [getattr(pod, name) for pod in pods], 10)
        for name in MEASURED:
            compare(name, timestep.metrics[name], wanted[name], max(1, sum(facts["limit"]) / 100))
        compare("reward", timestep.reward, facts["reward"])
        seen = [[row if pod.present else [0.0] * 7 for row in pod.rows] for pod in pods]
        compare("history", state.history, seen, 10)
        compare("own", timestep.observation.own, reference.observation(p, after), 10)
        for name in ("arrivals", "violations"):
            of_class = [
                sum(n for n, rank in zip(facts[name], p["priority"], strict=True) if class_of(rank) == each)
                for each in range(3)
            ]
            assert timestep.metrics[f"class_{name}"].tolist() == of_class
        for name in happened:
            happened[name] += wanted[name]
    assert checked > 0.9 * CLUSTERS * STEPS
    assert all(happened.values()) or game.num_pods == 1, happened


def test_histograms_hold_every_response_and_give_percentiles_within_1_percent():
    (game,) = (each for each in GAMES if each.percentiles)
    made, histogram, responses = played(game), 0, []
    for place, _, _, facts in steps_of(game):
        metrics = made.at(made.timestep.metrics, *place)
        assert metrics["response_histogram"].sum() == metrics["completions"]
        histogram = histogram + metrics["response_histogram"]
        responses += facts["responses"]
    assert len(responses) > 1000
    for percent in (50, 95, 99):
        exact = np.percentile(responses, percent, method="inverted_cdf")
        column = game.columns[f"p{percent}"].of({"response_histogram": histogram})
        assert column == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("game", GAMES, ids=identity)
def test_a_reset_is_as_the_rules_say(game):
    made = played(game)
    for which, params in enumerate(made.params):
        p, state = rules_of(game, params), made.at(made.before, which, 0)
        expected = reference.reset(p)
        for name in ("limit", "tokens", "usage", "percent"):
            compare(name, getattr(state, name), [getattr(pod, name) for pod in expected.pods], 10)
        seen = [[row if pod.present else [0.0] * 7 for row in pod.rows] for pod in expected.pods]
        compare("history", state.history, seen, 10)
        assert state.present.tolist() == [pod.present for pod in expected.pods]
        assert state.running.all() and not state.held.any() and not state.age.any() and not state.work.any()


def each(made, name):
    """A parameter of all clusters, with an axis for steps."""
    return np.stack([np.asarray(getattr(params, name)) for params in made.params])[:, None]


def test_pods_stop_and_run_again_with_their_probabilities_and_are_present_as_scheduled():
    """Within 4.5 standard errors of the share of trials."""
    for (before, given), (field, after) in {
        (True, 0.2): ("leave_prob", False),
        (False, 0.5): ("join_prob", True),
    }.items():
        trials, changed = 0, 0
        for made in map(played, GAMES):
            exposed = (made.before.running == before) & (each(made, field) == np.float32(given))
            trials += exposed.sum()
            changed += (made.after.running == after)[exposed].sum()
        assert trials > 500
        assert abs(changed / trials - given) < 4.5 * np.sqrt(given * (1 - given) / trials)
    for made in map(played, GAMES):
        step = made.after.step[..., None]
        scheduled = (each(made, "joins_at") <= step) & (step < each(made, "leaves_at"))
        np.testing.assert_array_equal(made.after.present, made.after.running & scheduled)
        stays = made.before.running & (each(made, "leave_prob") == 0)
        assert made.after.running[stays].all()


def test_a_cluster_alone_is_what_it_is_among_many():
    game = next(iter(GAMES))
    made, step = played(game), jax.jit(game.step)
    for which in range(0, CLUSTERS, 8):
        params, key = made.params[which], made.keys[which, 5]
        alone = step(key, made.at(made.before, which, 5), made.actions[which, 5], params)
        among = made.at((made.after, made.timestep), which, 5)
        for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(alone), jax.tree.leaves(among), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-3, err_msg=jax.tree_util.keystr(path))
