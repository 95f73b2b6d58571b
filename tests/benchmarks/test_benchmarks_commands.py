"""The benchmarks as they are run: as modules and as files, with JSON in a file and on standard output."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import devices

ROOT = Path(__file__).resolve().parents[2]
TINY_GAMES = (
    *("--num-nodes", "3", "--num-envs", "2", "--policy", "random"),
    *("--repeats", "2", "--min-seconds", "0.001", "--rounds", "4"),
)
TINY_LEARNERS = (
    *("--network", "mlp", "--num-nodes", "2", "--num-envs", "2", "--rollout-length", "4"),
    *("--num-epochs", "1", "--num-minibatches", "1", "--repeats", "1", "--min-seconds", "0.001"),
)
TINY_RACE = ("--num-nodes", "3", "--nodes", "12", "--repeats", "2", "--min-seconds", "0.001")
TINY_GROWTH = ("--num-nodes", "2", "--nodes", "32", "--repeats", "2", "--min-seconds", "0.001")
TINY_FORMS = ("--num-nodes", "2", "--nodes", "32", "--network", "--repeats", "2", "--min-seconds", "0.001")
TINY_BUFFERS = (
    *("--learner", "ddpg", "--num-nodes", "2", "--size", "queue_capacity=4", "max_arrivals=8", "history=1"),
    *("--repeats", "1", "--min-seconds", "0.001"),
)
NAMES = (
    *("games", "learners", "buffers", "against_c", "against_python", "growth", "forms", "memory", "certificates"),
    *("training", "events"),
)
AS_FILE = {name: [f"benchmarks/{name}.py"] for name in (*NAMES, "near_optimal")}


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def games():
    """What the benchmark of games prints for people, and its JSON, which has standard output for itself."""
    finished = run("-m", "benchmarks.games", *TINY_GAMES, "--json", "-")
    assert finished.returncode == 0, finished.stderr
    return finished.stderr, json.loads(finished.stdout)


@pytest.fixture(scope="module")
def learners(tmp_path_factory):
    """What the benchmark of learners prints, and its JSON, which it writes to a file."""
    path = tmp_path_factory.mktemp("benchmark") / "results.json"
    finished = run(*AS_FILE["learners"], *TINY_LEARNERS, "--json", str(path))
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, json.loads(path.read_text())


@pytest.fixture(params=["games", "learners"])
def measured(request):
    return request.getfixturevalue(request.param)


def test_a_benchmark_says_on_what_it_ran(measured):
    printed, written = measured
    machine = written["machine"]
    assert machine["platform"] == "cpu"
    assert {"device_kind", "cpu_model", "jax"} <= set(machine)
    assert machine["cores"] >= 1
    assert machine["cpu_model"] in printed
    assert written["settings"]["num_nodes"]


def test_a_benchmark_says_how_fast_it_was_and_what_it_took(measured):
    printed, written = measured
    assert written["results"]
    assert "rounds/s" in printed
    for result in written["results"]:
        rates = [rate for name, rate in result.items() if name.endswith("rounds_per_second")]
        assert rates
        assert all(0 < rate["low"] <= rate["median"] <= rate["high"] for rate in rates)
        assert result["compile_seconds"] > 0
        assert result["peak_memory"]["num_bytes"] > 2**20
        assert result["program_bytes"] > 0


def test_games_are_played_with_and_without_observation(games):
    _, written = games
    results = {(result["policy"], result["consume"]): result for result in written["results"]}
    assert set(results) == {("random", "observation"), ("random", "reward")}
    assert all(result["node_rounds_per_second"]["median"] > 0 for result in results.values())
    assert all(result["mean_reward"] < 0 for result in results.values())
    for result in results.values():  # state read and written once a round, over what a copy reads and writes
        moved = 2 * result["state_bytes"] * result["rounds_per_second"]["median"]
        share = result["of_copy_bandwidth"]
        assert share["low"] / 2 < moved / result["copied_bytes_per_second"]["median"] < 2 * share["high"]
    assert all(result["state_bytes"] > 0 and result["observation_bytes"] > 0 for result in results.values())


def test_the_shares_of_an_update_add_up(learners):
    _, written = learners
    (result,) = written["results"]
    shares = {part: share["median"] for part, share in result["shares"].items()}  # of one repeat: its only value
    whole = shares.pop("sum")
    assert set(shares) == {"game", "acting", "advantages", "optimising"}
    assert sum(shares.values()) == pytest.approx(whole)
    assert 0.1 < whole < 10  # parts compiled apart differ from the whole, but not out of all proportion
    assert all(seconds["median"] > 0 for seconds in result["seconds"].values())


def test_an_update_is_held_against_its_own_matrix_products(learners):
    printed, written = learners
    (result,) = written["results"]
    # At least forward, and backward by the weights, of a hidden layer of 64 by 64 for each of 2 · 4 · 2 agent-rounds.
    assert result["optimising_flops"] > 2 * 2 * 64 * 64 * 16
    assert result["of_matmul_rate"]["median"] == pytest.approx(
        result["optimising_flops_per_second"]["median"] / result["matmul_flops_per_second"]["median"], rel=1e-6
    )
    assert "of matmul rate" in printed


def test_the_race_prints_the_ratio_of_the_two(tmp_path):
    path = tmp_path / "race.json"
    finished = run(*AS_FILE["against_c"], *TINY_RACE, "--json", str(path))
    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads(path.read_text())["results"]
    assert result["jax_over_c"]["low"] > 0
    assert "JAX over C" in finished.stdout
    # Both play at random from the same start: their mean utilities are of one order.
    assert 0.3 < result["jax_mean_utility"] / result["c_mean_utility"] < 3


def test_growth_compares_every_size_with_the_base(tmp_path):
    path = tmp_path / "growth.json"
    finished = run(*AS_FILE["growth"], *TINY_GROWTH, "--json", str(path))
    assert finished.returncode == 0, finished.stderr
    small, base = json.loads(path.read_text())["results"]
    assert (small["num_nodes"], base["num_nodes"]) == (2, 16)
    assert base["over_base"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    for result in (small, base):
        assert result["share_of_numbers"]["low"] > 0
        assert result["library_over_inline"]["median"] > 0
    assert base["state_bytes"] > small["state_bytes"] > 0


def test_forms_are_held_against_the_obvious_ones(tmp_path):
    path = tmp_path / "forms.json"
    finished = run(*AS_FILE["forms"], *TINY_FORMS, "--json", str(path))
    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads(path.read_text())["results"]
    for form, cost in result["obvious_over_ours"].items():
        assert 0 < cost["low"] <= cost["median"] <= cost["high"]
        assert form in finished.stdout


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("games", ["--num-nodes", "0"], "--num-nodes"),
        ("games", ["--policy", "clever"], "clever"),
        ("games", ["--game", "chess"], "chess"),
        ("games", ["--size", "num_cores=3"], "num_cores"),
        ("games", ["--param", "laod"], "name=value"),
        ("against_python", ["--param", "load=-1"], "load"),
        ("against_python", ["--param", "failure_prob=0.1"], "failure_prob"),
        ("games", ["--json", "missing/folder/results.json"], "missing/folder/results.json"),
        ("learners", ["--repeats", "many"], "--repeats"),
        ("against_c", ["--nodes", "-1"], "--nodes"),
        ("growth", ["--num-nodes", "x"], "--num-nodes"),
        ("forms", ["--network", "clever"], "clever"),
        ("certificates", ["--capacities-of-two", "0"], "--capacities-of-two"),
        ("near_optimal", ["--of-two", "-1"], "--of-two"),
        ("training", ["--json", "missing/folder/results.json"], "missing/folder/results.json"),
        ("learners", ["--num-envs", "2", "--rollout-length", "3", "--num-minibatches", "4"], "num_minibatches"),
    ],
)
def test_a_benchmark_refuses_nonsense_in_a_sentence(name, arguments, named, monkeypatch, capfd):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [*AS_FILE[name], *arguments])
    monkeypatch.setattr(devices, "prepare", lambda spread: None)  # it is for a process of its own
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert_refused(*capfd.readouterr(), named)


def test_a_process_refuses_nonsense_as_well():
    finished = run(*AS_FILE["games"], "--param", "completion_prob=2")
    assert finished.returncode == 2
    assert_refused(finished.stdout, finished.stderr, "completion_prob")


def assert_refused(out, err, named):
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert named in err


def test_benchmarks_need_neither_launchers_nor_loggers():
    """With those modules made impossible to import; what the library's own dependencies try to load is theirs."""
    absent = ("hydra", "omegaconf", "wandb", "matplotlib", "train")
    modules = ", ".join(f"benchmarks.{name}" for name in AS_FILE)
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import {modules}"
    finished = run("-c", code)
    assert finished.returncode == 0, finished.stderr


def test_updates_from_a_buffer_are_taken_apart():
    finished = run("-m", "benchmarks.buffers", *TINY_BUFFERS, "--json", "-")
    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads(finished.stdout)["results"]
    shares = result["shares"]
    assert set(shares) == {"game", "acting", "buffer", "optimising", "sum"}
    assert all(shares[part]["median"] > 0 for part in ("game", "buffer", "optimising"))
    assert (
        result["replay_bytes"] > 64 * 2000 * 2 * 12 * 4
    )  # 2000 steps of 64 environments, two views of 12 numbers each
    assert "agent-rounds/s" in finished.stderr


def test_a_learner_whose_actions_are_not_the_games_is_refused():
    finished = run("-m", "benchmarks.buffers", "--learner", "dqn")
    assert finished.returncode == 2
    assert "learner is 'dqn'; it must be one of ddpg, td3, sac in pods" in finished.stderr
