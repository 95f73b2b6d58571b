"""Algorithms compared over folders of runs: what counts as one algorithm and one task, what is written and refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from command_line import assert_refused, files_of
from evaluated_runs import AGENT_ROUNDS, write_run
from scipy import stats


@pytest.fixture
def compare(train_launcher):
    return train_launcher("train.compare")


def lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores(path):
    """By algorithm and task: the scores of its seeds."""
    found = {}
    for line in lines(path / "scores.csv"):
        found.setdefault((line["algorithm"], line["task"]), []).append(float(line["score"]))
    return found


def test_runs_of_the_same_settings_are_seeds_of_one_algorithm_and_of_the_same_game_of_one_task(compare, here):
    write_run(here / "a", [-2.0, -4.0])
    write_run(here / "b", [-8.0], seed=1)
    write_run(here / "c", [-1.0, -2.0, -16.0], learner={"name": "ippo"})
    write_run(here / "d", [-5.0, -10.0, -20.0], game={"load": 0.5}, rules={"fading(a=1)": -10.0})
    write_run(
        here / "e", [-2.0, -3.0, -10.0], game={"load": 0.5}, learner={"name": "ippo"}, rules={"fading(a=1)": -9.0}
    )
    outcome = compare("a", "b", "c", "d", "e", "output=out")
    assert outcome.status == 0, outcome.err
    low, high = "dlb(params.load=0.5)", "dlb(params.load=0.9)"
    expected = {  # what is best in any table of a task scores 1
        ("mappo", high): [2.0, 1.0, 0.5],
        ("ippo", high): [4.0, 2.0, 0.25],
        ("mappo", low): [9 / 5, 0.9, 0.45],
        ("ippo", low): [4.5, 3.0, 0.9],
    }
    found = scores(here / "out")
    assert set(found) == set(expected)
    assert all(found[key] == pytest.approx(values) for key, values in expected.items())
    tables = {each: np.array([found[each, low], found[each, high]]) for each in ("mappo", "ippo")}
    rows = {line["algorithm"]: line for line in lines(here / "out" / "table.csv")}
    for name, table in tables.items():
        assert float(rows[name]["interquartile_mean"]) == pytest.approx(stats.trim_mean(table, 0.25, axis=None))
        assert float(rows[name]["median"]) == pytest.approx(np.median(table.mean(axis=1)))
        assert float(rows[name]["optimality_gap"]) == pytest.approx(1 - np.minimum(table, 1).mean())
        assert float(rows[name]["mean_low"]) < float(rows[name]["mean"]) < float(rows[name]["mean_high"])
    told = json.loads((here / "out" / "comparison.json").read_text())
    (better,) = [each for each in told["probability_of_improvement"] if each["of"] == "ippo"]
    pairs = [stats.mannwhitneyu(*(tables[each][task] for each in ("ippo", "mappo"))).statistic / 9 for task in (0, 1)]
    assert better["mean"] == pytest.approx(np.mean(pairs))
    assert "ippo has the best interquartile mean" in " ".join(outcome.out.split())
    assert (here / "out" / "figures" / "algorithms.png").read_bytes().startswith(b"\x89PNG")
    assert (here / "out" / "table.txt").read_text() in outcome.out


def test_names_put_runs_together_and_apart(compare, here):
    write_run(here / "a", [-2.0], learner={"gamma": 0.9})
    write_run(here / "b", [-4.0], learner={"gamma": 0.95})
    write_run(here / "c", [-8.0], learner={"gamma": 0.99})
    assert compare("a", "b", "output=auto").status == 0
    assert set(scores(here / "auto")) == {("mappo(gamma=0.9)", "dlb"), ("mappo(gamma=0.95)", "dlb")}
    assert compare("new=a", "old=b", "old=c", "output=named", "one=random", "resamples=1e2").status == 0
    assert scores(here / "named")["new", "dlb"] == pytest.approx([20.0])
    assert scores(here / "named")["old", "dlb"] == pytest.approx([10.0, 5.0])


def test_other_columns_and_yardsticks_may_be_asked_for(compare, here):
    write_run(here / "a", [-2.0, -4.0])
    outcome = compare("a", "output=out", "column=response_time", "zero=random")
    assert scores(here / "out")["mappo", "dlb"] == pytest.approx([(41 - 3) / (41 - 5), 1.0])
    assert "Scores: 0 is what random has, and 1 what local has." in outcome.out
    assert "With 2 training seeds in each task, intervals by resampling are too narrow." in outcome.out


def test_what_ought_not_to_have_happened_is_told_of_the_task_in_which_it_did(compare, here):
    write_run(here / "a", [-2.0, -4.0], drops=0.25)
    write_run(here / "b", [-8.0], learner={"name": "ippo"}, drops=0.5, rules={"local": -4.0})
    write_run(here / "c", [-2.0, -3.0], game={"load": 0.5}, drops=0.0)
    write_run(here / "d", [-4.0], learner={"name": "ippo"}, game={"load": 0.5}, drops=0.0)
    outcome = compare("a", "b", "c", "d", "output=out")
    assert outcome.status == 0, outcome.err
    (sentence,) = json.loads((here / "out" / "comparison.json").read_text())["told"]
    assert sentence == "dlb(params.load=0.9): Tasks were lost: drops up to 0.5, with local."
    assert outcome.out.count(sentence) == 1 and sentence in (here / "out" / "table.txt").read_text()


def test_without_an_output_the_folder_is_one_by_time(compare, here):
    write_run(here / "a", [-2.0])
    assert compare("a").status == 0
    (made,) = (here / "runs").iterdir()
    assert made.name.endswith("_compared") and (made / "table.txt").exists()


def test_marl_eval_s_layout_is_written(compare, here):
    """Environment, task, algorithm, run, step: as many runs and steps everywhere, and the same metrics."""
    write_run(here / "a", [-2.0, -4.0], held_out=(1000, 2000, 3000))
    write_run(here / "b", [-8.0], learner={"name": "ippo"}, held_out=(2000, 3000))
    outcome = compare("a", "b", "output=out")
    assert outcome.err == "marl_eval.json holds 1 of up to 2 training seeds, since marl-eval wants as many of all\n"
    layout = json.loads((here / "out" / "marl_eval.json").read_text())
    assert set(layout) == {"dlb"} and set(layout["dlb"]) == {"dlb"} and set(layout["dlb"]["dlb"]) == {"mappo", "ippo"}
    for runs in layout["dlb"]["dlb"].values():
        assert set(runs) == {"seed_0"}
        assert list(runs["seed_0"]) == ["step_1", "step_2", "absolute_metrics"]
        assert runs["seed_0"]["step_2"] == {"step_count": 3000, "utility": [-9.0], "response_time": [10.0]}
    absolute = layout["dlb"]["dlb"]["ippo"]["seed_0"]["absolute_metrics"]
    assert set(absolute) == {"utility", "response_time"}  # drops is no number
    assert absolute["utility"] == pytest.approx(list(-8.0 + np.linspace(-0.5, 0.5, 6)))


def test_runs_that_share_no_step_have_one_for_marl_eval_the_end(compare, here):
    write_run(here / "a", [-2.0], held_out=())
    assert compare("a", "output=out").status == 0
    run = json.loads((here / "out" / "marl_eval.json").read_text())["dlb"]["dlb"]["mappo"]["seed_0"]
    assert run["step_1"] == {"step_count": AGENT_ROUNDS, **run["absolute_metrics"]}


def test_a_real_run_can_be_compared(compare, here, pointer_run):
    shutil.copytree(pointer_run, here / "run", ignore=shutil.ignore_patterns("checkpoints"))
    outcome = compare("run", "output=out")
    assert outcome.status == 0, outcome.err
    told = json.loads((here / "run" / "evaluation.json").read_text())
    means = {each["name"]: each["columns"]["utility"]["mean"] for each in told["results"]}
    expected = means[told["best_heuristic"]] / means["learned"]
    assert scores(here / "out")["mappo", "dlb"] == pytest.approx([expected])


def spoilt(folder, name, text):
    write_run(folder, [-2.0])
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no run is given; it must be one folder at least, as in runs/a runs/b or name=runs/a"),
        (["nowhere"], "nowhere holds no evaluation.json that can be read; it must be the folder of a run that was"),
        (
            ["colum=utility"],
            "colum=utility is neither the folder of a run with a name nor one of the keys output, column,",
        ),
        (["=a"], "=a has no name; it must be the folder of a run, a name with one, or key=value"),
        (["a", "./a"], "a is given twice; each run must count once"),
        (["a", "copy"], "copy was trained as a was, with seed 0; each training seed must count once"),
        (["a", "ippo=a", "b"], "a is given twice; each run must count once"),
        (["mappo=b", "a"], "mappo=b: mappo is also what a run without a name is called; give each a name"),
        (["a", "other"], "ippo has no run of dlb(params.load=0.9); every algorithm must have runs of every task"),
        (["a", "longer"], "longer was evaluated with evaluation.num_rounds 200 and a with 100; runs of one game must"),
        (["a", "three"], "mappo has 3 training seeds of dlb(params.load=0.5) and 1 of dlb(params.load=0.9); it must"),
        (["a", "column=drops"], "column is 'drops'; it must be one of utility, response_time, which all the games"),
        (["a", "one=nobody"], "one is 'nobody'; it must be best or a rule in a table of dlb: local, random"),
        (["a", "zero=local"], "zero is local, which has -4 in dlb; it must be worse than local, which scores 1 and"),
        (["a", "resamples=few"], "resamples is 'few'; it must be an integer"),
        (["a", "resamples=0"], "resamples is 0; it must be an integer ≥ 1"),
        (["a", "output=a"], "output is 'a'; it must be a new or empty folder"),
        (["spoilt_json"], "spoilt_json/evaluation.json is no JSON; it must be what a run wrote"),
        (["spoilt_other"], "spoilt_other cannot be read (ValueError); it must be what a run wrote"),
        (["spoilt_samples"], "spoilt_samples does not hold all samples of learned; its samples.csv must be that of"),
        (["spoilt_yaml"], "spoilt_yaml/config.yaml cannot be read (ParserError); it must be what a run saved"),
        (["spoilt_held_out"], "spoilt_held_out cannot be read (ValueError); it must be what a run wrote"),
        (["spoilt_provenance"], "spoilt_provenance cannot be read (KeyError); it must be what a run wrote"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence_and_nothing_is_written(arguments, sentence, compare, here):
    write_run(here / "a", [-2.0])
    write_run(here / "copy", [-2.5])
    write_run(here / "b", [-3.0], seed=1)
    write_run(here / "other", [-3.0], learner={"name": "ippo"}, game={"load": 0.5})
    write_run(here / "longer", [-3.0], seed=1, episodes={"num_rounds": 200})
    write_run(here / "three", [-3.0] * 3, game={"load": 0.5})
    for name, text in {"json": "{", "other": "{}"}.items():
        spoilt(here / f"spoilt_{name}", "evaluation.json", text)
    spoilt(here / "spoilt_samples", "samples.csv", "policy,episode,utility\nlocal,0,1\n")
    spoilt(here / "spoilt_yaml", "config.yaml", "a: [")
    spoilt(here / "spoilt_held_out", "held_out.csv", "update,seed\n1,none\n")
    spoilt(here / "spoilt_provenance", "provenance.json", "{}")
    before = files_of(here)
    outcome = compare(*arguments)
    assert outcome.status == 2 and outcome.err.startswith(sentence) and outcome.err.count("\n") == 1, outcome.err
    assert files_of(here) == before


def test_a_folder_s_settings_are_never_resolved(compare, here, monkeypatch):
    """An interpolation in a stranger's folder is refused, and a package to be searched is not looked for."""
    monkeypatch.setenv("SECRET", "of the environment")
    write_run(here / "a", [-2.0], learner={"gamma": "${oc.env:SECRET}"})
    run = write_run(here / "b", [-3.0], learner={"gamma": 0.5})
    write_run(here / "c", [-3.0], learner={"gamma": 0.25})
    settings = json.loads((run / "config.yaml").read_text()) | {"hydra": {"searchpath": ["pkg://a.payload"]}}
    (run / "config.yaml").write_text(json.dumps(settings))
    assert_refused(compare("a", "b", "output=out"), "a/config.yaml cannot be read (an interpolation is no plain value)")
    assert compare("b", "c", "output=out").status == 0


def test_help_names_every_key(compare):
    outcome = compare("--help")
    assert outcome.status == 0
    assert all(f"\n{key}: " in outcome.out for key in ("output", "column", "one", "zero", "resamples"))
