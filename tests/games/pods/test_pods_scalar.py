"""The scalar reference itself: its server against a closed form, its rules against cases worked by hand."""

import itertools
import math
import random

import pytest
from reference import pods as reference

CASES = 6000


def near(expected):
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


def closed_form(held, arrivals, limit, max_usage, tokens, burst, interval):
    """Departures, works left and tokens at the end, as maxima and minima over requests; all in one breath."""
    came = [0.0] * len(held) + [time for time, _ in arrivals]
    works = [work for _, work in held + arrivals]
    c, p, size = limit, max_usage, burst * limit
    content = min(tokens, size)
    upto = list(itertools.accumulate(works))
    before = [total - work for total, work in zip(upto, works, strict=True)]
    departures, left = [], []
    for k in range(len(works)):
        m = max(came[j] - before[j] / p for j in range(k + 1))
        l_ = max(came[j] - before[j] / c for j in range(k + 1))
        departures.append(max(upto[k] / p + m, (upto[k] - size) / c + l_, (upto[k] - content) / c))
        done = min(p * (interval - m), c * (interval - l_) + size, content + c * interval)
        left.append(0.0 if departures[k] <= interval else upto[k] - min(max(done, before[k]), upto[k]))
    work = sum(works) - sum(left)
    ends = [size, content + c * interval - work]
    ends += [size + c * (interval - came[j]) - (work - before[j]) for j in range(len(held), len(works))]
    return departures, left, min(ends), work


def random_case(draws):
    """Requests and a server: idle, crowded or overloaded, fast or slow, with a bucket of any size and content."""
    limit = draws.choice([draws.uniform(1, 1000), 50.0, 100.0])
    max_usage = draws.choice([draws.uniform(1, 2000), 1000.0, limit, limit / 2])
    burst = draws.choice([0.0, 0.1, draws.uniform(0, 1), draws.uniform(0, 10)])
    interval = draws.choice([1.0, draws.uniform(0.05, 5)])
    tokens = draws.choice([0.0, burst * limit, draws.uniform(0, 2 * burst * limit)])
    mean = draws.choice([1, 10, 100, limit * interval / 5])

    def work():
        return draws.choice([0.0, mean, draws.expovariate(1 / mean), draws.expovariate(1 / mean)])

    ages = sorted(draws.choice([0.0, 0.5, draws.uniform(0, 5)]) for _ in range(draws.choice([0, 0, 1, 3, 20])))
    held = [(age, work()) for age in reversed(ages)]
    times = sorted(
        draws.choice([draws.uniform(0, interval), interval / 2, interval / 4, 0.0])
        for _ in range(draws.choice([0, 1, 3, 10, 30]))
    )
    return held, [(time, work()) for time in times], limit, max_usage, tokens, burst, interval


def test_the_server_agrees_with_the_closed_form():
    """Within 10⁻⁹ of the interval and of the work and tokens that there are, the last digits of these sums."""
    draws = random.Random(0)
    for _ in range(CASES):
        case = random_case(draws)
        held, arrivals, limit, _, _, burst, interval = case
        served = reference.serve(*case)
        departures, left, tokens, work = closed_form(*case)
        error = 1e-9 * max(1, sum(work for _, work in held + arrivals) + (burst + interval) * limit)
        assert abs(served.tokens - tokens) < error, case
        assert abs(served.work - work) < error, case
        for is_left, expected in zip(served.left, left, strict=True):
            assert abs(is_left - expected) < error, case
        for departs, expected in zip(served.departures, departures, strict=True):
            late = min(departs, expected) > interval * (1 - 1e-9)
            assert late or abs(departs - expected) < 1e-9 * interval, case


