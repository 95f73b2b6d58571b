"""The rules against their formulas in plain NumPy, and against sequences of chunks that the literature lists."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.farm import Farm
from jaxdlb.games.farm.heuristics import HEURISTICS
from jaxdlb.games.farm.views import Observation, Row
from jaxdlb.policies import make_heuristic

NUM_WORKERS, NUM_SIZES = 4, 16
GAME = Farm(NUM_WORKERS)
PARAMS = GAME.default_params(job=1000)
KEY = jax.random.key(0)


def observation(decider=0, may_decline=True, **columns):
    """What the workers see; columns are numbers, or one for each."""
    own = np.zeros((NUM_WORKERS, len(Row)), np.float32)
    for name, value in {"num_present": NUM_WORKERS, **columns}.items():
        own[:, Row[name.upper()]] = value
    legal = np.zeros((NUM_WORKERS, NUM_SIZES), bool)
    legal[:, 0] = True
    if decider is not None:
        own[decider, Row.DECIDES] = 1
        legal[decider] = True
        legal[decider, 0] = may_decline
    return Observation(own=jnp.asarray(own), legal=jnp.asarray(legal))


def up(tasks):
    return math.ceil(tasks - 1e-3)


def sizes_of(policy, seen, memory=None):
    """The tasks that the decider gets by each of the observations in turn, 0 where it declines."""
    act, found = jax.jit(policy.act), []
    memory = policy.init(GAME) if memory is None else memory
    for each in seen:
        memory, action = act(KEY, memory, each, PARAMS)
        others = np.delete(np.asarray(action), int(np.argmax(each.own[:, Row.DECIDES])))
        assert not others.any()
        code = int(np.max(action))
        assert code == 0 or code >= NUM_SIZES
        found.append(code - NUM_SIZES + 1 if code else 0)
    return found


def chunks_of(policy, job=1000, **columns):
    """The chunks of a job of which nothing comes back before all is handed out, asked for by the workers in turn."""
    act, memory, remaining, found = jax.jit(policy.act), policy.init(GAME), job, []
    while remaining:
        seen = observation(len(found) % NUM_WORKERS, remaining=remaining, interval=remaining, **columns)
        memory, action = act(KEY, memory, seen, PARAMS.replace(job=jnp.int32(job)))
        found.append(min(int(np.max(action)) - NUM_SIZES + 1, remaining))
        remaining -= found[-1]
    return found


# Chunks of a whole job


def test_chunks_are_those_that_the_literature_lists():
    """1,000 tasks and four workers: guided, trapezoid and factoring (FAC2) by hand."""
    guided = [250, 188, 141, 106, 79, 59, 45, 33, 25, 19, 14, 11, 8, 6, 4, 3, 3, 2, 1, 1, 1, 1]
    assert chunks_of(make("guided")) == guided
    factoring = [125] * 4 + [63] * 4 + [31] * 4 + [16] * 4 + [8] * 4 + [4] * 4 + [2] * 4 + [1] * 4
    assert chunks_of(make("factoring")) == factoring
    assert chunks_of(make("static")) == [250] * 4
    assert chunks_of(make("self_scheduling", size=300)) == [300, 300, 300, 100]
    trapezoid = [math.floor(125 - k * 124 / 15 + 1e-3) for k in range(16)]
    found = chunks_of(make("trapezoid"))
    assert found[:-1] == trapezoid[: len(found) - 1] and found[-1] <= trapezoid[len(found) - 1]
    assert trapezoid[:3] == [125, 116, 108] and len(found) == 15


@pytest.mark.parametrize("cv", [0.0, 0.5, 2.0])
def test_probabilistic_factoring_divides_what_is_left_by_its_factor_batch_by_batch(cv):
    expected, remaining = [], 1000
    while remaining:
        half = cv * NUM_WORKERS / (2 * math.sqrt(remaining))
        least = 1 if not expected else 2
        factor = least + half**2 + half * math.sqrt(half**2 + 2 * least)
        size = max(1, up(remaining / (factor * NUM_WORKERS)))
        for _ in range(min(NUM_WORKERS, math.ceil(remaining / size))):
            expected.append(min(size, remaining))
            remaining -= expected[-1]
    assert chunks_of(make("probabilistic_factoring", cv=cv)) == expected
    if cv == 0:
        assert expected[:4] == [250] * 4  # all that is left in equal parts: nothing is uncertain


def make(name, **options):
    return make_heuristic(HEURISTICS, name, **options)


# Single chunks


def random_rows(seed, count=40):
    """Observations and their numbers: a decider, what is left, who is measured and how fast all are."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        rate, speed = random.uniform(0.2, 6, NUM_WORKERS), random.uniform(0.2, 6, NUM_WORKERS)
        told = {
            "remaining": int(random.integers(1, 2000)),
            "outstanding": int(random.integers(0, 50)),
            "num_present": int(random.integers(1, 9)),
            "measured": random.integers(0, 2, NUM_WORKERS),
            "rate": rate.astype(np.float32),
            "total_rate": np.float32(rate.sum()),
            "speed": speed.astype(np.float32),
            "total_speed": np.float32(speed.sum()),
            "comm_time": np.float32(random.uniform(0, 1)),
        }
        yield int(random.integers(NUM_WORKERS)), bool(random.integers(2)), told


def declines(told, worker, may_decline):
    """Whether one task takes the worker longer than all that is left takes the others."""
    own, others = float(told["rate"][worker]), float(told["total_rate"]) - float(told["rate"][worker])
    return may_decline and 1 / own > (told["remaining"] + told["outstanding"]) / others


