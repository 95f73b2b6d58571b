"""`evaluation.fresh_news`: the same learner trained once more with fresh news, for a row of a run's comparison."""

import contextlib
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from command_line import ROUNDS, TINY, assert_refused, files_of, once

from jaxdlb import checkpoint, evaluation
from train import build, comparison, compose, evaluate, evaluated, fresh_news, launch, resuming
from train.__main__ import main
from train.loggers import Console, metrics_file, weights_and_biases

LINE = (*TINY, f"total_agent_rounds={12 * ROUNDS}", "evaluation.held_out_episodes=0")
ASKED = (*LINE, "evaluation.fresh_news=true")
FRESH = "game.params.heartbeat_period=1"
ROW = "learned(fresh news)"


def stopped_and_gone_on_with(run):
    """Ask for the row of a run that has trained, have it get a SIGTERM meanwhile, and ask by the same line again."""
    usual, line = Console.interval, [*ASKED, "resume=auto", f"run_dir={run}"]
    before = files_of(run / checkpoint.FOLDER)

    def interval(console, rows, progress):
        usual(console, rows, progress)
        if progress.update == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Console, "interval", interval)
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            main(line)
    assert checkpoint.steps(run / fresh_news.FOLDER / checkpoint.FOLDER) == [4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "figures", lambda *_, **__: {})  # which take longer than all the rest
        status = main(line)
    assert files_of(run / checkpoint.FOLDER) == before
    return status


@pytest.fixture(scope="module")
def whole(mlp_run, shared):
    """A run with the row, that was stopped while it trained with fresh news; no test writes to it."""
    return once(shared / "fresh_news_run", lambda run: stopped_and_gone_on_with(shutil.copytree(mlp_run, run)))


@pytest.fixture
def run(whole, here):
    return shutil.copytree(whole, here / "run")


def test_it_learns_bit_for_bit_what_a_run_of_its_own_does_where_news_is_fresh(whole, train, here):
    outcome = train(*LINE, FRESH, "evaluation.enabled=false", "run_dir=alone")
    assert outcome.status == 0, outcome.err
    within, alone = whole / fresh_news.FOLDER, here / "alone"
    assert checkpoint.read_about(within) == checkpoint.read_about(alone)
    timeless = [[{**row, "seconds": 0} for row in metrics_file.read(each)] for each in (within, alone)]
    assert timeless[0] == timeless[1] and len(timeless[0]) == 12
    assert checkpoint.read_about(whole)["checksums"] != checkpoint.read_about(within)["checksums"]


def test_its_row_is_what_it_does_where_news_is_fresh_and_the_price_the_paired_difference(whole):
    read = evaluated.read(str(whole))
    (policy,) = checkpoint.load_policies(whole / fresh_news.FOLDER)
    params = policy.game.default_params(heartbeat_period=1)
    sizes = {"num_episodes": 4, "num_rounds": 60, "warmup": 10}
    samples = evaluation.evaluate(policy.game, policy, lambda key: params, jax.random.key(1), **sizes)
    for column, values in samples.items():
        np.testing.assert_array_equal(read.samples[ROW][column], values)
    told, ours = read.result.staleness, read.samples["learned"]["utility"]
    assert (told.of, told.fresh) == ("learned", ROW)
    assert told.differences["utility"] == evaluation.paired_difference(ours, samples["utility"])
    assert {each.kind for each in read.rules} == {"heuristic"}


def test_several_seeds_have_a_row_over_them_and_wandb_is_told_the_price(whole, monkeypatch):
    settings = compose.settings(compose.from_conf(ASKED), [])
    found = checkpoint.load_policies(whole / fresh_news.FOLDER)
    monkeypatch.setattr(checkpoint, "load_policies", lambda *_, **__: 2 * found)
    settings.evaluation.actions = ["greedy", "drawn"]
    rival = fresh_news.rival(whole, build.scenario(settings.game), settings.evaluation)
    assert (rival.of, rival.row) == ("learned(greedy) (2 seeds)", "learned(fresh news, greedy) (2 seeds)")
    assert [each.name for each in rival.policies] == [f"learned(fresh news, greedy, seed={seed})" for seed in range(2)]
    result = evaluated.read(str(whole)).result
    lost = weights_and_biases._summary(result)["evaluation/lost_by_stale_news/utility"]
    assert lost == result.staleness.differences["utility"].mean


