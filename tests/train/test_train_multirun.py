"""Sweeps: in this process and in others, chosen beforehand and by Optuna, and what is told of them."""

import concurrent.futures
import csv
import importlib
import json
import math
import os
import pickle
import platform
import re
import warnings

import jax
import pytest
from command_line import ROOT, ROUNDS, TINY
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from test_train_refusals import assert_refused

from train import compose, hydra_cli, launch, objective, run_folder
from train.loggers import metrics_file
from train.multirun import figure, job, outcomes, parent, proposals, report, stopping
from train.multirun.outcomes import Outcome
from train.objective import Objective

SHORT = (*TINY, "evaluation.enabled=false", "evaluation.held_out_episodes=0", f"total_agent_rounds={ROUNDS}")
RATES = "learner.learning_rate=choice(1e-3,1e30)"  # the second one diverges
UTILITY = Objective("training", "utility", "maximize")


def rows(sweep):
    with (sweep / "sweep.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def only_sweep(here):
    (sweep,) = (here / "runs").iterdir()
    return sweep


def told(number, status=0, value=None, **overrides):
    given = tuple(f"{key.replace('__', '.')}={text}" for key, text in overrides.items())
    return Outcome(number, given, f"runs/sweep/{number}", "somewhere", 1, status, value)


# What is checked


def lines_of(*overrides, proposes=False):
    return proposals.command_lines(compose.sweep(compose.without_globs(overrides))[0], proposes=proposes)


def test_without_a_sweeper_that_chooses_every_combination_is_checked():
    assert lines_of("seed=1,2", "learner=choice(ippo,mappo)", "logging_interval=range(1,6,2)", "plots=timeline") == [
        [f"seed={seed}", f"learner={learner}", f"logging_interval={interval}", "plots=timeline"]
        for seed in (1, 2)
        for learner in ("ippo", "mappo")
        for interval in (1, 3, 5)
    ]


def test_of_a_sweeper_that_chooses_each_value_of_a_choice_and_both_ends_of_an_interval_are_checked():
    lines = lines_of(
        "learner.learning_rate=tag(log, interval(1e-4,1e-2))",
        "learner=glob(*ppo)",
        "seed=range(1,9,2)",
        "logging_interval=3",
        proposes=True,
    )
    first = ["learner.learning_rate=0.0001", "learner=ippo", "seed=1", "logging_interval=3"]
    assert lines[0] == first
    changed = [[text for text, before in zip(line, first, strict=True) if text != before] for line in lines[1:]]
    assert changed == [["learner.learning_rate=0.01"], ["learner=mappo"], ["seed=9"]]


def test_a_space_in_the_sweepers_own_settings_is_checked_too(monkeypatch):
    groups = ConfigStore.instance().repo
    monkeypatch.setitem(groups, "experiment", dict(groups.get("experiment", {})))
    space = {"hydra": {"sweeper": {"params": {"seed": "1,2"}}}}
    ConfigStore.instance().store(group="experiment", name="spread", package="_global_", node=space)
    assert lines_of("experiment=spread") == [["seed=1", "experiment=spread"], ["seed=2", "experiment=spread"]]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["run_dir=choice(a,b)"], "run_dir is 'a'; it must not be given in a sweep"),
        (["resume=a"], "resume is 'a'; it must not be given in a sweep"),
        (["objective=training.utility,training.reward"], "objective takes several values"),
        (
            ["objective=evaluation.utility"],
            "objective is 'evaluation.utility'; it must begin with training in this run",
        ),
        (["objective=training.utlity"], "did you mean utility?"),
        (["objective=training.loss"], "direction is not given; it must be maximize or minimize"),
        (["direction=up"], "direction is 'up'; it must be maximize or minimize"),
        (["evaluation.held_out_episodes=0,2"], "objective is not given, and would be training.utility in one job"),
        (["hydra.sweep.dir=taken"], "hydra.sweep.dir is 'taken'; it must be a folder"),
        (["hydra.sweep.dir=taken/in"], "/taken' is a file"),
        (["runs_dir=taken"], "runs_dir is 'taken'; it must be a folder"),
        (
            ["learner.learning_rate=interval(1e-4,1e-2)"],
            "must be values with commas between them, or hydra/sweeper=optuna",
        ),
        (["hydra/launcher=ray"], "as hydra-ray-launcher: pip install 'jaxdlb[ray]'"),
        (["hydra/launcher=joblb"], "hydra/launcher is 'joblb'; it must be one of basic"),
        (["hydra/sweeper=optuna", "learner.gamma=interval(0.5,2)"], "learner.gamma is 2"),
        (["hydra/sweeper=optuna", "hydra.sweeper.n_trials=few"], "hydra.sweeper.n_trials is 'few'"),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.direction=minimize"],
            "hydra.sweeper.direction is minimize; it must be",
        ),
        (
            ["--experimental-rerun=job.pickle"],
            "--experimental-rerun is no option here",
        ),
    ],
)
def test_a_sweep_that_is_wrong_is_refused_in_a_sentence_before_its_first_job(given, sentence, train, here):
    (here / "taken").write_text("mine")
    assert_refused(train("-m", *SHORT, "seed=1,2", *given), sentence)
    assert [path.name for path in here.iterdir()] == ["taken"]


