"""Recorded tasks in the rack: replayed as they were, stretched to the load, split and repeated."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games import GAMES
from jaxdlb.games.rack import Recorded
from jaxdlb.games.rack.generator import capacity
from jaxdlb.games.rack.sources import Random

GAME = jaxdlb.make("rack", num_nodes=2, max_cores=2, max_io_cores=1, max_tasks=64, max_arrivals=6)
PARAMS = {"dt": 2.0, "latency": 0.5, "heartbeat_period": 4.0}
GAPS = np.array([3.0, 0.0, 0.0, 12.5, 1.25, 0.5, 7.75, 4.0, 1.0, 6.0])  # ms; the last one is not recorded
RUNTIMES = np.array([1.0, 4.0, 2.0, 0.5, 3.0, 8.0, 0.0, 1.5, 20.0, 30.0])
NUM_TRAIN = 8


@pytest.fixture
def record(tmp_path):
    """Ten tasks, of which eight are trained on; times in ms."""
    path = tmp_path / "tasks.csv"
    times = np.cumsum([0.0, *GAPS[:-1]])
    rows = (
        f"{time},{runtime},{0.25 * k},{100 + k}\n"
        for k, (time, runtime) in enumerate(zip(times, RUNTIMES, strict=True))
    )
    path.write_text("timestamp,runtime,io_time,payload\n" + "".join(rows))
    return str(path)


def settings(record, **changed):
    return Recorded(**{"path": record, "time_unit": "ms", "held_out": 0.2, "random_start": False} | changed)


def made(recorded, **fields):
    """What a launcher makes of settings of a record and of parameters."""
    return recorded.parts(GAME.default_params(**recorded.with_record(PARAMS | fields)))


@jax.jit
def play(params):
    """The arrivals of 40 slices, all of which stay where they are dealt."""
    policy = jaxdlb.heuristic("local")

    def one_slice(carry, key):
        memory, state, observation = carry
        memory, action = policy.act(key, memory, observation, params)
        after, timestep = GAME.step(key, state, action, params)
        return (memory, after, timestep.observation), state.generator.arrivals

    state, timestep = GAME.reset(jax.random.key(0), params)
    return jax.lax.scan(
        one_slice, (policy.init(GAME), state, timestep.observation), jax.random.split(jax.random.key(1), 40)
    )[1]


def played(params):
    """Instants (ms), runtimes, I/O times, payloads and nodes of the tasks of 40 slices, in the order of arrival."""
    arrivals = play(params)
    counts = np.arange(GAME.max_arrivals) < np.asarray(arrivals.num)[:, None]
    instants = (np.asarray(arrivals.instant) + np.arange(len(counts))[:, None]) * float(params.dt)
    of_tasks = (arrivals.runtime, arrivals.io_time, arrivals.payload, arrivals.node)
    return [np.asarray(each)[counts] for each in (instants, *of_tasks)]


def expected_instants(gaps, num):
    return np.cumsum([0.0, *np.tile(gaps, num)])[:num]


TRAINED = np.append(GAPS[: NUM_TRAIN - 1], GAPS[: NUM_TRAIN - 1].mean())  # after the last task, the mean gap


def test_the_record_is_replayed_exactly_and_in_order_and_repeats_when_it_ends(record):
    params, _ = made(settings(record, pace="recorded"))
    instants, runtimes, io_times, payloads, nodes = played(params)
    assert len(instants) > 2 * NUM_TRAIN
    np.testing.assert_allclose(instants, expected_instants(TRAINED, len(instants)), atol=1e-4)
    places = np.arange(len(instants)) % NUM_TRAIN
    np.testing.assert_array_equal(runtimes, RUNTIMES[places])
    np.testing.assert_array_equal(io_times, 0.25 * places)
    np.testing.assert_array_equal(payloads, 100 + places)
    np.testing.assert_array_equal(nodes, np.arange(len(nodes)) % 2)


def test_gaps_are_stretched_to_the_load_of_what_the_rack_can_complete_of_these_tasks(record):
    params, _ = made(settings(record), load=0.6)
    average = RUNTIMES[:NUM_TRAIN].mean()
    by_hand = sum(min(2 * speed / average, speed / (0.25 * np.arange(NUM_TRAIN)).mean()) for speed in (0.5, 2.0))
    assert float(params.arrival_rate) == pytest.approx(0.6 * by_hand, rel=1e-5)
    assert float(capacity(params)) == pytest.approx(by_hand, rel=1e-5)
    instants, runtimes, *_ = played(params)
    stretch = 1 / float(params.arrival_rate) / TRAINED.mean()
    np.testing.assert_allclose(instants, stretch * expected_instants(TRAINED, len(instants)), atol=1e-4)
    np.testing.assert_array_equal(runtimes, RUNTIMES[np.arange(len(instants)) % NUM_TRAIN])


def test_the_load_is_08_unless_it_or_the_arrival_rate_is_given(record):
    params, _ = made(settings(record))
    assert float(params.arrival_rate / capacity(params)) == pytest.approx(0.8)
    params, _ = made(settings(record), arrival_rate=0.123)
    assert params.arrival_rate == np.float32(0.123)


def test_parameters_made_without_the_record_keep_their_offered_load(record):
    params, _ = settings(record).parts(GAME.default_params(load=0.7))
    assert float(params.arrival_rate / capacity(params)) == pytest.approx(0.7)


def test_its_own_pace_is_that_of_the_record_whatever_the_parameters_were(record):
    for params in (
        made(settings(record, pace="recorded"))[0],
        settings(record, pace="recorded").parts(GAME.default_params())[0],
    ):
        assert float(params.arrival_rate) == pytest.approx(1 / TRAINED.mean())


def test_the_part_held_out_has_the_scale_of_the_part_trained_on(record):
    for pace in ("stretched", "recorded"):
        train_on, held_out = made(settings(record, pace=pace))
        assert held_out.arrival_rate == train_on.arrival_rate
        assert held_out.tasks.average_runtime == train_on.tasks.average_runtime
        assert held_out.tasks.average_io_time == train_on.tasks.average_io_time
        assert capacity(held_out) == capacity(train_on)
        np.testing.assert_array_equal(held_out.tasks.runtimes, RUNTIMES[NUM_TRAIN:])
        np.testing.assert_allclose(held_out.tasks.gap * TRAINED.mean(), GAPS[NUM_TRAIN] * np.ones(2), rtol=1e-6)
        GAME.validate(held_out)


def test_a_load_drawn_at_random_is_the_same_rate_in_both_parts(record):
    """As a launcher draws it: by the shorthand, from parameters that hold one part or the other."""
    draw = GAMES["rack"].shorthands["load"].apply
    train_on, held_out = (draw(part, jnp.float32(0.3)) for part in made(settings(record)))
    assert train_on.arrival_rate == held_out.arrival_rate


def test_all_other_parameters_are_as_given(record):
    params = GAME.default_params(**PARAMS, arrival_rate=0.1)
    for part in settings(record).parts(params):
        for field in dataclasses.fields(params):
            if field.name not in ("tasks", "arrival_rate"):
                assert getattr(part, field.name) is getattr(params, field.name)


def test_an_episode_may_start_at_any_task(record):
    tasks, _ = settings(record, random_start=True).tasks
    positions, until_next = jax.vmap(tasks.start)(jax.random.split(jax.random.key(0), 100))
    assert set(positions.tolist()) == set(range(NUM_TRAIN))
    assert np.all(until_next == 0)


def test_requests_of_a_language_model_take_time_by_their_tokens(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{k},{100 * k},{k + 1}\n" for k in range(10))
    )
    params, _ = made(
        settings(str(path), kind="tokens", time_unit="auto", bytes_per_token=2), dt=50.0, heartbeat_period=500.0
    )
    tokens = np.arange(NUM_TRAIN)
    np.testing.assert_allclose(params.tasks.runtimes, 0.08 * 100 * tokens + 28 * (tokens + 1), rtol=1e-6)
    np.testing.assert_allclose(params.tasks.payloads, 200 * tokens)
    np.testing.assert_array_equal(params.tasks.io_times, 0)
    assert float(params.arrival_rate / capacity(params)) == pytest.approx(0.8)


def test_columns_and_units_reach_the_reader(tmp_path):
    path = tmp_path / "tasks.npz"
    np.savez(path, at=np.arange(10) * 1000, work=np.ones(10), io=np.full(10, 2.0), size=np.full(10, 3.0))
    named = {"time_column": "at", "runtime_column": "work", "io_time_column": "io", "payload_column": "size"}
    train_on, held_out = settings(str(path), time_unit="us", pace="recorded", **named).tasks
    assert len(train_on.gap) == 8 and len(held_out.gap) == 2
    assert np.all(train_on.io_times == 2) and np.all(held_out.payloads == 3)
    same = settings(str(path), time_column="at", runtime_column="work", io_time=4.0, payload=5.0).tasks[0]
    assert np.all(same.io_times == 4) and np.all(same.payloads == 5)


def test_without_a_path_parameters_are_as_given_for_both():
    params = GAME.default_params()
    assert isinstance(params.tasks, Random)
    assert all(part is params for part in Recorded().parts(params))
    assert Recorded().with_record(PARAMS) is PARAMS


def test_the_file_is_read_once(record, monkeypatch):
    read = []
    monkeypatch.setattr(
        Recorded, "_read", lambda self, path, real=Recorded._read: read.append(path) or real(self, path)
    )
    made(settings(record))
    assert len(read) == 1


@pytest.mark.parametrize(
    ("changed", "fields", "says"),
    [
        ({"path": ""}, {}, "^path is not given; it must be the path of a CSV or .npz file$"),
        ({"path": "nowhere.csv"}, {}, r"^nowhere\.csv cannot be read"),
        ({"kind": "counts"}, {}, "^kind is 'counts'; it must be one of tasks, tokens$"),
        ({"pace": "slow"}, {}, "^pace is 'slow'; it must be one of stretched, recorded$"),
        ({"held_out": 1}, {}, "^held_out is 1; "),
        ({"held_out": 0.01}, {}, "^held_out is 0.01; it must leave tasks at two instants at least"),
        ({"payload": -1}, {}, "^payload is -1; it must be a finite number ≥ 0"),
        ({"runtime_column": "work"}, {}, "must have one column named work, or runtime_column must name another"),
        ({"kind": "tokens"}, {}, "must have one column named ContextTokens, or context_column must name another"),
        ({"time_unit": "min"}, {}, "^time_unit is 'min'; it must be one of auto, s, ms, us, ns$"),
        ({"pace": "recorded"}, {"load": 0.5}, "^load is 0.5; it must not be given where tasks keep their own pace$"),
        ({"pace": "recorded"}, {"arrival_rate": 0.5}, "^arrival_rate is 0.5; it must not be given"),
        (
            {},
            {"tasks": {"kind": "recorded"}},
            "^tasks is not random; it must be random where recorded tasks are played",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_by_its_bare_name(record, changed, fields, says):
    with pytest.raises(ValueError, match=says):
        made(settings(record, **changed), **fields)


@pytest.mark.parametrize("tasks", ["random", {"kind": "random"}, Random, Random()])
def test_random_tasks_give_way_to_the_record_however_they_are_said(record, tasks):
    assert len(made(settings(record), tasks=tasks)[0].tasks.gap) == NUM_TRAIN


def test_arrays_of_different_lengths_are_refused():
    arrays = {
        "gap": [1.0, 1.0],
        "runtimes": [1.0, 1.0],
        "io_times": [0.0, 0.0],
        "payloads": [0.0],
        "average_runtime": 1.0,
    }
    with pytest.raises(ValueError, match=r"^tasks\.payloads has 1 entries; it must have 2, as tasks\.gap$"):
        GAME.default_params(**PARAMS, tasks={"kind": "recorded"} | arrays)
    with pytest.raises(ValueError, match=r"^tasks\.gap is all 0; at least one must be above 0$"):
        GAME.default_params(**PARAMS, tasks={"kind": "recorded"} | arrays | {"gap": [0.0, 0.0], "payloads": [1.0, 1.0]})
