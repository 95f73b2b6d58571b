"""Recorded demand and recorded sizes: what is played of them, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.pods import Recorded
from jaxdlb.mechanics import demand

GAME = jaxdlb.make("pods", num_pods=3)
COUNTS = [10, 20, 30, 0, 40, 20, 20, 60, 10, 30]
PODS = "name,CPU_milli,qos\na,4000,LS\nb,1000, burstable\nc,1000,BE\nd,9000,Guaranteed\n"


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.csv"
    rows = (f"2024-01-01 00:{minute:02}:00,{count}" for minute, count in enumerate(COUNTS))
    path.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def sizes(tmp_path):
    path = tmp_path / "pods.csv"
    path.write_text(PODS)
    return str(path)


def test_pods_play_one_record_from_places_evenly_apart_in_units_of_the_part_to_train_on(counts):
    recorded = Recorded(path=counts, held_out=0.4, steps_per_row=5, random_start=False)
    train_on, held_out = recorded.parts(GAME.default_params())
    first, last = np.array(COUNTS[:6]), np.array(COUNTS[6:])
    for params, part in ((train_on, first), (held_out, last)):
        starts = [0, len(part) // 3, 2 * len(part) // 3]
        expected = np.stack([np.roll(part, -start) for start in starts], axis=1) / first.mean()
        np.testing.assert_allclose(params.demand.factors, expected, rtol=1e-6)
        GAME.validate(params)
    state = train_on.demand.start(jax.random.key(0), 3)
    np.testing.assert_allclose(train_on.demand.factor(state, jnp.int32(7)), np.array([20, 0, 20]) / 20, rtol=1e-6)


def test_sizes_become_greatest_limits_of_mean_1000_and_priorities(sizes):
    params, same = Recorded(sizes=sizes).parts(GAME.default_params(initial_limit=600))
    np.testing.assert_allclose(params.max_limit, [2000, 600, 600])  # of 500, lifted to what a pod begins with
    np.testing.assert_allclose(params.priority, [1.0, 0.5, 0.1])
    GAME.validate(params)
    assert same is params


def test_without_paths_nothing_changes():
    params, recorded = GAME.default_params(), Recorded()
    assert recorded.parts(params) == (params, params)
    assert recorded.with_record({"rate": 3}) == {"rate": 3}


@pytest.mark.parametrize("given", [{"kind": "constant"}, {"kind": "shares", "period": 5}, demand.Constant()])
def test_demand_beside_recorded_demand_is_refused(given, counts):
    with pytest.raises(ValueError, match=r"^demand is given; it must be shares, as by default, where recorded"):
        Recorded(path=counts).with_record({"demand": given})


def test_what_a_file_of_sizes_sets_may_not_be_given_besides(sizes):
    recorded = Recorded(sizes=sizes)
    assert recorded.with_record({"max_limit": 1000.0, "priority": 1.0})
    with pytest.raises(ValueError, match=r"^priority is given; it must not be where a file"):
        recorded.with_record({"priority": 0.5})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cpu_milli\n1\n2\n", "it must have a row for each of 3 pods, not 2"),
        ("name,qos\na,LS\n", "line 1: its columns are name, qos; it must have one column named cpu_milli"),
        (
            "cpu_milli,qos\n1,LS\n1,Best\n1,BE\n",
            "line 3: qos is 'Best'; it must be one of LS, Guaranteed, Burstable, BE",
        ),
        ("cpu_milli\n0\n0\n0\n", "cpu_milli is 0 in its first 3 rows; one must be above 0"),
        ("cpu_milli\n1\n-2\n3\n", "line 3: the cpu_milli is '-2'"),
    ],
)
def test_a_bad_file_of_sizes_is_refused_in_a_sentence(text, sentence, tmp_path):
    path = tmp_path / "pods.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        Recorded(sizes=str(path)).parts(GAME.default_params())


@pytest.mark.parametrize("setting", ["path", "sizes"])
def test_an_empty_path_is_refused(setting):
    with pytest.raises(ValueError, match=rf"^{setting} is not given; it must be the path of a CSV file"):
        Recorded(**{setting: ""}).parts(GAME.default_params())


def test_a_burst_beyond_the_room_for_arrivals_is_refused(counts):
    game = jaxdlb.make("pods", num_pods=3, max_arrivals=20)
    with pytest.raises(ValueError, match=r"^rate\[0\] is 15; it must be at most 6.66667 with max_arrivals 20"):
        game.validate(Recorded(path=counts, held_out=0.4).parts(game.default_params(rate=15, demand="constant"))[1])


@pytest.mark.parametrize(("classes", "priority"), [(1, [1, 1, 1]), (2, [1, 0.5, 1]), (3, [1, 0.5, 0.1])])
def test_classes_of_priority_are_taken_by_turns(classes, priority):
    np.testing.assert_allclose(GAME.default_params(classes=classes).priority, priority)
