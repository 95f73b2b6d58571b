"""Settings: every default is the library's own, and every choice under conf/ makes a run that can be planned."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

import jaxdlb
from jaxdlb import compilation, evaluation
from jaxdlb.games import GAMES
from jaxdlb.games.dlb import DLB, Params
from jaxdlb.learners import LEARNERS, MAPPOConfig, credit
from jaxdlb.mechanics.arrivals import LAWS
from jaxdlb.networks import NetworkConfig
from jaxdlb.spaces import Box
from train import build, cli, compose, launch, paths, reference
from train.settings import Settings


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
        # Unless they are given: the run's own length, and what is chosen for the game.
        library_own = {name: getattr(MAPPOConfig(), name) for name in ("schedule_updates", *LEARNERS["mappo"].by_game)}
        assert all(getattr(settings, name) is None for name in library_own)
        settings = dataclasses.replace(settings, **library_own)
    assert build.library(library, settings) == library()


def test_every_parameter_and_range_of_the_game_can_be_set(default):
    names = {field.name for field in dataclasses.fields(Params)} | {"load"}
    assert set(vars(default.game.params)) == set(vars(default.game.randomise)) == names


def test_every_key_is_printed_with_its_default_and_what_it_means():
    printed = reference.keys(compose.from_conf([]))
    lines = {line.split(":")[0].strip(): line for line in reversed(printed.splitlines())}
    for name, default in {"migration_cost": "0.1", "horizon": "500", "num_nodes": "8", "gamma": "0.9"}.items():
        assert lines[name].split(":")[1].split("#")[0].strip() == default
    assert "null: linspace(0.2, 0.9, N)" in " ".join(printed.split()).replace("# ", "")
    silent = [line for line in printed.splitlines() if "#" not in line and not line.endswith(":")]
    assert not silent, silent


@pytest.mark.parametrize(
    "overrides", [[], ["experiment=farm"], ["evaluation.actions=[greedy]"], ["experiment=pods_headline"]]
)
def test_what_is_printed_is_yaml_that_reads_as_the_config(overrides):
    given = compose.from_conf(overrides)
    expected = {name: each for name, each in OmegaConf.to_container(given).items() if name != "hydra"}
    assert yaml.safe_load(reference.keys(given)) == expected


def test_every_game_and_learner_of_the_registries_can_be_chosen():
    for name in GAMES:
        assert composed(f"game={name}").game.name == name
    for name in LEARNERS:
        assert composed(f"learner={name}").learner.name == name


def test_a_name_chooses_its_group():
    settings = composed("learner.name=ippo", "logger.name=wandb", "logger.project=mine")
    assert (settings.learner.name, settings.learner.critic, settings.logger.project) == ("ippo", "observation", "mine")


def test_help_says_the_keys_that_the_rest_of_the_command_line_chooses():
    assert "project:" in cli.helped("", ["--help", "logger=wandb"]) and "project:" not in cli.helped("", ["-h"])


def test_fields_of_a_law_are_drawn_from_ranges():
    law = "game.params.arrival_modulation.kind=sinusoidal"
    scenario = build.scenario(composed(law, "game.randomise.arrival_modulation.period=[10,20]").game)
    periods = {float(scenario.train(jax.random.key(seed)).arrival_modulation.period) for seed in range(8)}
    assert len(periods) > 1 and all(10 <= period <= 20 for period in periods)


def test_an_integer_may_be_written_as_a_float_that_is_one():
    assert composed("total_agent_rounds=2_000_000").total_agent_rounds == 2_000_000
    settings = composed("total_agent_rounds=2e6", "learner.num_envs=3.2e1", "game.num_nodes=4.0", "learner.gamma=1")
    assert (settings.total_agent_rounds, settings.learner.num_envs, settings.game.num_nodes) == (2_000_000, 32, 4)
    assert all(isinstance(value, int) for value in (settings.total_agent_rounds, settings.learner.num_envs))


def test_the_budget_of_a_certified_cluster_grows_with_its_nodes():
    assert composed("experiment=certified").total_agent_rounds == 20_000_000
    assert composed("experiment=certified", "game.num_nodes=3").total_agent_rounds == 30_000_000
    assert composed("experiment=certified", "total_agent_rounds=5").total_agent_rounds == 5


def test_without_an_experiment_is_what_there_is_without_it():
    assert dataclasses.asdict(composed("experiment=null")) == dataclasses.asdict(composed())


def test_a_game_of_a_users_own_package_is_taken_by_its_place(tmp_path, monkeypatch, own_packages):
    (tmp_path / "my_games.py").write_text(
        "import dataclasses\nfrom jaxdlb.games import dlb\n"
        "class Mine(dlb.DLB):\n    name = 'mine'\n"
        "ENTRY = dataclasses.replace(dlb.ENTRY, game=Mine)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = composed("game.name=my_games:ENTRY", "game.num_nodes=3", "game.params.load=0.5")
    scenario = build.scenario(settings.game)
    assert (type(scenario.game).__name__, scenario.game.num_nodes) == ("Mine", 3)
    compose.save(compose.from_conf(["game.name=my_games:ENTRY", "game.num_nodes=3"]), tmp_path)
    again = compose.settings(compose.from_run(tmp_path, [], Settings), [])
    assert (again.game.name, again.game.num_nodes) == ("my_games:ENTRY", 3)


def test_without_overrides_the_game_is_the_reference_cluster(default):
    scenario = build.scenario(default.game)
    reference = DLB().default_params()
    assert scenario.game == DLB()
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), scenario.train(jax.random.key(0)), reference))


def test_the_utility_of_dlb_response_is_response_time_by_littles_law_and_small_costs():
    """−(mean utility) · N / (arrivals per round) against (tasks present) / (tasks arrived), the costs apart."""
    scenario = build.scenario(composed("game=dlb_response", "game.num_nodes=3").game)
    assert scenario.params.completion_prob.tolist() == DLB(3).default_params().completion_prob.tolist()
    policy, key = jaxdlb.heuristic("power_of_d_stealing"), jax.random.key(0)
    (played,) = evaluation.sums(scenario.game, [policy], scenario.test, key, num_episodes=4, num_rounds=200, warmup=20)
    assert np.all(played["drops"] == 0) and np.all(played["total_in_transit"] > 0)
    mean_utility, arrivals = played["utility"] / played["steps"], played["arrivals"] / played["steps"]
    costs = 0.01 * (played["migrations"] + played["steal_requests"]) / played["arrivals"]
    response_time = evaluation.columns_of(scenario.game, played)["response_time"]
    np.testing.assert_allclose(-mean_utility * 3 / arrivals, response_time + costs, rtol=1e-5)
    assert np.all(costs < 0.01 * response_time)


@pytest.mark.parametrize("kind", [kind for kind in LAWS if kind != "trace"])
def test_every_law_of_arrivals_can_be_chosen_with_the_defaults_of_the_library(kind):
    scenario = build.scenario(composed(f"game.params.arrival_modulation.kind={kind}").game)
    law = scenario.params.arrival_modulation
    expected = DLB().default_params(arrival_modulation=LAWS[kind]()).arrival_modulation
    assert type(law) is LAWS[kind]
    assert jax.tree.leaves(law) == jax.tree.leaves(expected)


def test_a_law_takes_lists_too():
    given = ["game.params.arrival_modulation.kind=trace", "game.params.arrival_modulation.factors=[0.5,1.5]"]
    assert build.scenario(composed(*given).game).params.arrival_modulation.factors.tolist() == [0.5, 1.5]


def test_a_parameter_of_each_node_is_one_number_or_a_list():
    for given, expected in {"0.5": [0.5, 0.5, 0.5], "[0.2,0.4,0.8]": [0.2, 0.4, 0.8]}.items():
        settings = composed("game.num_nodes=3", f"game.params.completion_prob={given}")
        assert build.scenario(settings.game).params.completion_prob.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "load"), [([], 0.8), (["game.params.load=0.5"], 0.5), (["game.params.arrival_rate=0.007"], None)]
)
def test_the_load_is_what_a_rack_can_complete_of_recorded_requests(given, load, tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{k / 5},1000,{k + 1}\n" for k in range(300))
    )
    scenario = build.scenario(composed("game=rack_llm", f"game.trace.path={path}", *given).game)
    params = scenario.train(jax.random.key(0))
    mean_runtime = 0.08 * 1000 + 28 * np.mean(np.arange(1, 211))  # of the part to train on
    capacity = 4 * 8 * (1 + 0.68) / mean_runtime
    assert float(params.arrival_rate) == pytest.approx(0.007 if load is None else load * capacity, rel=1e-5)
    assert scenario.test(jax.random.key(0)).arrival_rate == params.arrival_rate


CHOICES = [
    f"{path.relative_to(paths.CONF).parent}={path.stem}"
    for path in sorted(paths.CONF.rglob("*.yaml"))
    if path.parent != paths.CONF and 'path: ""' not in path.read_text()  # a recording must be given
]


IN_BOXES = [f"learner={name}" for name, each in LEARNERS.items() if each.acts_in == (Box,)]  # not in the default game


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_under_conf_makes_a_run_that_can_be_planned(choice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    given = [choice, *(["game=pods"] if choice in IN_BOXES else [])]
    plan = launch.prepare(compose.from_conf(given), given)
    assert plan.schedule.num_updates >= 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ([], 16),
        (["game.num_nodes=3"], 16),
        (["game.num_nodes=64"], 16),
        (["game.num_nodes=64", "network=pointer_gru"], 8),
        (["game.num_nodes=12", "network=mlp_gru"], 11),
        (["network=mlp_gru", "learner.num_envs=6"], 6),
        (["learner.num_envs=10", "learner.rollout_length=10"], 10),
        (["learner.num_minibatches=4"], 4),
    ],
)
def test_there_are_as_many_minibatches_as_fit_up_to_16(given, number):
    settings = composed(*given)
    assert build.learner(settings, build.scenario(settings.game)).config.num_minibatches == number


def test_make_train_trains_what_train_does_by_default_and_once_more_with_fresh_news():
    asked = composed("evaluation.fresh_news=true")
    assert dataclasses.asdict(composed("experiment=reference")) == dataclasses.asdict(asked)


@pytest.mark.parametrize(("num_nodes", "num_envs"), [(2, 256), (8, 64), (40, 12), (64, 8), (1024, 4)])
def test_as_many_agents_play_side_by_side_whatever_their_number_in_a_cluster(num_nodes, num_envs):
    settings = composed(f"game.num_nodes={num_nodes}", "network=pointer_gru")
    assert build.learner(settings, build.scenario(settings.game)).config.num_envs == num_envs
    settings = composed(f"game.num_nodes={num_nodes}", "learner.num_envs=7", "learner.num_minibatches=1")
    assert build.learner(settings, build.scenario(settings.game)).config.num_envs == 7


def test_ippo_is_mappo_whose_agents_know_nothing_of_each_other_in_training():
    mappo, ippo = (vars(composed(f"learner={name}").learner) for name in ("mappo", "ippo"))
    assert ippo | {"name": "mappo", "critic": "global_state", "credit": None} == mappo
    assert (ippo["critic"], ippo["credit"]) == ("observation", "whole")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([], credit.Chosen),
        (["game=dlb_response"], credit.Whole),
        (["game.imbalance=range"], credit.Whole),
        (["game=dlb_response", "learner.credit=chosen"], credit.Chosen),
        (["learner=ippo"], credit.Whole),
    ],
)
def test_the_credit_is_what_suits_the_objective_unless_it_is_given(given, kind):
    settings = composed(*given)
    assert type(build.learner(settings, build.scenario(settings.game)).credit) is kind


def test_the_budget_is_spent_to_the_end_and_the_schedules_end_with_it():
    settings = composed("learner.num_envs=2", "learner.rollout_length=8", "game.num_nodes=5", "total_agent_rounds=161")
    learner = build.learner(settings, build.scenario(settings.game))
    assert learner.agent_rounds_per_update == 80
    assert build.num_updates(settings, learner) == 3
    assert learner.config.schedule_updates == 3


def test_a_saved_config_comes_back_as_it_was_and_groups_can_be_chosen_afresh(tmp_path):
    given = ["game.params.load=0.5", "game.num_nodes=4", "network=pointer", "game.params.arrival_modulation.kind=step"]
    compose.save(compose.from_conf(given), tmp_path)
    again = compose.settings(compose.from_run(tmp_path, [], Settings), [])
    assert dataclasses.asdict(again) == dataclasses.asdict(composed(*given))
    fresh = compose.settings(compose.from_run(tmp_path, ["game=dlb"], Settings), ["game=dlb"])
    assert (fresh.game.params.load, fresh.game.num_nodes, fresh.network.kind) == (None, 8, "pointer")
    assert fresh.game.params.arrival_modulation.kind == "constant"


def test_a_saved_config_that_is_older_than_a_setting_has_it_as_it_was(tmp_path):
    compose.save(compose.from_conf([]), tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("  autoregressive: false\n", ""))
    assert compose.settings(compose.from_run(tmp_path, [], Settings), []).network.autoregressive is False


@pytest.mark.parametrize(("variable", "kept"), [("JAX_COMPILATION_CACHE_DIR", True), ("XDG_CACHE_HOME", False)])
def test_compiled_programs_are_kept_in_the_users_cache_unless_jax_is_told_otherwise(
    variable, kept, tmp_path, monkeypatch
):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        compilation.use_cache()
        found = jax.config.jax_compilation_cache_dir
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found == (before if kept else str(Path(tmp_path) / "jaxdlb" / "xla"))
