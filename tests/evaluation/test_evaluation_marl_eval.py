"""The layout that marl-eval reads: what all runs have alike, and names that it takes."""

import pytest

from jaxdlb.evaluation.marl_eval import Run, fewest_runs, to_marl_eval


def run(*steps, agent_rounds=500, **metrics):
    absolute = {"utility": [-1.0, -2.0], **metrics}
    return Run({step: {"utility": [-float(step)]} for step in steps}, absolute, agent_rounds)


def test_every_algorithm_has_as_many_runs_and_steps_in_every_task():
    runs = {
        ("dlb", "easy"): {"a": [run(100, 200, 300), run(200, 300)], "b": [run(200, 300, 400)]},
        ("dlb", "hard"): {"a": [run(200, 300), run(200, 300)], "b": [run(100, 200, 300), run(200, 300)]},
    }
    assert fewest_runs(runs) == 1
    expected = {
        "seed_0": {
            "step_1": {"step_count": 200, "utility": [-200.0]},
            "step_2": {"step_count": 300, "utility": [-300.0]},
            "absolute_metrics": {"utility": [-1.0, -2.0]},
        }
    }
    assert to_marl_eval(runs) == {"dlb": {task: {"a": expected, "b": expected} for task in ("easy", "hard")}}


def test_runs_without_a_step_in_common_have_the_end_as_their_only_one():
    (found,) = to_marl_eval({("dlb", "t"): {"a": [run(100, agent_rounds=500)], "b": [run(200)]}})["dlb"].values()
    assert found["a"]["seed_0"]["step_1"] == {"step_count": 500, "utility": [-1.0, -2.0]}


@pytest.mark.parametrize("drops", [[float("nan"), 0.0], [float("inf"), 0.0]])
def test_a_metric_that_is_no_number_somewhere_is_left_out_everywhere(drops):
    runs = {("dlb", "t"): {"a": [run(drops=[0.0, 0.0])], "b": [run(drops=drops)]}}
    layout = to_marl_eval(runs)["dlb"]["t"]
    assert all(set(each["seed_0"]["absolute_metrics"]) == {"utility"} for each in layout.values())


def test_names_are_those_that_marl_eval_takes():
    layout = to_marl_eval({("My.Game", "My.Game(params.load=1E-3)"): {"a(x=1, y=2)": [run(100)]}})
    assert layout.keys() == {"my.game"} and layout["my.game"].keys() == {"my.game(params.load=1e-3)"}
    assert layout["my.game"]["my.game(params.load=1e-3)"].keys() == {"a(x=1; y=2)"}
