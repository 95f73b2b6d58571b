"""The simulator alone through the command line: what it writes, and what it refuses."""

import csv
import gzip
import json

import jax
import numpy as np
import pytest
from command_line import assert_refused
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from PIL import Image
from reference import ticking

from jaxdlb import evaluation
from train import build, comparison, compose, config, players
from train import simulate as simulation

SMALL = ("game.num_nodes=3", "evaluation.num_episodes=4", "duration=60")
OWN = ("game.name=reference.ticking:ENTRY", "game.num_workers=2", "game.params.pieces=5", "evaluation.num_episodes=4")
RULES = "policy=[local,{name: power_of_d, d: 2, weighted: true}]"


@pytest.fixture(autouse=True, scope="module")
def stranger():
    """The game of our own is known to the tests of this file alone."""
    yield
    repo = ConfigStore.instance().repo
    for group in (repo["game"], repo["schema"]["game"]):
        group.pop("reference_ticking_ENTRY.yaml", None)
    config._FOREIGN.clear()
    config.integer_keys.cache_clear()


@pytest.fixture
def simulate(train_launcher):
    return train_launcher("train.simulate")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def told(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_a_simulation_leaves_the_table_of_an_evaluation_and_the_recorded_cluster_over_time(simulate, here):
    outcome = simulate(*SMALL, RULES, "output=out", "evaluation.seed=7", "warmup=12")
    assert outcome.status == 0, outcome.err
    assert {path.relative_to(here / "out").as_posix() for path in (here / "out").rglob("*") if path.is_file()} == {
        *("config.yaml", "provenance.json", "evaluation.json", "samples.csv", "series.csv", "table.csv", "table.txt"),
        *("figures/timeline.png", "figures/loads.png"),
    }
    assert (here / "out" / "table.txt").read_text(encoding="utf-8") + "written to out\n" == outcome.out
    assert "4 episodes of duration 60, the first 12 left out" in " ".join(outcome.out.split())
    with Image.open(here / "out" / "figures" / "timeline.png") as picture:
        assert min(picture.size) > 800
    assert OmegaConf.load(here / "out" / "config.yaml").duration == 60.0
    found = told(here / "out", "provenance.json")
    assert found["resolved"]["evaluation"] == {
        **{"seed": 7, "num_episodes": 4, "warmup": 12.0, "duration": 60.0},
        "policies": ["local", "power_of_d(d=2, weighted)"],
    }
    (launch,) = found["launches"]
    assert launch["update"] is None and launch["command"].startswith("python -m train.simulate game.num_nodes=3 ")

    settings = compose.settings(compose.from_conf(SMALL[:2]), [])
    scenario = build.scenario(settings.game)
    rules = build.heuristics(["local", {"name": "power_of_d", "d": 2, "weighted": True}], scenario.entry.heuristics)
    sizes = {"num_episodes": 4, "num_rounds": 60, "warmup": 12}
    expected = evaluation.compare(scenario.game, rules, scenario.test, jax.random.key(7), **sizes)
    result = evaluation.from_json(told(here / "out", "evaluation.json"))
    assert (result.results, result.bounds) == (expected.results, expected.bounds)
    assert (result.num_rounds, result.warmup, result.by_time) == (60, 12, True)
    for line, each in zip(rows_of(here / "out" / "table.csv"), expected.results, strict=True):
        assert line["policy"] == each.name
        assert float(line["response_time_high"]) == each.columns["response_time"].high
    recorded = comparison.record(scenario, rules[0], 7, 60).timesteps.metrics["total_load"]
    own = [row["total_load"] for row in rows_of(here / "out" / "series.csv") if row["policy"] == "local"]
    np.testing.assert_array_equal(np.array(own, float), recorded)


def test_a_game_of_a_users_own_plays_for_its_own_time(simulate, here):
    outcome = simulate(*OWN, "policy=[work,eager]", "duration=7.25", "output=out")
    assert outcome.status == 0, outcome.err
    rows = rows_of(here / "out" / "series_agents.csv")
    assert {row["agent"] for row in rows} == {"0", "1"}
    assert list(rows[0])[4:] == ["finished"]  # the histogram is left out
    scalars = rows_of(here / "out" / "series.csv")
    assert all(0 <= float(row["time"]) < 7.25 for row in scalars)
    assert {row["elapsed"] for row in scalars} == {"0.5", "1"}
    assert (here / "out" / "figures" / "timeline_agents.png").exists()
    result = evaluation.from_json(told(here / "out", "evaluation.json"))
    assert {each.name for each in result.results} == {"work", "eager(rest=3)"}


def test_one_policy_is_judged_by_nobody_and_its_folder_made(simulate, here):
    outcome = simulate(*OWN, "policy=work", "duration=30", "runs_dir=mine", "game.params.tiring=false")
    assert outcome.status == 0, outcome.err
    assert "best heuristic" not in outcome.out
    (folder,) = (here / "mine").iterdir()
    assert folder.name.endswith("_simulated")
    assert told(folder, "evaluation.json")["best_heuristic"] is None


def test_the_warm_up_is_the_games_share_of_the_duration():
    plan = simulation.prepare([*SMALL, "policy=local"])
    assert plan.warmup == 6.0
    assert simulation.prepare([*OWN, "policy=work", "duration=50"]).warmup == 0.0


def test_a_heuristic_is_tuned_only_if_that_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(comparison, "tuned", lambda *given: asked.append(given[2]) or {"eager": ticking.eager(4)})
    scenario = simulation.prepare([*OWN, "policy=work", "duration=9"]).scenario
    for tune, rests in ((False, 3), (True, 4)):
        wanted = ["eager", {"name": "eager", "rest": 2}]
        found = players.policies(wanted, None, scenario, None, tune=tune)
        assert [each.name for each in found] == [f"eager(rest={rests})", "eager(rest=2)"]
    assert [list(each) for each in asked] == [["eager"]]


def test_a_learned_policy_plays_from_its_run_beside_a_rule(pointer_run, simulate, here):
    given = [f"checkpoint={pointer_run}", "policy=[learned,local]", "duration=40", "output=out"]
    outcome = simulate(*given, "game.num_nodes=4", "evaluation.num_episodes=2")
    assert outcome.status == 0, outcome.err
    assert "learned" in outcome.out and "the best heuristic, local" in " ".join(outcome.out.split())
    assert {row["policy"] for row in rows_of(here / "out" / "series.csv")} == {"learned", "local"}
    (launch,) = told(here / "out", "provenance.json")["launches"]
    assert launch["update"] in range(4, 21)


BAD = {
    "": "policy is not given; it must be, as policy=…",
    "policy=local": "duration is not given; it must be, as duration=…",
    "policy=local duration=soon": "duration is 'soon'; it must be a number",
    "policy=local duration=0": "duration is 0; it must be a finite number > 0",
    "policy=local duration=nan": "duration is nan; it must be a finite number > 0",
    "policy=local duration=50 warmup=50": "warmup is 50; it must be below duration, which is 50",
    "policy=local duration=50 warmup=-1": "warmup is -1; it must be a finite number ≥ 0",
    "policy=local duration=50 evaluation.num_rounds=40": "evaluation.num_rounds is given; it must not be, since",
    "policy=local duration=50 plots=[timelines]": "plots is 'timelines'; it must be one of",
    "policy=locale duration=50": "policy is 'locale'; it must be one of",
    "policy=[local,local] duration=50": "policy holds 'local' twice; every policy must have a name of its own",
    "policy=[] duration=50": "policy is empty; it must be learned, a heuristic, or a list of these",
    "policy=learned duration=50": "checkpoint is not given; it must be where policy is learned",
    "policy=local duration=50 output=full": "output is 'full'; it must be a new or empty folder",
    "policy=local duration=50 durations=3": "durations is no known key",
    "policy=local duration=50 checkpoint=nowhere": "checkpoint is 'nowhere'; it must be the folder of a run",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_of_a_simulation_is_refused_in_a_sentence(given, simulate, here):
    (here / "full").mkdir()
    (here / "full" / "file").write_text("")
    outcome = simulate(*given.split())
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert BAD[given] in outcome.err
    assert [path.name for path in here.rglob("*")] == ["full", "file"]


def test_a_duration_that_is_never_reached_is_refused(simulate, here, monkeypatch):
    monkeypatch.setattr("jaxdlb.evaluation.series.MOST_STEPS", 20)
    outcome = simulate(*OWN, "policy=idle", "duration=60")
    assert outcome.status == 2, outcome
    assert "duration is 60; it must be what can be reached: 20 steps of idle took a time of 20" in outcome.err
    assert list(here.iterdir()) == []


def test_help_tells_the_keys(simulate):
    outcome = simulate("--help")
    assert outcome.status == 0
    assert "duration: null" in outcome.out and "in the game's own unit of time" in outcome.out


def test_statistics_tell_of_every_agent_in_every_step(simulate, here):
    sizes = ("game=edge_two", "evaluation.num_episodes=2", "evaluation.recorded_rounds=4", "duration=4")
    assert simulate(*sizes, "policy={name: local_first, headroom: 0.5}", "output=out", "statistics=true").status == 0
    assert {path.name for path in (here / "out" / "statistics").iterdir()} == {
        f"local_first(headroom=0.5)_{episode}.csv.gz" for episode in range(2)
    }
    for sample in rows_of(here / "out" / "samples.csv"):
        with gzip.open(here / "out" / "statistics" / f"{sample['policy']}_{sample['episode']}.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 4 * 2
        came, sent = (sum(float(row[name]) for row in rows) for name in ("input_rate", "forwarded"))
        assert sent / came == pytest.approx(float(sample["forward_share"]), rel=1e-6)


def test_statistics_of_a_game_that_does_not_tell_them_are_refused(simulate, here):
    assert_refused(simulate(*SMALL, RULES, "statistics=true"), "game.name is 'dlb'; it must be a game that tells what")
    assert list(here.iterdir()) == []