FORMULAS = {
    ("oracle_weighted_factoring", ()): lambda told, w: max(
        1.0,
        np.round(
            up(told["remaining"] / told["num_present"] / 2)
            * told["num_present"]
            * float(told["speed"][w])
            / float(told["total_speed"])
        ),
    ),
    ("adaptive_weighted_factoring", (("share", 0.7), ("least", 4), ("probe", 16))): lambda told, w: (
        max(4, up(0.7 * told["remaining"] * float(told["rate"][w]) / float(told["total_rate"])))
        if told["measured"][w]
        else 16
    ),
    ("tapered", (("share", 0.3), ("floor", 2.5), ("probe", 7))): lambda told, w: (
        max(
            1,
            up(
                max(
                    0.3 * told["remaining"] * float(told["rate"][w]) / float(told["total_rate"]),
                    2.5 * told["num_present"] * float(told["comm_time"]) * float(told["rate"][w]),
                )
            ),
        )
        if told["measured"][w]
        else 7
    ),
    ("guided", (("least", 9),)): lambda told, w: max(9, up(told["remaining"] / told["num_present"])),
    ("static", ()): lambda told, w: up(1000 / told["num_present"]),
}


@pytest.mark.parametrize(("name", "options"), FORMULAS)
def test_the_size_of_a_chunk_is_what_the_formula_says(name, options):
    policy = make(name, **dict(options))
    act, start = jax.jit(policy.act), policy.init(GAME)
    for worker, may_decline, told in random_rows(0):
        _, action = act(KEY, start, observation(worker, may_decline, **told), PARAMS)
        found = int(action[worker]) - NUM_SIZES + 1
        assert found == pytest.approx(FORMULAS[name, options](told, worker), abs=1e-9), (worker, told)


@pytest.mark.parametrize("name", ["adaptive_weighted_factoring", "tapered"])
def test_who_is_too_slow_to_be_worth_a_task_declines_if_it_may(name):
    rows = [
        (worker, may_decline, told | {"rate": np.where(np.arange(NUM_WORKERS) == worker, 0.01, told["rate"])})
        for worker, may_decline, told in random_rows(1)
    ]
    rows = [(worker, may, told | {"total_rate": told["rate"].sum()}) for worker, may, told in rows]
    seen = [observation(worker, may, **told) for worker, may, told in rows]
    expected = [declines(told, worker, may) for worker, may, told in rows]
    assert any(expected) and not all(expected)
    act = jax.jit(make(name, decline=True).act)
    start = make(name).init(GAME)
    found = [not np.any(act(KEY, start, each, PARAMS)[1]) for each in seen]
    assert found == expected
    assert 0 not in sizes_of(make(name), seen[:4])  # without the option


def test_a_batch_begins_anew_with_the_workers_there_are_then_and_does_not_count_who_declines():
    policy = make("factoring")
    seen = [observation(0, remaining=80, num_present=2), observation(1, remaining=60, num_present=2)]
    seen += [observation(2, remaining=40, num_present=3), observation(0, remaining=5, num_present=3)]
    assert sizes_of(policy, seen) == [20, 20, 7, 7]  # 40 / 6, and the same for the rest of the batch
    memory = policy.init(GAME)
    same, action = jax.jit(policy.act)(KEY, memory, observation(None, remaining=80), PARAMS)
    assert not np.any(action)
    jax.tree.map(np.testing.assert_array_equal, same, memory)


def test_at_random_every_legal_choice_is_as_likely():
    seen = observation(1, remaining=50)
    policy = make("random")
    keys = jax.random.split(KEY, 3200)
    actions = np.asarray(jax.jit(jax.vmap(lambda key: policy.act(key, (), seen, PARAMS)[1]))(keys))
    assert not np.delete(actions, 1, axis=1).any()
    counts = np.bincount(actions[:, 1], minlength=NUM_SIZES)
    assert len(counts) == NUM_SIZES
    assert np.all(np.abs(counts - 200) < 4.5 * np.sqrt(200))


# Names and options


def test_names_tell_the_options_and_switches_only_if_they_are_on():
    assert make("factoring").name == "factoring"
    assert make("tapered", floor=0.5).name == "tapered(floor=0.5, probe=4, share=0.5)"
    told = make("adaptive_weighted_factoring", decline=True).name
    assert told == "adaptive_weighted_factoring(decline, least=1, probe=1, share=0.5)"


def test_whatever_a_search_draws_makes_a_rule():
    box = HEURISTICS["tapered"].box(GAME)
    assert make("tapered", **{name: span.low + 0.3 for name, span in box.items()}).options["probe"] == 1
    assert make("tapered", **{name: span.high for name, span in box.items()}).options["probe"] == 64


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("self_scheduling", {"size": 0}, "size is 0; it must be an integer"),
        ("guided", {"least": 1.5}, "least is 1.5; it must be an integer"),
        ("probabilistic_factoring", {"cv": -1}, "cv is -1; it must be"),
        ("adaptive_weighted_factoring", {"share": 0}, "share is 0; it must be"),
        ("adaptive_weighted_factoring", {"decline": 2}, "decline is 2; it must be true or false"),
        ("tapered", {"floor": -1}, "floor is -1; it must be"),
        ("static", {"size": 3}, "size is not an option of static; it has none"),
    ],
)
def test_options_that_are_not_allowed_are_refused(name, options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        jaxdlb.heuristic(name, game="farm", **options)
