"""Settings: every default is the library's own, and every choice under conf/ makes a run that can be planned."""

import dataclasses
from pathlib import Path

import jax
import pytest

from jaxdlb.games.dlb import DLB, Params, Ranges
from jaxdlb.learners import MAPPOConfig
from jaxdlb.mechanics import arrivals
from jaxdlb.networks import NetworkConfig
from train import build, compose, config, launch


def composed(*overrides):
    given = compose.from_conf(overrides)
    return compose.settings(given, overrides)


@pytest.fixture(scope="module")
def default():
    return composed()


@pytest.mark.parametrize(
    ("group", "library"), [("game", DLB), ("network", NetworkConfig), ("learner", MAPPOConfig)], ids=str
)
def test_defaults_are_those_of_the_library(default, group, library):
    settings = getattr(default, group)
    if group == "learner":
        assert settings.schedule_updates is None  # the run's own length, unless it is given
        settings = dataclasses.replace(settings, schedule_updates=MAPPOConfig().schedule_updates)
    assert build.library(library, settings) == library()


def test_every_parameter_and_range_of_the_game_can_be_set(default):
    assert {field.name for field in dataclasses.fields(Params)} < set(vars(default.game.params))
    assert set(vars(default.game.randomise)) == {field.name for field in dataclasses.fields(Ranges)}


def test_without_overrides_the_game_is_the_reference_cluster(default):
    scenario = build.scenario(default.game)
    reference = DLB().default_params()
    assert scenario.game == DLB()
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), scenario.train(jax.random.key(0)), reference))


@pytest.mark.parametrize("kind", list(config.MODULATIONS))
def test_every_law_of_arrivals_can_be_chosen_with_the_defaults_of_the_library(kind):
    scenario = build.scenario(composed(f"game/params/arrival_modulation={kind}").game)
    law = scenario.params.arrival_modulation
    expected = arrivals.as_arrays(config.MODULATIONS[kind]())
    assert type(law) is config.MODULATIONS[kind]
    assert jax.tree.leaves(law) == jax.tree.leaves(expected)


def test_a_parameter_of_each_node_is_one_number_or_a_list():
    for given, expected in {"0.5": [0.5, 0.5, 0.5], "[0.2,0.4,0.8]": [0.2, 0.4, 0.8]}.items():
        settings = composed("game.num_nodes=3", f"game.params.completion_prob={given}")
        assert build.scenario(settings.game).params.completion_prob.tolist() == pytest.approx(expected)


CHOICES = [
    f"{path.relative_to(config.CONF).parent}={path.stem}"
    for path in sorted(config.CONF.rglob("*.yaml"))
    if path.parent != config.CONF and path.stem != "dlb_trace"
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_under_conf_makes_a_run_that_can_be_planned(choice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    plan = launch.prepare(compose.from_conf([choice]), [choice])
    assert plan.schedule.num_updates >= 1
    assert list(tmp_path.iterdir()) == []


def test_ippo_is_mappo_with_a_critic_on_the_own_observation():
    mappo, ippo = composed("learner=mappo").learner, composed("learner=ippo").learner
    assert dataclasses.replace(ippo, name="mappo", critic="global_state") == mappo


def test_the_budget_is_spent_to_the_end_and_the_schedules_end_with_it():
    settings = composed("learner.num_envs=2", "learner.rollout_length=8", "game.num_nodes=5", "total_agent_rounds=161")
    scenario = build.scenario(settings.game)
    assert build.agent_rounds_per_update(settings, scenario.game) == 80
    assert build.num_updates(settings, scenario.game) == 3
    assert build.learner(settings, scenario).config.schedule_updates == 3


def test_a_saved_config_comes_back_as_it_was_and_groups_can_be_chosen_afresh(tmp_path):
    given = ["game.params.load=0.5", "game.num_nodes=4", "network=pointer", "game/params/arrival_modulation=step"]
    compose.save(compose.from_conf(given), tmp_path)
    again = compose.settings(compose.from_run(tmp_path, [], config.Settings), [])
    assert dataclasses.asdict(again) == dataclasses.asdict(composed(*given))
    fresh = compose.settings(compose.from_run(tmp_path, ["game=dlb"], config.Settings), ["game=dlb"])
    assert (fresh.game.params.load, fresh.game.num_nodes, fresh.network.kind) == (None, 8, "pointer")
    assert fresh.game.params.arrival_modulation.kind == "constant"


@pytest.mark.parametrize(("variable", "kept"), [("JAX_COMPILATION_CACHE_DIR", True), ("XDG_CACHE_HOME", False)])
def test_compiled_programs_are_kept_in_the_users_cache_unless_jax_is_told_otherwise(
    variable, kept, tmp_path, monkeypatch
):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        launch.use_compilation_cache()
        found = jax.config.jax_compilation_cache_dir
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found == (before if kept else str(Path(tmp_path) / "jaxdlb" / "xla"))