def planned(*given):
    return launch.prepare(compose.from_conf(given), given)


def test_what_is_whole_is_not_trained_again_and_goes_on_where_the_run_is_to_be_longer(run, train):
    outcome = train(*ASKED, "resume=auto", "run_dir=run")
    assert (outcome.status, outcome.out) == (0, "the run in run has finished, after update 12; nothing is left to do\n")
    (run / "evaluation.json").unlink()
    assert planned("resume=run").fresh is None
    longer = planned("resume=run", f"total_agent_rounds={16 * ROUNDS}").fresh
    assert (longer.resumed.step, longer.schedule.num_updates) == (12, 16)


def test_a_comparison_without_the_row_that_is_asked_for_is_not_all(whole, here):
    settings = compose.settings(compose.from_conf([*ASKED]), [])
    assert resuming.is_evaluated(whole, settings, 12 * ROUNDS)
    found = json.loads((whole / "evaluation.json").read_text(encoding="utf-8"))
    (here / "evaluation.json").write_text(json.dumps({**found, "staleness": None}))
    assert not resuming.is_evaluated(here, settings, 12 * ROUNDS)


def test_evaluated_again_the_run_has_the_row_again(whole):
    plan = evaluate.prepare([f"checkpoint={whole}"])
    about = {"agent_rounds of training": 12 * ROUNDS}
    rules = comparison.heuristics(plan.scenario, plan.settings.evaluation)
    again = comparison.compare(plan.scenario, plan.settings.evaluation, rules, plan.learned, about, plan.fresh)
    assert evaluation.to_text(again) + "\n" == (whole / "table.txt").read_text(encoding="utf-8")


def test_what_the_run_alone_asks_for_is_left_out_with_a_warning_where_it_cannot_be(whole, run):
    shutil.rmtree(run / fresh_news.FOLDER)
    settings = compose.settings(compose.from_conf([*ASKED]), [])
    scenario = build.scenario(settings.game)
    with pytest.warns(UserWarning, match="the row of evaluation.fresh_news is left out where the run has trained noth"):
        assert fresh_news.rival_of_saved(run, scenario, settings.evaluation, []) is None
    elsewhere = build.scenario(compose.settings(compose.from_conf([*ASKED, FRESH]), []).game)
    with pytest.warns(UserWarning, match="the row of evaluation.fresh_news is left out where news is fresh already"):
        assert fresh_news.rival_of_saved(whole, elsewhere, settings.evaluation, []) is None
    settings.evaluation.fresh_news = False
    assert fresh_news.rival_of_saved(whole, scenario, settings.evaluation, []) is None


def test_where_there_is_no_price_to_tell_the_key_is_refused(train, here):
    sentence = "evaluation.fresh_news is true; it must be false where news is fresh already"
    assert_refused(train(*ASKED, FRESH), sentence)
    assert_refused(
        train(*ASKED, "game=rack"), sentence.replace("where news is fresh already", "in rack, which does no")
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "there_is"),
    [
        (["game.params.heartbeat_delay=1", FRESH], True),
        (["game.randomise.heartbeat_period=[1,2]", FRESH], True),
        (["game.randomise.heartbeat_period=[1,1]", "game.randomise.load=[0.5,0.9]"], False),
    ],
)
def test_there_is_a_price_where_some_news_is_stale(given, there_is):
    settings = compose.settings(compose.from_conf([*ASKED, *given]), [])
    with contextlib.nullcontext() if there_is else pytest.raises(ValueError, match="where news is fresh already"):
        fresh_news.check(settings, build.scenario(settings.game))


def test_a_run_that_has_not_trained_it_cannot_be_evaluated_with_it(mlp_run, evaluate_, here):
    outcome = evaluate_(f"checkpoint={mlp_run}", "evaluation.fresh_news=true")
    assert_refused(outcome, "evaluation.fresh_news is true; it must be false where the run has trained nothing with")
    assert list(here.iterdir()) == []