def test_hydras_other_way_to_ask_for_a_sweep_is_refused(train, here):
    assert_refused(train(*SHORT, "hydra.mode=MULTIRUN", "seed=1,2"), "hydra.mode is MULTIRUN; it must not be given")
    assert list(here.iterdir()) == []


def test_while_jobs_run_elsewhere_the_parent_checks_them_on_the_cpu(monkeypatch, here):
    """On a GPU it would hold the memory of the first of them."""
    before, seen = jax.config.jax_platforms, []
    prepare = launch.prepare
    monkeypatch.setattr(launch, "prepare", lambda *given: (seen.append(jax.config.jax_platforms), prepare(*given))[1])
    try:
        jax.config.update("jax_platforms", "cuda,cpu")
        for launcher, platforms in (("basic", "cuda,cpu"), ("joblib", "cpu")):
            parent.prepare(["-m", f"hydra/launcher={launcher}", "seed=1,2", *SHORT])
            assert seen == [platforms] * 2
            seen.clear()
    finally:
        jax.config.update("jax_platforms", before)


def test_our_reading_of_flags_knows_those_of_hydra():
    """All but --experimental-rerun, which unpickles a file."""
    parser = importlib.import_module("hydra.main").get_args_parser()
    theirs = set(re.findall(r"--[a-z-]+", parser.format_usage())) - {"--experimental-rerun"}
    values = {"--cfg": ["job"], "--package": ["x"], **{f"--config-{part}": ["x"] for part in ("path", "name", "dir")}}
    assert {"--multirun", "--cfg", "--config-dir", "--info"} <= theirs
    for flag in theirs:
        assert hydra_cli.parse(["seed=1", flag, *values.get(flag, [])]).overrides == ["seed=1"]


# What jobs tell


def test_a_run_is_judged_by_its_final_comparison(pointer_run):
    rows = {name: row for name, row in evaluated(pointer_run).items() if row["kind"] == "learned"}
    (learned,) = rows.values()
    for column in ("utility", "response_time"):
        found = objective.value(pointer_run, Objective("evaluation", column, "maximize"))
        assert found == learned["columns"][column]["mean"]


def evaluated(run):
    told = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["results"]
    return {each["name"]: each for each in told}


def test_without_a_comparison_a_run_is_judged_by_the_checkpoint_that_is_kept(mlp_run):
    best = max(metrics_file.read(mlp_run, metrics_file.HELD_OUT), key=lambda row: row["utility"])
    found = objective.value(mlp_run, Objective("held_out", "response_time", "minimize"))
    assert found == best["response_time"]


def test_a_metric_of_training_is_averaged_over_seeds_and_the_last_tenth(tmp_path):
    lines = [f"{update},{seed},{100 * update},1,{update + 1000 * seed}" for update in range(1, 21) for seed in (0, 1)]
    (tmp_path / "metrics.csv").write_text("\n".join(["update,seed,agent_rounds,seconds,reward", *lines]))
    assert objective.value(tmp_path, Objective("training", "reward", "maximize")) == 500 + (19 + 20) / 2
    (tmp_path / "metrics.csv").write_text("\n".join(["update,seed,agent_rounds,seconds,reward", *lines[:2]]))
    assert objective.value(tmp_path, Objective("training", "reward", "maximize")) == 501


@pytest.mark.parametrize(
    ("given", "name", "direction"),
    [
        ([], "evaluation.utility", "maximize"),
        (["evaluation.enabled=false"], "held_out.utility", "maximize"),
        (["objective=evaluation.response_time"], "evaluation.response_time", "minimize"),
        (["objective=training.entropy", "direction=maximize"], "training.entropy", "maximize"),
        (["game=rack", "objective=evaluation.p99"], "evaluation.p99", "minimize"),
    ],
)
def test_an_objective_is_better_the_way_its_column_is_judged(given, name, direction, here):
    given = [*TINY[:-1], *given]
    found = launch.prepare(compose.from_conf(given), given).objective
    assert (found.name, found.direction) == (name, direction)