def test_work_in_any_window_is_paid_for():
    """From one departure to a later one a pod does at most b · x + x · y and at most p · y in y seconds."""
    draws = random.Random(1)
    for _ in range(CASES // 10):
        case = random_case(draws)
        held, arrivals, limit, max_usage, _, burst, _ = case
        served = reference.serve(*case)
        complete = [
            (departs, work)
            for departs, (_, work) in zip(served.departures, held + arrivals, strict=True)
            if departs < math.inf
        ]
        assert complete == sorted(complete, key=lambda each: each[0])
        for first in range(len(complete)):
            work = 0.0
            for departs, more in complete[first + 1 :]:
                work += more
                y = departs - complete[first][0]
                assert work <= min(limit * (burst + y), max_usage * y) * (1 + 1e-9) + 1e-6, case


def test_a_bucket_is_emptied_at_full_speed_and_then_paces_the_work():
    """100 mc, 1,000 at most, 9 CPU-ms saved up: they last 0.01 s, and what is left of the work goes at 100 mc."""
    served = reference.serve([], [(0.5, 30)], 100, 1000, 0, 0.09, 1)
    assert served.departures == near([0.5 + 0.01 + 20 / 100])
    assert (served.tokens, served.work) == near((9, 30))


def test_a_pod_that_cannot_use_its_limit_saves_up_while_it_works():
    served = reference.serve([(0, 500)], [], 100, 40, 0, 10, 1)
    assert (served.tokens, served.work, served.left) == (near(60), near(40), near([460]))


def test_without_a_bucket_the_limit_is_the_speed():
    served = reference.serve([(1, 20)], [(0.1, 0), (0.15, 10)], 100, 1000, 50, 0, 1)
    assert served.departures == near([0.2, 0.2, 0.3])
    assert served.tokens == 0


def cluster_of(p, limits, **fields):
    pods = [reference.Pod(limit, rows=[[0.0] * 7] * p["history"]) for limit in limits]
    for name, values in fields.items():
        for pod, value in zip(pods, values, strict=True):
            setattr(pod, name, value)
    return reference.Cluster(pods)


def limits_after(actions, limit=300, **given):
    p = reference.rules(len(actions), budget=1e6, **given)
    cluster = cluster_of(p, [limit] * len(actions))
    return reference.step(p, cluster, actions, [[]] * len(actions))[1]["limit"]


NONE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("given", "actions", "limits"),
    [
        ({"action": "delta"}, [*NONE, 0, 0.5, -3, 7], [300] * 4 + [325, 250, 350]),
        ({"action": "delta", "step_size": 900}, [1, -1], [1000, 50]),
        ({"action": "instant"}, [*NONE, 0, 0.5, -3, 7], [300] * 3 + [50, 500, 50, 1000]),
        (
            {"action": "discrete", "num_choices": 5},
            [*NONE, -1, 5, 0, 1, 2, 3, 4],
            [300] * 5 + [250, 275, 300, 325, 350],
        ),
        ({"action": "levels", "num_choices": 5}, [*NONE, -1, 5, 0, 1, 2, 3, 4], [300] * 5 + [50, 50, 300, 500, 1000]),
    ],
    ids=["delta", "bounds", "instant", "discrete", "levels"],
)
def test_what_is_no_action_keeps_the_limit(given, actions, limits):
    assert limits_after(actions, **given) == near(limits)


@pytest.mark.parametrize(
    ("sharing", "step", "limits"),
    [
        ("proportional", 0, [325, 325, 325, 325]),
        ("cyclic", 0, [350, 350, 300, 300]),
        ("cyclic", 7, [350, 300, 300, 350]),
        ("priority", 0, [300, 350, 300, 350]),
        ("priority", 6, [300, 350, 300, 350]),
    ],
)
def test_scarce_raises_go_to_whose_turn_it_is(sharing, step, limits):
    p = reference.rules(4, budget=1300, sharing=sharing, priority=[0.5, 1, 0.5, 1])
    cluster = cluster_of(p, [300] * 4)
    cluster.step = step
    assert reference.step(p, cluster, [1] * 4, [[]] * 4)[1]["limit"] == near(limits)


def test_equal_priorities_take_turns():
    p = reference.rules(3, budget=350, sharing="priority", min_limit=1)
    for step, first in [(0, 0), (1, 1), (2, 2), (3, 0)]:
        cluster = cluster_of(p, [100] * 3)
        cluster.step = step
        granted = reference.step(p, cluster, [1] * 3, [[]] * 3)[1]["limit"]
        assert granted == [150 if i == first else 100 for i in range(3)]


def test_a_request_violates_once():
    """Held over three steps without work being done, it violates in the one in which it reaches its objective."""
    p = reference.rules(1, slo=[2.5], burst=0, min_limit=[1e-9])
    cluster, counts = cluster_of(p, [1e-9]), []
    for arrivals in [[(0.25, 10)], [], [], []]:
        cluster, facts = reference.step(p, cluster, [0], [arrivals])
        counts += facts["violations"]
    assert counts == [0, 0, 1, 0]


