"""Populations through the loop and the launcher: what is logged, kept, compared and resumed."""

import json
import math
import shutil

import jax
import numpy as np
import pytest
from climber import Climber
from command_line import ROUNDS, TINY, once

import jaxdlb
from jaxdlb import checkpoint
from jaxdlb.learners import Evolution, PopulationBasedTraining
from train import lineage, loop
from train.loggers import metrics_file
from train.loop import DivergedError, Schedule
from train.population import Population

MEMBERS = 4
RUN = (
    *TINY,
    f"total_agent_rounds={12 * ROUNDS}",
    f"learner.population={MEMBERS}",
    "learner.evolution.interval=3",
    "evaluation.held_out_episodes=4",
    "evaluation.held_out_rounds=30",
)


class Listener:
    def __init__(self):
        self.rows, self.progress = [], []

    def start(self, update, num_updates):
        pass

    def held_out(self, rows):
        pass

    def interval(self, rows, progress):
        self.rows += rows
        self.progress.append(progress)


def population(learner=None, **evolution):
    return Population(PopulationBasedTraining(learner or Climber(), MEMBERS, Evolution(**evolution)), 0, 1)


def run(folder, trained, updates, listener=None, state=None, **judge):
    plan = Schedule(updates, 10, logging_interval=4, checkpoint_interval=4)
    with checkpoint.Writer(folder / "checkpoints", {}, num_latest=99) as writer:
        state = trained.init() if state is None else state
        return loop.train(trained, state, plan, writer, [listener or Listener()], **judge)


def test_a_population_cut_before_at_or_after_a_selection_ends_as_one_that_is_not(tmp_path):
    trained = population(interval=5)
    whole = run(tmp_path / "whole", trained, 17)
    for cut in (4, 5, 6):
        run(tmp_path / str(cut), trained, cut)
        step, state = checkpoint.restore_state(tmp_path / str(cut), trained.template())
        resumed = run(tmp_path / str(cut), trained, 17, state=state)
        assert step == cut
        assert checkpoint.checksum(checkpoint.pack(resumed)) == checkpoint.checksum(checkpoint.pack(whole))


def test_every_member_has_its_rows_and_the_rate_counts_them_all(tmp_path):
    listener = Listener()
    run(tmp_path, population(interval=2), 6, listener)
    assert [(row["update"], row["seed"]) for row in listener.rows] == [(u, m) for u in range(1, 7) for m in range(4)]
    assert {"parent", "hyperparameters/learning_rate", "hyperparameters/momentum"} <= set(listener.rows[0])
    assert [row["agent_rounds"] for row in listener.rows[::MEMBERS]] == [10 * k for k in range(1, 7)]
    selected = {row["update"] for row in listener.rows if row["parent"] != row["seed"]}
    assert selected == {3, 5}


@pytest.mark.parametrize("known", [True, False])
def test_a_checkpoint_keeps_the_policy_of_the_best_member(tmp_path, known):
    """The best in episodes held out or, where these tell nothing, in training since the last visit."""
    told, listener = [1.0, -2.0, 5.0, 3.0], Listener()
    state = run(
        tmp_path,
        population(interval=100),
        4,
        listener,
        held_out=lambda variables: [{"utility": each if known else math.nan} for each in told],
    )
    means = [np.mean([row["utility"] for row in listener.rows[member::MEMBERS]]) for member in range(MEMBERS)]
    best = int(np.argmax(told if known else means))
    about = checkpoint.read_about(tmp_path)
    assert about["member"] == best
    assert about["utility"] == pytest.approx(max(told if known else means))
    kept = jax.tree.map(lambda leaf: leaf[best], population().learner.policy_variables(state))
    assert about["checksums"]["policy"] == checkpoint.checksum(checkpoint.pack(kept))


def poisoned(first):
    """From its third update on, every member is lost whose number in order of learning rates is at least `first`."""
    return Climber(poison=lambda made, hyper: (made == 2) & (hyper.learning_rate >= first))


def test_training_goes_on_while_a_member_is_whole_and_never_keeps_a_lost_one(tmp_path):
    rates = np.asarray(population().init().members.hyperparameters.learning_rate)
    trained = population(poisoned(float(np.sort(rates)[1])), interval=5)
    listener = Listener()
    # the lost members do best in the episodes held out: an actor of NaNs still acts
    judge = {"held_out": lambda variables: [{"utility": -1.0 if rate == rates.min() else 9.0} for rate in rates]}
    run(tmp_path, trained, 4, listener, **judge)
    assert checkpoint.read_about(tmp_path)["member"] == int(np.argmin(rates))
    assert math.isfinite(listener.progress[-1].utility)
    healed = run(tmp_path / "longer", trained, 8)
    assert np.isfinite(healed.members.params).all()
    with pytest.raises(DivergedError, match=r"stopped at update 3: utility is nan .*none of which is whole"):
        run(tmp_path / "all", population(poisoned(0.0), interval=5), 8)


