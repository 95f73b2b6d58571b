"""The reference cluster, and what is refused of others."""

import re
import warnings

import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.pods import Pods
from jaxdlb.mechanics.demand import LAWS

GAME = Pods(3)


def test_the_reference_cluster():
    params = Pods(6).default_params()
    assert float(params.budget) == 2000
    assert params.rate.tolist() == [15] * 6
    assert params.leaves_at.tolist() == [2**31 - 1] * 6
    assert type(params.demand) is LAWS["shares"] and int(params.demand.period) == 20
    assert Pods(3).choices is None and Pods(3, "discrete").choices == 3 and Pods(3, "levels", 11).choices == 11


@pytest.mark.parametrize("pods", [1, 2, 5])
@pytest.mark.parametrize("arrivals", [1, 7, 59, 60, 64])
def test_there_are_defaults_at_every_size(pods, arrivals):
    params = Pods(pods, max_arrivals=arrivals).default_params()
    assert (params.rate == np.float32(min(15, arrivals / min(pods, 4)))).all()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"budget": 149}, "budget is 149; it must be at least the sum of min_limit, which is 150"),
        (
            {"min_limit": [50, 60, 50], "max_limit": [100, 55, 100], "initial_limit": 55},
            "min_limit[1] is 60; it must be at most max_limit[1], which is 55",
        ),
        (
            {"initial_limit": [100, 100, 2000]},
            "initial_limit[2] is 2000; it must be between min_limit[2] and max_limit[2], which are 50 and 1000",
        ),
        (
            {"min_limit": [50, 200, 50]},
            "initial_limit[1] is 100; it must be between min_limit[1] and max_limit[1], which are 200 and 1000",
        ),
        ({"lower_usage": 60}, "lower_usage is 60; it must be below upper_usage, which is 60"),
        ({"lower_usage": 5, "upper_usage": 4}, "lower_usage is 5; it must be below upper_usage, which is 4"),
        (
            {"joins_at": [0, 7, 0], "leaves_at": [9, 7, 9]},
            "joins_at[1] is 7; it must be below leaves_at[1], which is 7",
        ),
        (
            {"rate": [15, 21.5, 15]},
            "rate[1] is 21.5; it must be at most 21.3333 with max_arrivals 64, since up to 64.5 requests come in a "
            "step: max_arrivals 65 would do",
        ),
        (
            {"interval": 2},
            "rate[0] is 15; it must be at most 10.6667 with max_arrivals 64, since up to 90 requests come in a step: "
            "max_arrivals 90 would do",
        ),
        (
            {"demand": {"kind": "levels", "high": 10}, "rate": [1, 2, 7]},
            "rate[2] is 7; it must be at most 6.4 with max_arrivals 64, since up to 70 requests come in a step: "
            "max_arrivals 70 would do",
        ),
        (
            {"demand": {"kind": "trace", "factors": np.ones((5, 2))}},
            "demand.factors has shape (5, 2); it must have shape (5, 3)",
        ),
        ({"demand": {"kind": "trace"}}, "demand.factors is not given; it must be a finite number in [0, 1e+12]"),
        ({"demand": {"kind": "levels", "low": 3}}, "demand.low is 3; it must be at most high, which is 2"),
        ({"rate": [1, 2]}, "rate has shape (2,); it must have shape (3,)"),
        ({"rate": -1}, "rate is -1; it must be a finite number in [0, 1000000]"),
        ({"work_mean": 0}, "work_mean is 0; it must be a finite number in [0.001, 10000000]"),
        ({"work_shape": [0, 3.5, 1]}, "work_shape[1] is 3.5; it must be a finite number in [0, 3]"),
        ({"burst": 11}, "burst is 11; it must be a finite number in [0, 10]"),
        ({"priority": [1, 0, 1]}, "priority[1] is 0; it must be a finite number in (0, 1]"),
        ({"slo": 0}, "slo is 0; it must be a finite number in [0.001, 10000]"),
        ({"step_size": 0}, "step_size is 0; it must be a finite number in [1, 10000000]"),
        ({"leave_prob": 1.5}, "leave_prob is 1.5; it must be a finite number in [0, 1]"),
        ({"joins_at": 0.5}, "joins_at is 0.5; it must be an integer in [0, 2147483647]"),
        ({"horizon": 0}, "horizon is 0; it must be an integer in [1, 2147483647]"),
        ({"selfishness": 2}, "selfishness is 2; it must be a finite number in [0, 1]"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(fields, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        GAME.default_params(**fields)


def test_a_law_and_a_parameter_of_another_name_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"^demand\.kind is 'share'; it must be one of .*; did you mean 'shares'\?$"):
        GAME.default_params(demand="share")
    with pytest.raises(ValueError, match=r"^prioritys is not a parameter of pods; .*; did you mean priority\?$"):
        GAME.default_params(prioritys=1)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            {"action": "discret"},
            "action is 'discret'; it must be one of delta, instant, discrete, levels; did you mean 'discrete'?",
        ),
        (
            {"sharing": "proportionate"},
            "sharing is 'proportionate'; it must be one of proportional, priority, cyclic; did you mean "
            "'proportional'?",
        ),
        (
            {"reward": "marlise2"},
            "reward is 'marlise2'; it must be one of cost, marlise_1, marlise_2, marlise_3, marlise_4, marlise_5; did "
            "you mean 'marlise_2'?",
        ),
        ({"global_view": "all"}, "global_view is 'all'; it must be one of full, summary"),
        (
            {"action": "discrete", "num_choices": 4},
            "num_choices is 4; it must be odd, so that one choice keeps the limit",
        ),
        ({"action": "levels", "num_choices": 1}, "num_choices is 1; it must be an integer in [3, 10001]"),
        (
            {"action": "delta", "num_choices": 3},
            "num_choices is 3; it must not be given where action is 'delta', only discrete or levels",
        ),
        (
            {"action": "instant", "num_choices": 4},
            "num_choices is 4; it must not be given where action is 'instant', only discrete or levels",
        ),
        ({"num_pods": 0}, "num_pods is 0; it must be an integer ≥ 1"),
        ({"queue_capacity": 0}, "queue_capacity is 0; it must be an integer ≥ 1"),
        ({"percentiles": 1}, "percentiles is 1; it must be true or false"),
    ],
)
def test_unknown_choices_and_sizes_are_refused(sizes, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jaxdlb.make("pods", **sizes)


def test_unusual_clusters_are_accepted():
    for fields in (
        {"rate": 0},
        {"burst": 0, "work_shape": 0},
        {"budget": 150},
        {"min_limit": 100, "max_limit": 100},
        {"initial_limit": 1000},  # more than the budget for all: it is fitted
        {"rate": 64 / 3},  # just what there is room for
        {"joins_at": 2**31 - 2},  # nobody, ever
        {"demand": "switching"},
        {"interval": 1e-3},
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GAME.default_params(**fields)


def test_validate_says_the_same_of_parameters_that_were_changed_later():
    params = GAME.default_params()
    with pytest.raises(ValueError, match=r"^budget is 100; it must be at least the sum of min_limit, which is 150$"):
        GAME.validate(params.replace(budget=params.budget * 0.1))