def test_what_is_dropped_violates_once():
    p = reference.rules(1, slo=[0.5], burst=0, min_limit=[1e-9], queue_capacity=1)
    cluster, facts = reference.step(p, cluster_of(p, [1e-9]), [0], [[(0.1, 5), (0.2, 5), (0.9, 5)]])
    assert (facts["violations"], facts["drops"]) == ([3], [2])
    assert reference.step(p, cluster, [0], [[]])[1]["violations"] == [0]


def test_who_leaves_is_emptied_and_who_joins_starts_anew_within_the_budget():
    given = {"budget": 700, "initial_limit": 400, "leaves_at": [1, 9, 9], "joins_at": [0, 0, 1], "history": 2}
    p = reference.rules(3, **given)
    cluster = reference.reset(p)
    assert [pod.limit for pod in cluster.pods] == near([350, 350, 0])
    first = cluster.pods[1].rows
    assert first == [[near(350), 0, 0, 0, 0, 1, 1]] * 2
    cluster, facts = reference.step(p, cluster, [0] * 3, [[(0.5, 1000)], [(0.5, 1000)], []])
    assert facts["metrics"]["evictions"] == 1 and facts["metrics"]["held"] == 1
    assert facts["metrics"]["pods_present"] == 2
    gone, stays, new = cluster.pods
    assert (gone.limit, gone.tokens, gone.usage, gone.percent, gone.held) == (0, 0, 0, 0, [])
    share = 50 / (300 + 350)  # of the slack, for what is too much
    assert (stays.limit, new.limit) == near((350 - 300 * share, 400 - 350 * share))
    assert new.tokens == near(0.1 * new.limit)
    assert new.rows == [[new.limit, 0, near(0), 0, stays.percent / 100, 1, 1]] * 2
    assert stays.rows == [first[1], reference.row(p, cluster, 1)]
    seen = reference.observation(p, cluster)
    assert seen[0] == [0] * 19
    assert seen[2][-5:] == [1, 50, 1000, 0.25, 2]


def test_nobody_is_below_its_minimum_once_all_fit():
    p = reference.rules(3, budget=500, min_limit=[50, 100, 200])
    assert sum(reference.fit(p, [1000, 1000, 200], [True] * 3)) == near(500)
    assert reference.fit(p, [1000, 1000, 200], [True, True, True])[2] == 200


@pytest.mark.parametrize(
    ("reward", "own"),
    [
        ("marlise_1", [-1, -1, 0, 0]),
        *[(f"marlise_{kind}", [0.5, 2, 2.2, 0]) for kind in (2, 3)],
        *[(f"marlise_{kind}", [0.5, 0, 0, 0]) for kind in (4, 5)],
    ],
)
def test_the_own_part_of_a_reward_of_marlise(reward, own):
    """At 20, 30, 36 and 70 percent, after 15; nobody answers, so that the shared part is the same for all."""
    work = [20, 30, 36, 70]
    p = reference.rules(4, reward=reward, budget=1e6, slo=9)
    cluster = cluster_of(p, [100] * 4, percent=[15] * 4)
    facts = reference.step(p, cluster, [0] * 4, [[(0, each)] for each in work])[1]
    response = [(each / 100) for each in work]
    assert facts["mean_response"] == near(response)
    weighted, plain = 1 - 5 * (2 * sum(response) - 0.01), -10 * sum(response) / 4
    shared = {"marlise_1": weighted, "marlise_2": weighted, "marlise_4": plain}.get(reward, 1 + plain)
    assert facts["reward"] == near([shared + each / 2 for each in own])


def test_requests_and_limits_are_accounted_for_in_every_step():
    draws = random.Random(2)
    for num_pods in (1, 2, 5):
        nodes = range(num_pods)
        p = reference.rules(num_pods, queue_capacity=3, leaves_at=[20] + [99] * (num_pods - 1), history=2)
        cluster, came, gone = reference.reset(p), 0, 0
        for _ in range(30):
            arrivals = [
                [(k / 9, draws.expovariate(0.03)) for k in range(draws.randrange(9))] if cluster.pods[i].present else []
                for i in nodes
            ]
            action = [draws.uniform(-1, 1) for _ in nodes]
            cluster, facts = reference.step(p, cluster, action, arrivals, [draws.random() < 0.9 for _ in nodes])
            metrics = facts["metrics"]
            came += metrics["arrivals"]
            gone += metrics["completions"] + metrics["drops"] + metrics["evictions"]
            assert came == gone + metrics["held"]
            for limits in (facts["limit"], [pod.limit for pod in cluster.pods]):
                assert sum(limits) <= p["budget"] * (1 + 1e-12)