def test_ancestors_are_followed_through_every_selection():
    parents = [[0, 1, 2], [0, 0, 2], [0, 1, 1], [2, 1, 2]]  # of three members, in four updates
    rows = [
        {"update": u + 1, "seed": member, "parent": float(parent), "utility": 10.0 * u + member}
        for u, line in enumerate(parents)
        for member, parent in enumerate(line)
    ]
    line = lineage.ancestors(rows, 0, 4)
    assert line == {4: 0, 3: 2, 2: 1, 1: 0}
    assert [(row["seed"], row["utility"]) for row in lineage.along(line, rows)] == [(0, 0), (0, 11), (0, 22), (0, 30)]


# The launcher


@pytest.fixture(scope="module")
def finished(shared):
    from train.__main__ import main

    given = [*RUN, "learner.schedule_updates=12", "evaluation.enabled=false"]
    return once(shared / "population", lambda folder: main([*given, f"run_dir={folder}"]))


def test_the_best_member_is_kept_and_everything_about_it_is_written(finished):
    step = checkpoint.best_step(finished / "checkpoints")
    about = checkpoint.read_about(finished, step)
    held_out = [row for row in metrics_file.read(finished, metrics_file.HELD_OUT) if row["update"] == step]
    assert len(held_out) == MEMBERS
    assert about["member"] == int(np.argmax([row["utility"] for row in held_out]))
    assert about["utility"] == max(row["utility"] for row in held_out)
    told = json.loads((finished / "provenance.json").read_text(encoding="utf-8"))["resolved"]["learner"]
    assert told["population"] == MEMBERS
    assert told["evolution"]["explored"] == ["learning_rate", "final_learning_rate", "entropy_coef"]


def test_curve_and_figure_follow_the_ancestors_of_the_best(finished):
    step = checkpoint.best_step(finished / "checkpoints")
    learner = PopulationBasedTraining(Climber(), MEMBERS, Evolution(explored=("learning_rate",)))
    (rows, held_out), figures = lineage.curves(finished, step, Population(learner, 0, 1))
    best = max(row["utility"] for row in metrics_file.read(finished, metrics_file.HELD_OUT) if row["update"] == step)
    assert [row["update"] for row in rows] == list(range(1, step + 1))
    assert held_out[-1]["utility"] == best and {row["seed"] for row in (*rows, *held_out)} == {0}
    first, second = figures["population"][1].axes
    for axes, name in ((first, "utility"), (second, "hyperparameters/learning_rate")):
        followed = axes.lines[MEMBERS]
        np.testing.assert_array_equal(followed.get_ydata(), [row[name] for row in rows])


def test_the_policy_loaded_is_the_best_members(finished):
    loaded = jaxdlb.load_policy(finished)
    assert loaded.name == "learned"
    with pytest.raises(ValueError, match="seed is 1"):
        jaxdlb.load_policy(finished, seed=1)


def test_a_run_resumed_across_a_selection_ends_the_same_bit_for_bit(finished, train, here):
    run = shutil.copytree(finished, here / "run")
    outcome = train("resume=run", "resume_step=8")
    assert outcome.status == 0, outcome.err
    assert checkpoint.read_about(run, 12) == checkpoint.read_about(finished, 12)
    rows, whole = (
        [{name: value for name, value in row.items() if name != "seconds"} for row in metrics_file.read(folder)]
        for folder in (run, finished)
    )
    assert rows == whole
    assert {row["update"] for row in rows if row["parent"] != row["seed"]} == {4, 7, 10}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["learner.population=1"], "learner.population is 1; it must be an integer ≥ 2"),
        (
            ["learner.population=4", "learner.num_seeds=2"],
            "learner.num_seeds is 2; it must be 1 with learner.population",
        ),
        (
            ["learner.population=4", "learner.evolution.fraction=0.6"],
            "learner.evolution.fraction is 0.6; it must be a finite number in (0, 0.5]",
        ),
        (
            ["learner.population=4", "learner.evolution.explored=[num_envs]"],
            "learner.evolution.explored[0] is 'num_envs'; it must be one of learning_rate, ",
        ),
        (
            ["learner.population=4", "learner.evolution.explored=[final_entropy_coef]"],
            "learner.evolution.explored[0] is 'final_entropy_coef', which is 0 here; it must lie between the ends",
        ),
        (
            ["learner.evolution.interval=5"],
            "learner.evolution.interval is 5; it must not be given without learner.population",
        ),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(given, message, train, here):
    outcome = train(*TINY, *given)
    assert outcome.status == 2
    assert message in outcome.err and len(outcome.err.splitlines()) == 1
    assert not list(here.iterdir())
