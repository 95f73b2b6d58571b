"""The reference farm, and what is refused of others."""

import re

import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.farm import Farm

GAME = Farm(3)
NUMBER = "it must be a finite number in"


def test_the_reference_farm():
    game = jaxdlb.make("farm")
    params = game.default_params()
    assert (game.num_workers, game.num_sizes, game.objective, game.task_law) == (8, 16, "makespan", "lognormal")
    np.testing.assert_allclose(params.speed, np.linspace(1, 5, 8), rtol=1e-6)
    told = {
        name: float(np.asarray(getattr(params, name))) for name in ("job", "comm_time", "drift", "noise", "horizon")
    }
    assert told == pytest.approx({"job": 1000, "comm_time": 0.2, "drift": 0.3, "noise": 1, "horizon": 1_000_000})
    assert not any(np.any(getattr(params, name)) for name in ("failure_rate", "rejoin_rate", "join_time", "latency"))


def test_an_order_shuffles_workers_with_all_that_is_theirs():
    fields = {"speed": [1, 2, 3], "latency": [0.1, 0.2, 0.3], "rejoin_rate": [10, 20, 30], "join_time": [4, 0, 6]}
    orders = set()
    for order in range(30):
        params = GAME.default_params(order=order, **fields)
        places = np.argsort(params.speed)
        for name, values in fields.items():
            np.testing.assert_allclose(getattr(params, name)[places], values, rtol=1e-6)
        np.testing.assert_array_equal(params.speed, GAME.default_params(order=order, **fields).speed)
        orders.add(tuple(places.tolist()))
    assert len(orders) == 6


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"job": 0}, "job is 0; it must be an integer in [1, 65536]"),
        ({"job": 65_537}, "job is 65537; it must be an integer in [1, 65536]"),
        ({"job": 10.5}, "job is 10.5; it must be an integer in [1, 65536]"),
        ({"task_time": 0}, "task_time is 0; it must be"),
        ({"comm_time": -0.1}, f"comm_time is -0.1; {NUMBER} [0, 1000000000]"),
        ({"comm_time": float("nan")}, f"comm_time is nan; {NUMBER} [0, 1000000000]"),
        ({"comm_per_task": -1}, f"comm_per_task is -1; {NUMBER} [0, 1000000000]"),
        ({"latency": [0, 0, -1]}, f"latency[2] is -1; {NUMBER} [0, 1000000000]"),
        ({"speed": [1, 0, 2]}, "speed[1] is 0; it must be"),
        ({"speed": [1, 2]}, "speed has shape (2,); it must have shape (3,)"),
        ({"noise": 1.5}, f"noise is 1.5; {NUMBER} [0, 1]"),
        ({"drift": -1}, f"drift is -1; {NUMBER} [0, 10]"),
        ({"drift_period": 0}, "drift_period is 0; it must be"),
        ({"failure_rate": [0, -0.5, 0]}, f"failure_rate[1] is -0.5; {NUMBER} [0, 1000000]"),
        ({"rejoin_rate": -1}, f"rejoin_rate is -1; {NUMBER} [0, 1000000]"),
        ({"join_time": -1}, f"join_time is -1; {NUMBER} [0, 1000000000]"),
        ({"selfishness": 2}, f"selfishness is 2; {NUMBER} [0, 1]"),
        ({"horizon": 0}, "horizon is 0; it must be an integer in [1, 2147483647]"),
        (
            {"failure_rate": 0.1},
            "failure_rate is positive and rejoin_rate 0 for every worker; at least one must have failure_rate 0 or "
            "rejoin_rate above 0, else a job may never end",
        ),
        ({"workers": 0}, "workers is 0; it must be"),
        ({"order": -1}, "order is -1; it must be an integer in [0, 16777215]"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(fields, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        GAME.default_params(**fields)


def test_a_parameter_of_another_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"^speeds is not a parameter of farm; .*; did you mean speed\?$"):
        GAME.default_params(speeds=1)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"num_workers": 0}, "num_workers is 0; it must be an integer ≥ 1"),
        ({"num_sizes": 3}, "num_sizes is 3; it must be an integer in [4, 1000]"),
        ({"objective": "idleness"}, "objective is 'idleness'; it must be one of makespan, idle; did you mean 'idle'?"),
        (
            {"task_law": "lognorm"},
            "task_law is 'lognorm'; it must be one of deterministic, uniform, exponential, lognormal, trace; did you "
            "mean 'lognormal'?",
        ),
        ({"task_cv": 0}, "task_cv is 0; it must be a finite number > 0"),
    ],
)
def test_unknown_choices_and_sizes_are_refused(sizes, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jaxdlb.make("farm", **sizes)


@pytest.mark.parametrize(
    "fields",
    [
        {"job": 1},
        {"job": 65_536},
        {"comm_time": 0, "noise": 0, "drift": 0},
        {"failure_rate": [0.1, 0.1, 0]},  # one stays
        {"failure_rate": 0.1, "rejoin_rate": [0, 0, 0.2]},  # one comes back
        {"join_time": [5, 0, 0]},
        {"join_time": 5},  # nobody is there at first
        {"latency": [1, 0, 1]},
    ],
)
def test_unusual_farms_are_accepted(fields):
    GAME.validate(GAME.default_params(**fields))


def test_validate_says_the_same_of_parameters_that_were_changed_later():
    params = GAME.default_params(rejoin_rate=0.1, failure_rate=0.1)
    with pytest.raises(ValueError, match=r"^failure_rate is positive and rejoin_rate 0 for every worker; "):
        GAME.validate(params.replace(rejoin_rate=0 * params.rejoin_rate))
