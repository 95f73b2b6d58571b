import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "games": ["--num-nodes", "3", "--num-envs", "2", "--repeats", "2", "--min-seconds", "0.001", "--rounds", "4"],
    "learners": [
        *("--network", "mlp", "--num-nodes", "2", "--num-envs", "2", "--rollout-length", "4"),
        *("--num-epochs", "1", "--num-minibatches", "1", "--repeats", "2", "--min-seconds", "0.001"),
    ],
}


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module", params=sorted(TINY))
def measured(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "results.json"
    finished = run(request.param, *TINY[request.param], "--json", str(path))
    assert finished.returncode == 0, finished.stderr
    return request.param, finished.stdout, json.loads(path.read_text())


def numbers(tree):
    """All numbers below a JSON value, with the path to each."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from ((f"{key}.{path}", number) for path, number in numbers(value))
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield "", tree


def test_a_benchmark_says_on_what_it_ran_and_prints_what_it_writes(measured):
    name, printed, written = measured
    assert written["machine"]["platform"] == "cpu"
    assert written["results"]
    assert "cpu" in printed
    rates = [(path, number) for path, number in numbers(written["results"]) if "per_second" in path]
    assert rates, f"{name} reports no rate"
    assert all(number > 0 for _, number in rates)


def test_a_benchmark_refuses_nonsense_in_a_sentence():
    for name in TINY:
        finished = run(name, "--num-nodes", "0")
        assert finished.returncode == 2
        assert "Traceback" not in finished.stderr
        assert "num-nodes" in finished.stderr or "num_nodes" in finished.stderr


def test_benchmarks_need_neither_launchers_nor_loggers():
    """With those modules made impossible to import; what the library's own dependencies try to load is theirs."""
    absent = ("hydra", "omegaconf", "wandb", "matplotlib", "train")
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import benchmarks.games, benchmarks.learners"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
