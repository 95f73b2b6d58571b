"""Tables of what every agent did: of the very episodes that an evaluation sums up."""

import csv
import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import evaluation, heuristic
from jaxdlb.evaluation import node_tables
from jaxdlb.games.edge.heuristics import HEURISTICS
from jaxdlb.policies import make_heuristic

GAME = jaxdlb.make("edge", num_nodes=3)
PARAMS = GAME.default_params(adjacency=np.abs(np.subtract.outer(range(3), range(3))) == 1)  # a path: 0 – 1 – 2
POLICIES = [make_heuristic(HEURISTICS, name) for name in ("random", "local", "spread")]
SIZES = {"num_episodes": 2, "num_rounds": 6}


def drawn(key):
    """A cluster of its own in each episode."""
    return dataclasses.replace(PARAMS, mean_input_limit=jax.random.randint(key, (), 10, 60))


@pytest.fixture(scope="module")
def tables():
    made = node_tables.tables(GAME, POLICIES, drawn, jax.random.key(5), **SIZES)
    return {(name, episode): list(csv.DictReader(io.StringIO(text))) for name, episode, text in made}


def test_there_is_a_row_for_each_step_and_agent_of_each_policy_and_episode(tables):
    assert set(tables) == {(policy.name, episode) for policy in POLICIES for episode in range(2)}
    for rows in tables.values():
        assert [(row["step"], row["agent"]) for row in rows] == [(str(t), str(i)) for t in range(6) for i in range(3)]


def test_what_they_tell_adds_up_to_what_the_evaluation_sums(tables):
    summed = evaluation.sums(GAME, POLICIES, drawn, jax.random.key(5), **SIZES, warmup=0)
    names = {"input_rate": "input", "late": "late", "forward_rejected": "forward_rejected", "local": "local"}
    for policy, sums in zip(POLICIES, summed, strict=True):
        for episode in range(2):
            rows = tables[policy.name, episode]
            for ours, theirs in names.items():
                total = sum(float(row[ours]) for row in rows)
                assert total == pytest.approx(sums[theirs][episode], rel=1e-4, abs=1e-3), (policy.name, ours)
            links = [row[f"flow_to_{j}"] for row in rows for j in range(3)]
            assert sum(int(each) for each in links if each) == sums["forwarded"][episode]


def test_episodes_are_drawn_as_the_evaluation_draws_them(tables):
    inputs = [sum(int(row["input_rate"]) for row in tables["local", episode]) for episode in range(2)]
    assert inputs[0] != inputs[1]
    assert inputs == [sum(int(row["input_rate"]) for row in tables["random", episode]) for episode in range(2)]


def test_where_there_is_no_link_a_field_is_empty(tables):
    for rows in tables.values():
        for row in rows:
            for metric in ("flow", "rejected", "response", "there", "back"):
                present = [row[f"{metric}_to_{j}"] != "" for j in range(3)]
                assert present == [abs(int(row["agent"]) - j) == 1 for j in range(3)]


def test_the_numbers_read_back_as_the_same_float32():
    values = np.float32([[[0.1, 1 / 3], [1e-9, 123456.78]]])
    text = node_tables.to_csv({"load": values[:, 0] * 3, "flow": values}, np.array([[False, True], [True, False]]))
    row, other = csv.DictReader(io.StringIO(text))
    assert np.float32(row["flow_to_1"]) == values[0, 0, 1] and np.float32(other["flow_to_0"]) == values[0, 1, 0]
    assert (row["flow_to_0"], other["flow_to_1"]) == ("", "")


def test_nothing_is_told_after_a_true_end():
    assert [node_tables._played(np.array(each)) for each in ([1, 1, 1], [1, 0, 1], [0, 0, 0])] == [3, 2, 1]


def test_a_game_that_does_not_tell_is_refused():
    with pytest.raises(ValueError, match=r"^game is 'dlb'; it must be a game that tells what each agent did"):
        next(
            node_tables.tables(
                jaxdlb.make("dlb"), [heuristic("local")], lambda key: jnp.zeros(3), jax.random.key(0), **SIZES
            )
        )
