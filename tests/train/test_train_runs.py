"""Whole runs through the command line: what they write, and what evaluation and drawing make of it."""

import collections
import csv
import dataclasses
import html
import json
import math
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from command_line import ROUNDS, TINY, assert_refused, files_of
from omegaconf import OmegaConf
from PIL import Image
from scipy import stats

import jaxdlb
from jaxdlb import checkpoint, evaluation
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.learners import MAPPOConfig
from train import build, comparison, compose, run_folder
from train.loggers import metrics_file
from train.settings import Settings


def test_a_run_leaves_config_metrics_checkpoints_table_report_and_figures(pointer_run):
    assert {path.name for path in pointer_run.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.yaml",
        "evaluation.json",
        "figures",
        "held_out.csv",
        "metrics.csv",
        "provenance.json",
        "report.html",
        "samples.csv",
        "table.txt",
    }
    assert checkpoint.steps(pointer_run / "checkpoints")[-1] == 20
    for name in ("utilities", "learning_curve", "agents", "loads"):
        with Image.open(pointer_run / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 200
    assert (pointer_run / "report.html").read_text(encoding="utf-8").count("<figure>") == 4


def test_metrics_have_a_row_for_every_update(pointer_run):
    rows = metrics_file.read(pointer_run)
    assert [row["update"] for row in rows] == list(range(1, 21))
    assert [row["agent_rounds"] for row in rows] == [ROUNDS * k for k in range(1, 21)]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert {"utility", "loss", "policy_loss", "value_loss", "entropy", "learning_rate"} <= set(rows[0])


def test_every_checkpoint_is_scored_in_episodes_that_nothing_else_plays(pointer_run):
    rows = metrics_file.read(pointer_run, metrics_file.HELD_OUT)
    assert [row["update"] for row in rows] == [4, 8, 12, 16, 20]
    assert {"agent_rounds", "seconds", "utility", "response_time", "drops"} <= set(rows[0])
    scores = {row["update"]: row["utility"] for row in rows}
    kept = checkpoint.steps(pointer_run / "checkpoints")
    assert [checkpoint.read_about(pointer_run, step)["utility"] for step in kept] == [scores[step] for step in kept]
    assert checkpoint.best_step(pointer_run / "checkpoints") == max(scores, key=scores.get)
    result = evaluation.from_json(json.loads((pointer_run / "evaluation.json").read_text(encoding="utf-8")))
    (learned,) = (each for each in result.results if each.kind == "learned")
    assert learned.columns["utility"].mean not in scores.values()


def test_what_a_run_ought_to_be_warned_of_is_said(mlp_run, train, here, monkeypatch):
    shutil.copytree(mlp_run, here / "run")
    monkeypatch.setattr(comparison, "beaten", lambda result: ["learned"])
    monkeypatch.setattr(checkpoint, "best_step", lambda folder: 4)
    outcome = train("resume=run", "evaluation.enabled=true")
    assert outcome.status == 0, outcome.err
    assert f"warning: total_agent_rounds buys 12 updates of {ROUNDS} agent-rounds each" in outcome.err
    assert "warning: update 12 did worse than update 4, whose policy is compared and kept" in outcome.err
    assert "warning: learned ends below the best heuristic, " in outcome.err


def test_a_policy_is_beaten_where_the_interval_of_the_difference_is_below_0(pointer_run):
    result = evaluation.from_json(json.loads((pointer_run / "evaluation.json").read_text(encoding="utf-8")))
    (learned,) = (each for each in result.results if each.kind == "learned")
    ahead, behind, even = (
        dataclasses.replace(learned, name=name, differences={"utility": Estimate(mean, mean - 1, mean + 1)})
        for name, mean in (("ahead", 2.0), ("behind", -2.0), ("even", -0.5))
    )
    assert comparison.beaten(dataclasses.replace(result, results=(ahead, behind, even))) == ["behind"]


def test_the_saved_config_is_resolved_and_whole(pointer_run):
    config = OmegaConf.load(pointer_run / "config.yaml")
    assert (config.game.num_nodes, config.network.kind, config.learner.gamma) == (3, "pointer", MAPPOConfig().gamma)
    assert "${" not in (pointer_run / "config.yaml").read_text(encoding="utf-8")


def test_the_evaluation_compares_the_policy_with_the_heuristics_that_were_named(pointer_run):
    result = evaluation.from_json(json.loads((pointer_run / "evaluation.json").read_text(encoding="utf-8")))
    assert {each.name for each in result.results} == {"learned", "local", "power_of_d(d=2, weighted)"}
    assert (result.num_episodes, result.num_rounds, result.warmup) == (4, 60, 10)
    assert (pointer_run / "table.txt").read_text(encoding="utf-8") == evaluation.to_text(result) + "\n"


def test_evaluating_a_run_again_gives_the_same_table_in_a_new_folder(pointer_run, evaluate_, here):
    run = shutil.copytree(pointer_run, here / "run")
    before = files_of(run)
    outcome = evaluate_("checkpoint=run")
    assert outcome.status == 0, outcome.err
    assert (run / "table.txt").read_text(encoding="utf-8") in outcome.out
    (made,) = (run / "evaluations").iterdir()
    assert outcome.out.strip().endswith(f"written to {made.relative_to(here)}")
    assert {path.name for path in made.iterdir()} == {
        "config.yaml",
        "evaluation.json",
        "figures",
        "provenance.json",
        "report.html",
        "samples.csv",
        "table.txt",
    }
    assert {path: files_of(run)[path] for path in before} == before
    (launch,) = json.loads((made / "provenance.json").read_text(encoding="utf-8"))["launches"]
    assert launch["update"] == checkpoint.best_step(run / "checkpoints")


def test_statistics_of_a_game_that_does_not_tell_them_are_refused(pointer_run, evaluate_, here):
    done = evaluate_(f"checkpoint={pointer_run}", "statistics=true", "output=out")
    assert_refused(done, "game.name is 'dlb'; it must be a game that tells what each agent did (node_metrics)")
    assert not (here / "out").exists()


def test_a_pointer_policy_is_evaluated_elsewhere_by_overrides(pointer_run, evaluate_, here):
    outcome = evaluate_(
        f"checkpoint={pointer_run / 'checkpoints' / '16'}",
        "output=elsewhere",
        "game=dlb",
        "game.num_nodes=5",
        "game.params.load=0.4",
        "game.params.heartbeat_period=20",
        "evaluation.heuristics=[threshold]",
        "evaluation.actions=[greedy]",
        "plots=[timeline,pareto]",
        "evaluation.pareto.across=imbalance",
        "evaluation.pareto.up=response_time",
    )
    assert outcome.status == 0, outcome.err
    assert {"timeline.png", "pareto.png"} <= {path.name for path in (here / "elsewhere" / "figures").iterdir()}
    assert "What happened on one cluster" in (here / "elsewhere" / "report.html").read_text(encoding="utf-8")
    config = OmegaConf.load(here / "elsewhere" / "config.yaml")
    assert (config.game.num_nodes, config.game.params.load, config.game.params.heartbeat_period) == (5, 0.4, 20)
    assert config.learner.num_envs == 4  # as saved
    result = evaluation.from_json(json.loads((here / "elsewhere" / "evaluation.json").read_text(encoding="utf-8")))
    assert result.settings["num_nodes"] == 5
    assert {each.name for each in result.results} == {"learned(greedy)", "threshold(margin=4)"}


def test_a_drawing_shows_the_policy_asked_for(pointer_run, render_, here):
    arguments = [f"checkpoint={pointer_run}", "rounds=3", "first_round=5", "frames_per_round=2"]
    for policy in ("learned", "{name: power_of_d, d: 1}"):
        outcome = render_(*arguments, f"policy={policy}", "output=game.gif")
        assert outcome.status == 0, outcome.err
        with Image.open(here / "game.gif") as picture:
            assert picture.n_frames == 6


def test_a_rule_needs_no_run_and_is_drawn_as_it_is_tuned_for_the_tables(render_, here):
    sizes = ["game.num_nodes=3", "evaluation.tuning_episodes=2", "evaluation.tuning_rounds=40", "game.params.load=0.8"]
    drawing = ["rounds=3", "first_round=5", "frames_per_round=2"]
    settings = compose.settings(compose.from_conf(sizes), sizes)
    scenario = build.scenario(settings.game)
    family = {"threshold_stealing": scenario.entry.heuristics["threshold_stealing"]}
    (tuned,) = comparison.tuned(scenario, settings.evaluation, family).values()
    margin = float(tuned.dispatch.margin)
    policies = {"tuned": "threshold_stealing", "same": f"{{name: threshold_stealing, margin: {margin}}}"}
    policies["other"] = f"{{name: threshold_stealing, margin: {margin + 1}}}"
    for name, policy in policies.items():
        outcome = render_(*sizes, *drawing, f"policy={policy}", f"output={name}.gif")
        assert outcome.status == 0, outcome.err
    assert (here / "tuned.gif").read_bytes() == (here / "same.gif").read_bytes()
    assert (here / "tuned.gif").read_bytes() != (here / "other.gif").read_bytes()


def test_several_policies_are_drawn_side_by_side(pointer_run, render_, here):
    given = [f"checkpoint={pointer_run}", "rounds=2", "first_round=5", "frames_per_round=2"]
    heights = {}
    for name, policy in {"one": "learned", "two": "[learned,local]"}.items():
        outcome = render_(*given, f"policy={policy}", f"output={name}.gif")
        assert outcome.status == 0, outcome.err
        with Image.open(here / f"{name}.gif") as picture:
            heights[name] = picture.height
    assert heights["two"] > 1.3 * heights["one"]


def test_the_learned_policy_is_drawn_from_a_checkpoint_alone(render_, here):
    outcome = render_("policy=[local,learned]")
    assert (outcome.status, list(here.iterdir())) == (2, [])
    assert "checkpoint is not given; it must be where policy is learned" in outcome.err


def test_a_trace_is_trained_on_in_its_first_part_and_evaluated_on_in_the_other(varied_run):
    scenario = build.scenario(OmegaConf.to_object(compose.from_run(varied_run, [], Settings, resumed=True)).game)
    clusters = [draw(jax.random.key(0)) for draw in (scenario.train, scenario.test)]
    first, last = (cluster.arrival_modulation.factors for cluster in clusters)
    assert (len(first), len(last)) == (40, 20)
    np.testing.assert_allclose(last[0] / last[1], 9)
    np.testing.assert_allclose(last[1], first[0])  # one scale for both, that of the part trained on
    state = saved_arrays(varied_run, "state")
    assert state["environments.params.arrival_modulation.factors"].shape[-1] == 40


def test_environments_of_a_randomised_run_play_different_clusters(varied_run):
    periods = saved_arrays(varied_run, "state")["environments.params.heartbeat_period"]
    assert periods.shape == (2, 4)
    assert len(set(periods.ravel().tolist())) > 2
    assert periods.min() >= 2 and periods.max() <= 9


def test_several_seeds_train_in_one_program_and_are_compared_each_and_together_drawn_and_greedy(varied_run):
    result = evaluation.from_json(json.loads((varied_run / "evaluation.json").read_text(encoding="utf-8")))
    assert {each.name: (each.num_seeds, each.part_of) for each in result.results} == {
        "local": (1, None),
        "learned (2 seeds)": (2, None),
        "learned(seed=0)": (1, "learned (2 seeds)"),
        "learned(seed=1)": (1, "learned (2 seeds)"),
        "learned(greedy) (2 seeds)": (2, "learned (2 seeds)"),
        "learned(greedy, seed=0)": (1, "learned(greedy) (2 seeds)"),
        "learned(greedy, seed=1)": (1, "learned(greedy) (2 seeds)"),
    }
    rows = {each.name: each for each in result.results}
    for way in ("", "greedy, "):
        means = [rows[f"learned({way}seed={seed})"].columns["utility"].mean for seed in range(2)]
        row = rows["learned(greedy) (2 seeds)" if way else "learned (2 seeds)"]
        of_seeds = stats.t.interval(0.95, 1, scale=stats.sem(means))[1]
        assert row.columns["utility"].mean == pytest.approx(np.mean(means))
        assert row.columns["utility"].half_width > of_seeds  # it covers the episodes as well
        difference = np.mean(means) - rows["local"].columns["utility"].mean
        assert row.differences["utility"].mean == pytest.approx(difference)
    told = evaluation.conclusion(result)
    assert told.startswith("learned (2 seeds) ") and told.count("the best heuristic, local") == 1
    table = (varied_run / "table.txt").read_text(encoding="utf-8")
    assert told in " ".join(table.split())
    assert told in html.unescape((varied_run / "report.html").read_text(encoding="utf-8"))


def test_the_samples_of_a_run_give_its_table_again_the_row_over_seeds_too(varied_run):
    result = evaluation.from_json(json.loads((varied_run / "evaluation.json").read_text(encoding="utf-8")))
    with (varied_run / "samples.csv").open(encoding="utf-8", newline="") as file:
        samples = collections.defaultdict(list)
        for row in csv.DictReader(file):
            samples[row["policy"]].append(float(row["utility"]))
    members = {f"learned(seed={seed})" for seed in range(2)} | {f"learned(greedy, seed={seed})" for seed in range(2)}
    assert set(samples) == {"local", *members}
    rows = {each.name: each for each in result.results}
    for name, values in samples.items():
        assert rows[name].columns["utility"] == evaluation.estimate(values)
        assert rows[name].differences["utility"] == evaluation.paired_difference(values, samples["local"])
    table = [samples[f"learned(seed={seed})"] for seed in range(2)]
    assert rows["learned (2 seeds)"].columns["utility"] == evaluation.crossed(table)


def test_seeds_have_rows_of_metrics_and_parameters_of_their_own(varied_run):
    assert {row["seed"] for row in metrics_file.read(varied_run)} == {0.0, 1.0}
    actors = [jaxdlb.load_policy(varied_run, seed=k).variables.actor for k in range(2)]
    leaves = zip(*map(jax.tree.leaves, actors), strict=True)
    assert any(np.any(np.asarray(one) != np.asarray(other)) for one, other in leaves)


def saved_arrays(run, part):
    """The arrays of the newest step, by name, read with orbax alone."""
    step = checkpoint.steps(run / "checkpoints")[-1]
    with ocp.StandardCheckpointer() as reader:
        return reader.restore((run / "checkpoints" / str(step) / part).absolute())


def test_a_sweep_gives_each_job_a_folder_of_its_own(train, here):
    short = ["evaluation.enabled=false", "evaluation.held_out_episodes=0"]
    outcome = train("-m", *TINY, *short, "learner.learning_rate=1e-3,3e-4")
    assert outcome.status == 0, outcome.err
    (sweep,) = (here / "runs").iterdir()
    rates = [OmegaConf.load(sweep / str(job) / "config.yaml").learner.learning_rate for job in range(2)]
    assert rates == [1e-3, 3e-4]
    assert all((sweep / str(job) / "metrics.csv").exists() for job in range(2))
    told = [json.loads((sweep / str(job) / "provenance.json").read_text(encoding="utf-8")) for job in range(2)]
    given = [each["launches"][0]["command"].split()[-1].partition("=") for each in told]
    assert [(key, float(value)) for key, _, value in given] == [("learner.learning_rate", rate) for rate in rates]
    assert {path.name for path in here.iterdir()} == {"runs"}


def test_a_learning_rate_that_diverges_ends_with_1_and_a_sentence(train, here):
    outcome = train(*TINY, "learner.learning_rate=1e30", "learner.final_learning_rate=1e30", "run_dir=run")
    assert outcome.status == 1
    last = outcome.err.strip().splitlines()[-1]
    assert "training stopped at update" in last and "is nan" in last
    assert "no checkpoint had been saved yet" in last
    assert "Traceback" not in outcome.err
    assert len(metrics_file.read(here / "run")) > 0


def test_runs_of_the_same_second_get_folders_of_their_own(here, monkeypatch):
    monkeypatch.setattr(run_folder, "stamp", lambda: "now")
    settings = OmegaConf.create({"run_dir": None, "runs_dir": "runs", "game": {"name": "g"}, "learner": {"name": "l"}})
    made = [run_folder.create(settings).name for _ in range(3)]
    assert made == ["now_g_l", "now_g_l_2", "now_g_l_3"]


@pytest.mark.parametrize("module", ["train", "evaluate", "render"])
def test_help_is_printed(module, request):
    run = request.getfixturevalue("train" if module == "train" else f"{module}_")
    outcome = run("--help")
    assert outcome.status == 0
    assert "key=value" in outcome.out
