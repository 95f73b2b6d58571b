"""Certificates through the command line: what is written, what is refused, and the optimal row of a comparison."""

import json
import shlex

import numpy as np
import pytest
from command_line import TINY, assert_refused
from omegaconf import OmegaConf

import jaxdlb
from jaxdlb import checkpoint, evaluation
from jaxdlb.theory import chain as chains
from jaxdlb.theory import optimal
from train import build, certify, comparison, compose, launch

SMALL = ("game.capacity=3", "evaluation.heuristics=[local,round_robin,{name: power_of_d, d: 1, weighted: true}]")
OF_RUN = ("game.num_nodes=2", "game.capacity=3", "game.params.completion_prob=[0.3,0.6]")
FRESH = ("game.params.heartbeat_period=1", "game.params.transfer_delay=0")


@pytest.fixture
def certify_(train_launcher):
    return train_launcher("train.certify")


def told(folder, name="certificate.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


WRITTEN = {
    *("certificate.txt", "certificate.json", "config.yaml", "provenance.json"),
    *("figures/switching.png", "figures/gaps.png"),
}


def test_a_certificate_without_a_run_is_of_the_heuristics_as_the_solver_has_them(certify_, here):
    outcome = certify_(*SMALL, "output=out")
    assert outcome.status == 0, outcome.err
    assert files(here / "out") == WRITTEN
    assert (here / "out" / "certificate.txt").read_text() + "written to out\n" == outcome.out
    found = told(here / "out")
    plan = certify.prepare(list(SMALL))
    assert plan.folder.name.endswith("_dlb_certified")
    chain = chains.build(plan.exact)
    assert found["team"][0] <= optimal.team(chain)[0].average <= found["team"][1]
    assert found["centralised"][0] <= optimal.centralised(chain).average <= found["centralised"][1]
    assert [line["name"] for line in found["lines"]] == ["team optimum", "power_of_d(d=1, weighted)", "local"]
    assert [line["kind"] for line in found["lines"]] == ["optimal", "heuristic", "heuristic"]
    for line in found["lines"][1:]:
        name, _, options = line["name"].partition("(")
        policy = jaxdlb.heuristic(name, **({"d": 1, "weighted": True} if options else {}))
        (values,) = chains.evaluate(chain, chain.joint(chain.weights(policy)))
        assert line["utility"] == pytest.approx(values.average, rel=1e-12)
        assert f" {line['name']} " in outcome.out and f" {values.average:.5f} " in outcome.out
    assert found["left_out"] == {"round_robin": "it must not remember, for its probabilities to be known"}
    assert "Not certified: round_robin (it must not remember" in outcome.out
    assert found["num_states"] == 32 and found["instance"]["parameters"]["completion_prob"] == [0.3, 0.6]
    (launch,) = told(here / "out", "provenance.json")["launches"]
    assert launch["update"] is None and launch["command"].startswith("python -m train.certify game.capacity=3 ")
    assert OmegaConf.load(here / "out" / "config.yaml").game.capacity == 3


def test_the_policy_of_a_run_on_a_larger_cluster_is_certified_on_a_small_one(pointer_run, certify_, here):
    """Of three nodes, all of which it keeps, with stale news and delays: by the keys that a refusal names, or alone."""
    refused = certify_(f"checkpoint={pointer_run}", "game.params.heartbeat_period=10")
    sentence = "game.params.heartbeat_period is 10; it must be 1 for an exact solution; what would make a small game"
    assert_refused(refused, sentence)
    named = shlex.split(refused.err.partition("first nodes: ")[2])
    assert named == ["game.capacity=6", *FRESH]
    for given in ([*named], []):
        plan = certify.prepare([f"checkpoint={pointer_run}", *given])
        assert (plan.scenario.game.num_nodes, plan.exact.most) == (3, 6)
        assert plan.cut == ([] if given else named)
    assert "of whose first nodes this one is made: game.capacity=6 " in certify._told(plan.cut)[0]
    assert list(here.iterdir()) == []

    outcome = certify_(f"checkpoint={pointer_run}", *OF_RUN, *FRESH, "output=out", "evaluation.actions=[drawn,greedy]")
    assert outcome.status == 0, outcome.err
    assert files(here / "out") == WRITTEN
    found = {line["name"]: line for line in told(here / "out")["lines"]}
    plan = certify.prepare([f"checkpoint={pointer_run}", *OF_RUN, *FRESH])
    assert plan.folder.parent == pointer_run / certify.FOLDER
    chain = chains.build(plan.exact)
    best = optimal.team(chain)[0].average
    for greedy in (False, True):
        (policy,) = checkpoint.load_policies(pointer_run / "checkpoints", game=chain.common.game, greedy=greedy)
        (values,) = chains.evaluate(chain, chain.joint(chain.weights(policy)))
        line = found[policy.name]
        assert (line["kind"], line["utility"]) == ("learned", pytest.approx(values.average, rel=1e-6))
        assert line["gap"] == pytest.approx(values.average / best - 1, rel=1e-5)
        assert f"{policy.name} is not near-optimal, {100 * line['gap']:.3f}%" in outcome.out
    (launch,) = told(here / "out", "provenance.json")["launches"]
    assert launch["update"] in range(4, 21)


GIVEN = ("game=dlb", "game.num_nodes=2", "game.capacity=4", *FRESH)  # the same, one key wrong
EXACT = "for an exact solution; what would make a small game of its first nodes: "
REFUSED = {
    "game.params.heartbeat_period=5": f"heartbeat_period is 5; it must be 1 {EXACT}game.params.heartbeat_period=1",
    "game.params.transfer_delay=2": f"transfer_delay is 2; it must be 0 {EXACT}game.params.transfer_delay=0",
    "game.params.heartbeat_delay=1": f"heartbeat_delay is 1; it must be 0 {EXACT}game.params.heartbeat_delay=0",
    "game.heartbeats=per_link game.params.heartbeat_loss=0.25": f"heartbeat_loss is 0.25; it must be 0 {EXACT}"
    "game.params.heartbeat_loss=0",
    "game.params.failure_prob=0.5": f"failure_prob is [0.5, 0.5]; it must be 0 {EXACT}game.params.failure_prob=0",
    "game.params.arrival_modulation.kind=sinusoidal": "game.params.arrival_modulation.kind is 'sinusoidal'; it must be "
    f"'constant' {EXACT}game.params.arrival_modulation.kind=constant",
    "game.params.arrival_prob=[1.0,0.1]": "game.params.arrival_prob is [1, 0.1]; it must be below 1 for an exact",
    "game.randomise.load=[0.5,0.9]": "game.randomise is given; it must not be for an exact solution, which is of one "
    "cluster; what would make a small game of its first nodes: game.randomise.load=null",
    "game.capacity=200": "game.capacity is 200; with 2 nodes that makes 80,802 states of 81 joint choices, 147 GiB, "
    "and it must fit into 4 GiB: at 2 nodes a capacity of 80 would fit; what would make a small game of its first "
    "nodes: game.capacity=12",
    "game.num_nodes=1000": "about 10^702 states of about 10^6001 joint choices, about 10^6697 GiB, and it must fit "
    "into 4 GiB: fewer nodes would; what would make a small game of its first nodes: game.num_nodes=2 "
    "'game.params.completion_prob=[0.2,0.2007]'",
    "game.num_nodes=3 game.params.completion_prob=[0.2,0.4]": "game.params.completion_prob",
    "game.num_nodes=1": "game.num_nodes is 1; it must be at least 2 for a certificate, since one alone chooses nothing",
    "game=rack": "game.name is 'rack'; it must be a game that can be solved exactly",
    "checkpoint=nowhere": "checkpoint is 'nowhere'; it must be the folder of a run",
    "output=full": "output is 'full'; it must be a new or empty folder",
    "capacity=3": "capacity is no known key",
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_cannot_be_certified_is_refused_in_a_sentence_before_anything_is_built(given, certify_, here, monkeypatch):
    monkeypatch.setattr(chains, "build", None)
    (here / "full").mkdir()
    (here / "full" / "file").write_text("")
    common = () if given == "game=rack" else GIVEN
    assert_refused(certify_(*common, *given.split()), REFUSED[given])
    assert [path.name for path in here.rglob("*")] == ["full", "file"]


LARGER = (
    ["game=dlb_randomised", "game.num_nodes=16", "game.params.failure_prob=0.01"],
    [
        *("game=dlb", "game.num_nodes=4", "game.params.completion_prob=[0.2,0.4,0.6,0.8]", "game.params.load=0.4"),
        *("game.trace.path=trace.csv", "game.params.heartbeat_phase=[0,1,2,3]", "game.params.initial_load=2"),
    ],
)


@pytest.mark.parametrize("given", LARGER)
def test_the_keys_that_a_refusal_names_make_the_game_small_and_keep_rates(given, here):
    lines = [f"{60 * k},{1 + k % 3}\n" for k in range(40)]
    (here / "trace.csv").write_text("timestamp,value\n" + "".join(lines))
    with pytest.raises(ValueError, match="what would make a small game") as refused:
        certify.prepare(given)
    plan = certify.prepare([*given, *shlex.split(str(refused.value).partition("first nodes: ")[2])])
    whole = build.scenario(compose.settings(compose.from_conf(given), given).game)
    own, of_whole = (np.asarray(each.params.completion_prob)[:2] for each in (plan.scenario, whole))
    np.testing.assert_allclose(own, of_whole, rtol=1e-3)
    load = 0.4 if "game.params.load=0.4" in given else None
    assert (plan.scenario.game.num_nodes, plan.settings.game.params.load) == (2, load)


# The optimal row of a comparison

RULE = "evaluation.heuristics=[{name: power_of_d, d: 2, weighted: true}]"
FEW = (
    "evaluation.num_episodes=16",
    "evaluation.num_rounds=400",
    "evaluation.warmup=100",
    "evaluation.recorded_rounds=20",
)


def test_the_team_optimum_has_a_row_wherever_the_game_is_small_enough(pointer_run, evaluate_, here):
    outcome = evaluate_(f"checkpoint={pointer_run}", *OF_RUN, *FRESH, *FEW, "output=out", RULE)
    assert outcome.status == 0, outcome.err
    (row,) = [line for line in outcome.out.splitlines() if line.startswith("=")]
    assert row.startswith("= team optimum ")
    result = evaluation.from_json(told(here / "out", "evaluation.json"))
    assert result.results[0].name == "team optimum" and result.results[0].kind == "optimal"
    assert result.best_heuristic != "team optimum"
    common = certify.prepare(["game.capacity=3", "game.params.load=0.9"]).exact  # the same cluster
    exact, measured = optimal.team(chains.build(common))[0].average, result.results[0].columns["utility"]
    assert abs(exact - measured.mean) < 2 * measured.half_width
    report = (here / "out" / "report.html").read_text(encoding="utf-8")
    assert "team optimum" in report and "optimal" in report
    assert "team optimum" in (here / "out" / "samples.csv").read_text()


def test_a_run_ends_with_the_same_rows(pointer_run, monkeypatch):
    given = [*TINY, "network=pointer", *OF_RUN, *FRESH]
    seen = []

    def compare(scenario, settings, rules, learned, about, fresh):
        seen.extend(rules)
        raise InterruptedError  # enough is known

    monkeypatch.setattr(comparison, "compare", compare)
    with pytest.raises(InterruptedError):
        launch._evaluate(launch.prepare(compose.from_conf(given), given), pointer_run, [])
    assert [each.kind for each in seen] == ["heuristic", "heuristic", "optimal"]


def test_no_optimum_is_looked_for_where_the_game_is_not_covered(monkeypatch):
    monkeypatch.setattr("train.comparison.team", None)
    fresh = ["game=dlb_certified"]
    for given in (["game=dlb"], ["game=rack"], [*fresh, "game.capacity=64"], [*fresh, "game.randomise.load=[0.5,0.9]"]):
        scenario = build.scenario(compose.settings(compose.from_conf(given), given).game)
        assert comparison.optimal(scenario) == []