def test_a_failed_job_is_worse_than_any_other_whichever_way_the_sweeper_goes():
    assert job._worst(OmegaConf.create({"sweeper": {"direction": "minimize"}})) == math.inf
    assert job._worst(OmegaConf.create({"sweeper": {"direction": "maximize"}})) == -math.inf
    assert job._worst(OmegaConf.create({"sweeper": {}})) == -math.inf


# Launchers and sweepers


@pytest.fixture
def elsewhere(monkeypatch):
    """Processes that launchers start find `train`, as they do where a user starts them."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_optuna_is_told_the_objective_its_direction_and_that_what_diverged_is_worst(train, here):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optuna, as it is imported
        import optuna  # noqa: F401
    outcome = train("-m", *SHORT, RATES, "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid")
    sweep = only_sweep(here)
    best = OmegaConf.load(sweep / "optimization_results.yaml")
    by_rate = {float(row["learner.learning_rate"]): row for row in rows(sweep)}
    assert (outcome.status, by_rate[1e-3]["status"], by_rate[1e30]["status"]) == (1, "0", "1"), outcome
    assert best.best_value == float(by_rate[1e-3]["objective"])


def test_statuses_travel_out_of_two_processes_of_joblib(train, here, elsewhere):
    outcome = train("-m", *SHORT, RATES, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    sweep = only_sweep(here)
    good, bad = rows(sweep)
    assert (outcome.status, good["status"], bad["status"]) == (1, "0", "1"), outcome
    assert [float(each["learner.learning_rate"]) for each in (good, bad)] == [1e-3, 1e30]
    assert float(good["objective"]) == metrics_file.read(sweep / "0")[-1]["utility"]
    assert bad["objective"] == ""
    assert "1 failed" in outcome.out and "0 well" in outcome.out
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert f"joblib runs the jobs of runs/{sweep.name}" in outcome.err
    ran_in = {each.process for each in outcomes.read(sweep)}
    assert len(ran_in) == 2 and os.getpid() not in ran_in


def test_a_status_travels_out_of_a_process_of_submitit_and_its_logs_are_where_it_is_said(process, here):
    started = process("train", "-m", *SHORT, "learner.learning_rate=1e30", "hydra/launcher=submitit_local", cwd=here)
    out, err = started.communicate(timeout=300)
    sweep = only_sweep(here)
    assert started.returncode == 1, err
    assert [row["status"] for row in rows(sweep)] == ["1"]
    assert f"what they print is in runs/{sweep.name}/.submitit/%j" in err and "1 failed" in out
    (log,) = (sweep / ".submitit").glob("*/*_log.err")
    assert "training stopped at update 1" in log.read_text(encoding="utf-8")


def test_settings_are_pickled_by_the_names_of_their_schemas():
    """By value, what comes back from another process would change the schemas of this one."""
    given = compose.from_conf(["learner=ippo", "logger=wandb"])
    back = pickle.loads(pickle.dumps(given))
    assert back == given
    assert OmegaConf.get_type(back.game.params) is OmegaConf.get_type(given.game.params)


# Folders, signals and deaths


def sweep_below(folder):
    return parent.Sweep((), (), UTILITY, folder, None, OmegaConf.create({}))


def test_sweeps_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "stamp", lambda: "now")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: parent._new_folder(sweep_below(tmp_path)).name, range(16)))
    assert sorted(made) == sorted(["now_sweep", *(f"now_sweep_{number}" for number in range(2, 17))])


@pytest.fixture
def launcher(monkeypatch, tmp_path):
    """Runs a sweep with a function in the place of hydra, which takes the folder; the status comes back."""
    monkeypatch.chdir(tmp_path)
    hydra = OmegaConf.create({"runtime": {"choices": {"hydra/launcher": "joblib"}}, "launcher": {}})

    def run(act):
        monkeypatch.setattr(hydra_cli, "start", lambda arguments, job: act(next((tmp_path / "runs").iterdir())))
        return parent.execute(parent.Sweep((), (), UTILITY, tmp_path / "runs", None, hydra))

    return run


def test_a_job_that_was_killed_is_told_and_fails_the_sweep(launcher, capsys):
    def launch_and_die(sweep):
        outcomes.write(sweep, told(0, value=-1.0, seed=1))
        outcomes.write(sweep, told(1, status=None, seed=2))
        raise RuntimeError("a worker was terminated abruptly")

    assert launcher(launch_and_die) == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines()[1:] == ["the launcher gave up, since a job was killed (RuntimeError)"]
    assert re.search(r"1 +2 +– +killed", printed.out)


def test_what_hydra_refuses_before_the_first_job_leaves_nothing_behind(launcher, tmp_path):
    def refuse(sweep):
        (sweep / "multirun.yaml").write_text("")
        raise ValueError("n_jobs is 0; it must be at least 1")

    with pytest.raises(parent.errors.Refusal, match="n_jobs is 0"):
        launcher(refuse)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_fault_is_not_taken_for_a_killed_job(launcher):
    def break_(sweep):
        outcomes.write(sweep, told(0, value=-1.0, seed=1))
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        launcher(break_)


def test_a_signal_stops_the_running_jobs_and_keeps_the_others_from_beginning(tmp_path, monkeypatch, capsys):
    outcomes.claim(tmp_path)
    here = {"host": platform.node(), "process": 77}
    outcomes.write(tmp_path, Outcome(0, (), "", **here, status=0))
    outcomes.write(tmp_path, Outcome(1, (), "", **here | {"process": 78}))
    killed = []
    with stopping.Stopping(tmp_path):
        assert stopping.asked(tmp_path) is None
        with monkeypatch.context() as patch:
            patch.setattr(stopping.os, "kill", lambda *given: killed.append(given))
            stopping.signal.raise_signal(stopping.signal.SIGTERM)
        assert killed == [(78, stopping.signal.SIGTERM)]
        assert stopping.asked(tmp_path) == 143
    assert capsys.readouterr().err == "SIGTERM: stopping after the jobs that run; once more to stop at once\n"


# What is told of a sweep

SWEPT = (
    told(0, value=-2.0, learner="ippo", learner__learning_rate="0.001"),
    told(1, value=-0.5, learner="mappo", learner__learning_rate="0.001"),
    told(2, status=1, learner="mappo", learner__learning_rate="0.1"),
    told(3, status=None, learner="ippo", learner__learning_rate="0.02000000000000001"),
)


def test_the_table_has_the_best_job_on_top_and_says_what_became_of_the_others():
    lines = report.to_text(SWEPT, report.swept_keys(SWEPT, []), UTILITY).splitlines()
    cells = [re.split(r"  +", line) for line in lines if line[0] != "─"]
    assert cells == [
        ["job", "learner", "learner.learning_rate", "training.utility (maximized)", "status", "folder"],
        ["1", "mappo", "0.001", "-0.5", "0 well", "runs/sweep/1"],
        ["0", "ippo", "0.001", "-2", "0 well", "runs/sweep/0"],
        ["2", "mappo", "0.1", "–", "1 failed", "runs/sweep/2"],
        ["3", "ippo", "0.02", "–", "killed", "runs/sweep/3"],
    ]
    smallest = outcomes.ranked(SWEPT, Objective("training", "loss", "minimize"))
    assert [each.job for each in smallest] == [0, 1, 2, 3]


def test_the_csv_has_a_line_for_each_job_with_every_digit():
    read = list(csv.reader(report.to_csv(SWEPT, ["learner.learning_rate"]).splitlines()))
    assert read[0] == ["job", "learner.learning_rate", "objective", "status", "folder"]
    assert read[1] == ["0", "0.001", "-2.0", "0", "runs/sweep/0"]
    assert read[4] == ["3", "0.02000000000000001", "", "1", "runs/sweep/3"]


def test_a_key_that_was_swept_is_told_of_even_if_only_one_value_came_to_pass():
    assert report.swept_keys(SWEPT[:1], ["learner"]) == ["learner"]
    assert report.swept_keys(SWEPT[:1], []) == []


def test_the_figure_draws_every_job_over_every_key_and_marks_the_best():
    drawn = figure.objectives(SWEPT, ["learner", "learner.learning_rate"], UTILITY)
    by_learner, by_rate = [axes for axes in drawn.axes if axes.get_visible() and axes.axison]
    assert [label.get_text() for label in by_learner.get_xticklabels()] == ["ippo", "mappo"]
    assert by_rate.get_xscale() == "log"
    for axes, places, best in ((by_learner, [0, 1], 1), (by_rate, [0.001, 0.001], 0.001)):
        jobs, mark, failed = [each for each in axes.collections if type(each).__name__ == "PathCollection"]
        assert jobs.get_offsets().tolist() == [[places[0], -2.0], [places[1], -0.5]]
        assert mark.get_offsets().tolist() == [[best, -0.5]]
        assert len(failed.get_offsets()) == 2
