"""Many clusters in one command: what is refused, what is run once, and how the table reads."""

import dataclasses
import json

import pytest
from command_line import TINY, files_of

from jaxdlb.evaluation.results import Evaluation, PolicyResult
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.game import Verdict
from train import build, compose, robustness, suites


@pytest.fixture
def robustly(train_launcher):
    return train_launcher("train.robustness")


def suite(folder, clusters):
    lines = [f"  {name}: {json.dumps(keys)}" for name, keys in clusters.items()]
    common = json.dumps(TINY)
    (folder / "suite.yaml").write_text(f"common: {common}\nclusters:\n" + "\n".join(lines) + "\n")
    return "suite=suite.yaml"


def test_every_cluster_is_trained_on_and_compared_once_and_one_that_was_cut_short_goes_on(robustly, here):
    given = [suite(here, {"calm one": ["game.params.load=0.3"], "as it is": []}), "output=all"]
    outcome = robustly(*given)
    assert outcome.status == 0, outcome.err
    assert {path.name for path in (here / "all").iterdir()} == {
        *("calm_one", "as_it_is"),
        *("robustness.json", "robustness.md"),
    }
    told = json.loads((here / "all" / "robustness.json").read_text())
    assert [each["played_on"] for each in told] == ["calm one", "as it is"]
    assert set(told[0]) == {"played_on", "utility", "response_time", "told"} and told[0]["told"] == []
    before = files_of(here / "all")
    assert robustly(*given).status == 0
    assert files_of(here / "all") == before

    (here / "all" / "as_it_is" / "evaluation.json").unlink()
    outcome = robustly(*given)
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("update 4/4") == 1
    assert (here / "all" / "as_it_is" / "evaluation.json").exists()


def test_the_policy_of_a_run_is_played_on_every_cluster(robustly, here, pointer_run):
    clusters = {"smaller": ["game.num_nodes=2"], "larger": ["game.num_nodes=4", "game.params.load=0.5"]}
    (here / "suite.yaml").write_text(json.dumps({"common": [], "clusters": clusters}))
    given = ["suite=suite.yaml", "output=all", f"checkpoint={pointer_run}"]
    outcome = robustly(*given)
    assert outcome.status == 0, outcome.err
    assert {path.name for path in (here / "all").iterdir()} == {"smaller", "larger", "robustness.json", "robustness.md"}
    assert not list((here / "all").glob("*/checkpoints"))
    larger = json.loads((here / "all" / "larger" / "evaluation.json").read_text())
    assert "learned" in {each["name"] for each in larger["results"]}
    before = files_of(here / "all")
    assert robustly(*given).status == 0
    assert files_of(here / "all") == before
    assert robustly("suite=suite.yaml", "output=other", "checkpoint=nowhere").status == 2
    assert not (here / "other").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("suite=nowhere.yaml", "suite is 'nowhere.yaml'; it must be a YAML file with common and clusters"),
        ("only=[busy,bussy]", "only holds 'bussy'; it must hold names of suite.yaml: busy"),
        ("game.num_nodes=0", "game.num_nodes is 0; it must be an integer ≥ 1"),
        ("colour=red", "colour is no known key"),
    ],
)
def test_what_is_wrong_is_refused_before_the_first_run(given, sentence, robustly, here):
    known = suite(here, {"busy": []})
    outcome = robustly(*([given] if given.startswith("suite") else [known, given]), "output=all")
    assert outcome.status == 2
    assert sentence in outcome.err and outcome.err.count("\n") == 1
    assert not (here / "all").exists()


def result(name, kind, utility, response, part_of=None):
    columns = {"utility": Estimate(*utility), "response_time": Estimate(*response)}
    return PolicyResult(name=name, kind=kind, columns=columns, differences={}, part_of=part_of)


RESULTS = (
    result("learned (2 seeds)", "learned", (-2.0, -2.2, -1.8), (4.0, 3.9, 4.1)),
    result("learned(seed=0)", "learned", (-1.9, -2.0, -1.8), (3.9, 3.8, 4.0), part_of="learned (2 seeds)"),
    result("balanced(d=1)", "heuristic", (-3.0, -3.1, -2.9), (5.0, 4.9, 5.1)),
    result("quick", "heuristic", (-9.0, -9.1, -8.9), (3.0, 2.9, 3.1)),
    result("oracle", "oracle", (-1.0, -1.1, -0.9), (1.0, 0.9, 1.1)),
)
COMPARED = Evaluation(
    results=RESULTS,
    best_heuristic="balanced(d=1)",
    columns={"utility": ("utility", ""), "response_time": ("response time, rounds", "")},
    num_episodes=2,
    num_rounds=3,
    warmup=1,
    settings={},
    verdicts={"response_time": Verdict(better="faster", worse="slower")},
)


def test_each_number_is_held_against_the_rule_that_is_best_in_it():
    assert COMPARED.learned[0].name == "learned (2 seeds)"
    assert robustness.best_rule(COMPARED, "utility").name == "balanced(d=1)"
    assert robustness.best_rule(COMPARED, "response_time").name == "quick"
    assert (robustness.standing(COMPARED, "utility"), robustness.standing(COMPARED, "response_time")) == (1, -1)
    (header, _, line, _) = robustness.to_markdown({"reference": COMPARED}).split("\n")
    assert "response time, rounds: best rule" in header
    assert "-3.00 ± 0.10, `balanced`" in line and "`quick` | behind |" in line


def test_what_ought_not_to_have_happened_is_told_of_the_cluster_where_it_did():
    warns = dataclasses.replace(COMPARED, warnings={"response_time": "They were slow"}, verdicts={})
    told = "busy: They were slow: response time up to 5 rounds, with balanced(d=1)."
    assert robustness.to_markdown({"calm": COMPARED, "busy": warns}).endswith(f" |\n\n{told}\n")
    assert [f"busy: {each['told'][0]}" for each in robustness.to_json({"busy": warns})] == [told]


def test_intervals_that_overlap_are_level():
    wide = result("learned (2 seeds)", "learned", (-2.0, -3.5, -0.5), (4.0, 2.5, 5.5))
    even = Evaluation(**{**vars(COMPARED), "results": (wide, *RESULTS[2:])})
    assert [robustness.standing(even, column) for column in ("utility", "response_time")] == [0, 0]


@pytest.mark.parametrize("path", ["conf/robustness.yaml", "conf/edge.yaml", "conf/cluster.yaml"])
def test_the_suites_that_come_with_the_project_are_right(path):
    common, clusters = suites.read(path)
    for keys in clusters.values():
        given = [*common, *keys]
        build.check(compose.settings(compose.from_conf(given), given))
