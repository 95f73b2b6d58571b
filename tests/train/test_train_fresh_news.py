"""`evaluation.fresh_news`: the same learner trained once more with fresh news, and the row that it gives a comparison."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from command_line import ROUNDS, TINY, assert_refused, files_of, once

from jaxdlb import checkpoint, evaluation
from train import build, compose, evaluated, fresh_news, launch, resuming
from train.__main__ import main
from train.loggers import Console, metrics_file

LINE = (*TINY, f"total_agent_rounds={12 * ROUNDS}", "evaluation.held_out_episodes=0", "evaluation.heuristics=[local]")
ASKED = (*LINE, "evaluation.fresh_news=true")
ROW = "learned(fresh news)"


def evaluation_of(folder):
    return evaluation.from_json(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def whole(shared):
    """A finished run with the row; no test writes to it."""
    return once(shared / "fresh_news_run", lambda run: main([*ASKED, f"run_dir={run}"]))


@pytest.fixture
def run(whole, here):
    return shutil.copytree(whole, here / "run")


def test_it_learns_and_plays_bit_for_bit_as_a_run_of_its_own_where_news_is_fresh(whole, train, here):
    outcome = train(*LINE, "game.params.heartbeat_period=1", "run_dir=alone")
    assert outcome.status == 0, outcome.err
    within, alone = whole / fresh_news.FOLDER, here / "alone"
    assert checkpoint.read_about(within) == checkpoint.read_about(alone)
    timeless = [[{**row, "seconds": 0} for row in metrics_file.read(each)] for each in (within, alone)]
    assert timeless[0] == timeless[1] and len(timeless[0]) == 12
    with_row, of_its_own = evaluated.read(str(whole)), evaluated.read(str(alone))
    for column, values in with_row.samples[ROW].items():
        np.testing.assert_array_equal(values, of_its_own.samples["learned"][column])
    told = with_row.result.staleness
    assert (told.of, told.fresh) == ("learned", ROW)
    ours, theirs = (with_row.samples[name]["utility"] for name in ("learned", ROW))
    assert told.differences["utility"] == evaluation.paired_difference(ours, theirs)
    assert [each.name for each in with_row.rules] == ["local"]
    assert checkpoint.read_about(whole)["checksums"] != checkpoint.read_about(within)["checksums"]


@pytest.fixture
def stopped(train, here, monkeypatch):
    """A run that gets a SIGTERM while it trains with fresh news, and what it came to."""
    with monkeypatch.context() as patch:
        usual = Console.interval

        def interval(console, rows, progress):
            usual(console, rows, progress)
            if (here / "run" / fresh_news.FOLDER).exists() and progress.update == 4:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Console, "interval", interval)
        return train(*ASKED, "resume=auto", "run_dir=run")


def test_a_run_stopped_while_it_trains_with_fresh_news_goes_on_with_that_and_ends_the_same(stopped, whole, train, here):
    assert (stopped.status, stopped.out) == (143, "")
    assert "stopped by SIGTERM after update 4; to go on: the same command line" in stopped.err
    assert checkpoint.steps(here / "run" / fresh_news.FOLDER / "checkpoints") == [4]
    before = files_of(here / "run" / "checkpoints")
    outcome = train(*ASKED, "resume=auto", "run_dir=run")
    assert outcome.status == 0, outcome.err
    assert [line for line in outcome.err.splitlines() if "compiling" in line] == [
        "update 12/12, compiling",
        "update 4/12, compiling",
    ]
    assert files_of(here / "run" / "checkpoints") == before
    assert checkpoint.read_about(here / "run" / fresh_news.FOLDER) == checkpoint.read_about(whole / fresh_news.FOLDER)
    assert evaluation_of(here / "run") == evaluation_of(whole)


def test_what_is_whole_is_not_trained_again(run, train, monkeypatch):
    outcome = train(*ASKED, "resume=auto", "run_dir=run")
    assert (outcome.status, outcome.out) == (0, "the run in run has finished, after update 12; nothing is left to do\n")
    monkeypatch.setattr(launch, "_train_with_fresh_news", lambda *_: pytest.fail("it is whole"))
    monkeypatch.setattr(launch, "_evaluate", lambda *_: None)
    (run / "evaluation.json").unlink()
    assert train("resume=run").status == 0


def test_a_comparison_without_the_row_that_is_asked_for_is_not_all(whole, here):
    settings = compose.settings(compose.from_conf([*ASKED]), [])
    assert resuming.is_evaluated(whole, settings, 12 * ROUNDS)
    found = json.loads((whole / "evaluation.json").read_text(encoding="utf-8"))
    (here / "evaluation.json").write_text(json.dumps({**found, "staleness": None}))
    assert not resuming.is_evaluated(here, settings, 12 * ROUNDS)


def test_a_longer_run_trains_it_longer_too(run, train, monkeypatch):
    monkeypatch.setattr(launch, "_evaluate", lambda *_: None)
    outcome = train("resume=run", f"total_agent_rounds={16 * ROUNDS}")
    assert outcome.status == 0, outcome.err
    assert [checkpoint.steps(each / "checkpoints")[-1] for each in (run, run / fresh_news.FOLDER)] == [16, 16]


def test_evaluated_again_the_run_has_the_row_again(whole, evaluate_, here):
    outcome = evaluate_(f"checkpoint={whole}", "output=again")
    assert outcome.status == 0, outcome.err
    assert (here / "again" / "table.txt").read_bytes() == (whole / "table.txt").read_bytes()


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


FRESH = "game.params.heartbeat_period=1"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([FRESH], "evaluation.fresh_news is true; it must be false where news is fresh already"),
        (
            ["game.randomise.heartbeat_period=[1,1]", "game.randomise.load=[0.5,0.9]"],
            "evaluation.fresh_news is true; it must be false where news is fresh already",
        ),
        (["game=rack"], "evaluation.fresh_news is true; it must be false in rack, which does not say what fresh news"),
    ],
)
def test_where_there_is_no_price_to_tell_the_key_is_refused(given, sentence, train, here):
    assert_refused(train(*ASKED, *given), sentence)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("given", [["game.params.heartbeat_delay=1", FRESH], ["game.randomise.heartbeat_period=[1,2]"]])
def test_where_some_news_is_stale_there_is_a_price(given):
    settings = compose.settings(compose.from_conf([*ASKED, *given]), [])
    fresh_news.check(settings, build.scenario(settings.game))


def test_a_run_that_has_not_trained_it_cannot_be_evaluated_with_it(mlp_run, evaluate_, here):
    outcome = evaluate_(f"checkpoint={mlp_run}", "evaluation.fresh_news=true")
    assert_refused(outcome, "evaluation.fresh_news is true; it must be false where the run has trained nothing with")
    assert list(here.iterdir()) == []
