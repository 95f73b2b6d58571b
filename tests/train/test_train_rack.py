"""The rack through the launchers: its presets, policies that cross over from `dlb` and back, and its warnings."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROUNDS, TINY, once

import jaxdlb
from jaxdlb import checkpoint, compilation, evaluation
from jaxdlb.games.rack.generator import expected_performance
from jaxdlb.mechanics.distributions import Constant, Exponential, Normal
from train import build, cli, compose
from train.__main__ import main

SMALL = ("game.num_nodes=3", "game.max_tasks=64", "game.max_cores=2", "game.max_io_cores=2", "game.max_arrivals=8")


@pytest.fixture(scope="session")
def rack_run(shared):
    """A finished run of a pointer network in the rack: 4 updates, not evaluated."""
    settings = [*TINY, "game=rack", *SMALL, "network=pointer", f"total_agent_rounds={4 * ROUNDS}"]
    settings += ["evaluation.enabled=false", "evaluation.held_out_episodes=0"]
    return once(shared / "rack_run", lambda run: main([*settings, f"run_dir={run}"]))


def scenario_of(*overrides):
    return build.scenario(compose.settings(compose.from_conf(overrides), overrides).game)


# Policies that cross over


def acts(policy, game):
    """Whether a policy gives legal actions in the first round of a game."""
    params = game.default_params()
    _, timestep = game.reset(jax.random.key(0), params)
    _, action = policy.act(jax.random.key(1), policy.init(game), timestep.observation, params)
    choice = jnp.take_along_axis(timestep.observation.legal.dispatch, action.dispatch[:, None], axis=-1)
    return action.dispatch.shape == (game.num_agents,) and bool(choice.all())


def test_a_policy_of_one_game_is_loaded_in_the_other(pointer_run, rack_run):
    rack, dlb = jaxdlb.make("rack", num_nodes=5), jaxdlb.make("dlb", num_nodes=5)
    assert jaxdlb.load_policy(pointer_run).game.name == "dlb" and jaxdlb.load_policy(rack_run).game.name == "rack"
    assert acts(jaxdlb.load_policy(pointer_run, game=rack), rack)
    assert acts(jaxdlb.load_policy(rack_run, game=dlb), dlb)


def test_the_same_observation_is_answered_alike_in_both_games(pointer_run):
    rack, dlb = jaxdlb.make("rack", num_nodes=3), jaxdlb.make("dlb", num_nodes=3)
    _, timestep = rack.reset(jax.random.key(0), rack.default_params(load=0.95))
    key = jax.random.key(2)
    actions = []
    for game in (rack, dlb):
        policy = jaxdlb.load_policy(pointer_run, game=game)
        actions.append(policy.act(key, policy.init(game), timestep.observation, None)[1])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), *actions))


def test_an_mlp_crosses_over_with_as_many_nodes_and_is_refused_with_others(mlp_run):
    rack = jaxdlb.make("rack", num_nodes=3)
    assert acts(jaxdlb.load_policy(mlp_run, game=rack), rack)
    with pytest.raises(
        ValueError, match=r"^the policy 'learned' does not fit rack with 4 agents: its parameters were "
    ):
        jaxdlb.load_policy(mlp_run, game=jaxdlb.make("rack", num_nodes=4))


LENGTHS = ("evaluation.num_rounds=40", "evaluation.warmup=10", "evaluation.heuristics=[local]")


def evaluated(outcome, folder):
    assert outcome.status == 0, outcome.err
    return evaluation.from_json(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


def test_a_run_in_dlb_is_evaluated_in_the_rack(pointer_run, evaluate_, here):
    outcome = evaluate_(f"checkpoint={pointer_run}", "output=there", "game=rack", *SMALL, *LENGTHS)
    result = evaluated(outcome, here / "there")
    assert {each.name for each in result.results} == {"learned", "local"}
    assert {"p99", "throughput"} <= set(result.columns)
    assert "game=rack" in (here / "there" / "provenance.json").read_text(encoding="utf-8")


def test_a_run_in_the_rack_is_evaluated_in_dlb(rack_run, evaluate_, here):
    result = evaluated(
        evaluate_(f"checkpoint={rack_run}", "output=back", "game=dlb", "game.num_nodes=4", *LENGTHS), here / "back"
    )
    assert {each.name for each in result.results} == {"learned", "local"}
    assert "p99" not in result.columns and result.settings["num_nodes"] == 4
    assert checkpoint.read_about(rack_run)["game"]["name"] == "rack"


def test_an_mlp_with_another_number_of_nodes_is_refused_in_a_sentence(mlp_run, evaluate_, here):
    outcome = evaluate_(f"checkpoint={mlp_run}", "output=there", "game=rack", "game.num_nodes=4", *LENGTHS)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith("the policy 'learned' does not fit rack with 4 agents: its parameters were trained ")
    assert list(here.iterdir()) == []


# Presets


def played(scenario, num_slices):
    """The metrics of some slices in which every node keeps what arrives: arrays [T, …]."""
    game = scenario.game
    itself = jnp.arange(game.num_nodes, dtype=jnp.int32)
    action = type(game.action_space)(dispatch=itself, steal=itself)

    @jax.jit
    def play(key, params):
        state, _ = game.reset(key, params)

        def slice(state, key):
            state, timestep = game.step(key, state, action, params)
            return state, timestep.metrics

        return jax.lax.scan(slice, state, jax.random.split(key, num_slices))[1]

    metrics = jax.tree.map(np.asarray, play(jax.random.key(3), scenario.test(jax.random.key(4))))
    assert all(np.isfinite(each).all() for each in metrics.values())
    return metrics


def test_the_two_nodes_are_those_of_the_source_system():
    scenario = scenario_of("game=rack_two_nodes")
    params = scenario.params
    performance = expected_performance(params)
    assert performance.tolist() == pytest.approx([64 / 7, 4 / 7], rel=1e-2)  # of tasks a ms: runtimes average about 7
    assert float(performance[0] / performance[1]) == pytest.approx(16)
    assert (float(params.arrival_rate), float(params.dt)) == (2.0, 1.0)
    assert isinstance(params.runtime, Normal) and isinstance(params.rate_variation, Normal)
    assert (float(params.runtime.center), float(params.runtime.std)) == (7.0, 3.0)
    assert (float(params.rate_variation.center), float(params.rate_variation.std)) == (1.0, 0.5)
    assert isinstance(params.io_time, Constant) and float(params.io_time.value) == 1.0
    assert isinstance(params.payload, Constant) and float(params.payload.value) == 128.0
    assert params.packet_overhead.tolist() == params.overhead.tolist() == [0.0, 0.0]
    assert params.bandwidth.tolist() == [1e9, 1e9]


def test_two_tasks_a_ms_arrive_at_the_two_nodes_on_average():
    """Poisson counts of a rate that varies by a half of its mean: a variance of 2 + 1 a slice; 4.5 standard errors."""
    arrivals = played(scenario_of("game=rack_two_nodes"), 400)["arrivals"]
    mean_rate = 2 * float(Normal(1.0, 0.5).mean())
    assert arrivals.mean() == pytest.approx(mean_rate, abs=4.5 * (3 / 400) ** 0.5)
    assert 2.3 < arrivals.var() < 3.8  # were the rate the same in all slices, it would be 2


@pytest.mark.parametrize(("preset", "speeds"), [("homogeneous", [1.0, 1.0]), ("heterogeneous", [0.5, 2.0])])
def test_the_racks_of_sixteen_have_the_speeds_and_the_load_they_claim(preset, speeds):
    scenario = scenario_of(f"game=rack_{preset}", "game.params.load=0.5")
    params = scenario.params
    assert (scenario.game.num_nodes, params.cores.tolist()) == (16, [8] * 16)
    np.testing.assert_allclose(params.core_perf, np.linspace(*speeds, 16), rtol=1e-6)
    np.testing.assert_allclose(params.io_perf, params.core_perf)
    assert isinstance(params.runtime, Exponential) and float(params.runtime.average) == pytest.approx(0.01)
    np.testing.assert_allclose(params.latency, 0.002, rtol=1e-6)
    assert float(params.heartbeat_period) == pytest.approx(0.05)
    rate = 0.5 * 8 * sum(np.linspace(*speeds, 16)) / 0.01
    assert float(params.arrival_rate) == pytest.approx(rate, rel=1e-5)
    metrics = played(scenario, 40)
    mean = rate * 0.001
    assert metrics["arrivals"].mean() == pytest.approx(mean, abs=4.5 * (mean / 40) ** 0.5)
    assert metrics["completions"].sum() > 0 and metrics["drops"].sum() == 0


@pytest.mark.parametrize("preset", ["rack_trace", "rack_llm"])
def test_presets_of_recordings_ask_for_one(preset, train, here):
    outcome = train(f"game={preset}")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("game.trace.path is not given; it must be the path of ")


def test_a_law_of_the_command_line_is_the_default_but_for_what_is_given():
    def law(name, *overrides):
        return getattr(scenario_of("game=rack", *overrides).params, name)

    assert float(law("runtime").average) == pytest.approx(0.01)
    assert float(law("runtime", "game.params.runtime.kind=exponential").average) == pytest.approx(0.01)
    assert float(law("runtime", "game.params.runtime.average=0.02").average) == pytest.approx(0.02)
    other = law("runtime", "game.params.runtime.kind=lognormal")
    assert (float(other.average), float(other.sigma)) == (1.0, 1.0)  # those of the law itself
    assert float(law("payload", "game.params.payload.kind=constant").value) == 512.0


# Warnings


def test_a_warning_for_users_stands_on_a_line_of_its_own_without_a_place_in_the_code(monkeypatch):
    monkeypatch.setattr(compilation, "tune_for_cpu", lambda: None)
    monkeypatch.setattr(compilation, "use_cache", lambda: None)
    monkeypatch.setattr(warnings, "formatwarning", as_usual := warnings.formatwarning)
    cli.tune()
    with pytest.warns(UserWarning) as given:
        scenario_of("game=rack", "game.params.load=1.5")
    (said,) = {warnings.formatwarning(each.message, each.category, "place.py", 3) for each in given}
    assert said.startswith("warning: the offered load is 1.5: more tasks arrive than the rack can complete, so queues ")
    assert said.count("\n") == 1 and said.endswith("are dropped\n") and ".py" not in said
    other = (RuntimeWarning("overflow"), RuntimeWarning, "place.py", 3)
    assert warnings.formatwarning(*other) == as_usual(*other)
