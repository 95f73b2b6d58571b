"""What tasks cost: the laws, sums over chunks against float64, and recorded costs."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxdlb.games.farm import Farm
from jaxdlb.games.farm.costs import MOST_TASKS, Costs


def costs(law, cv=1.0, trace=None):
    return Costs(law, cv, trace)


@pytest.fixture
def recorded(tmp_path):
    """The costs of seven tasks in a file, and its path."""
    listed = np.array([3.0, 0.5, 2.0, 0.0, 8.0, 1.0, 6.0])
    path = tmp_path / "costs.csv"
    path.write_text("task,cost\n" + "".join(f"{k},{cost}\n" for k, cost in enumerate(listed)))
    return listed, str(path)


# Laws


LAWS = {
    "uniform": scipy.stats.uniform(0, 2),
    "exponential": scipy.stats.expon(),
    "lognormal": scipy.stats.lognorm(np.sqrt(np.log(2)), scale=np.exp(-np.log(2) / 2)),
}


@pytest.mark.parametrize("law", [*LAWS, "deterministic"])
def test_costs_have_a_mean_of_one(law):
    table = costs(law).table
    assert table.shape == (65_536,) == (MOST_TASKS,)
    assert np.mean(table) == pytest.approx(1, abs=1e-12)
    assert table.min() >= 0


@pytest.mark.parametrize("law", LAWS)
def test_costs_follow_their_law(law):
    """At 65,536 draws, whose mean is made 1 afterwards, the largest gap of the distributions is about 0.004."""
    assert scipy.stats.kstest(costs(law).table, LAWS[law].cdf).statistic < 0.01


def test_all_tasks_cost_the_same_where_nothing_is_left_to_chance():
    assert set(costs("deterministic").table) == {1.0}


@pytest.mark.parametrize("cv", [0.2, 1.0, 3.0])
def test_lognormal_costs_vary_as_much_as_is_asked_for(cv):
    assert np.std(costs("lognormal", cv).table) == pytest.approx(cv, rel=0.25 if cv > 1 else 0.02)


def test_the_table_of_a_law_is_the_same_whenever_it_is_made():
    assert Farm(3).costs == Farm(8).costs == costs("lognormal")
    assert hash(Farm(3).costs) == hash(costs("lognormal"))
    assert not np.array_equal(costs("lognormal").table, costs("exponential").table)


# Sums


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("law", ["lognormal", "uniform"])
def test_the_cost_of_a_chunk_is_right_to_a_millionth_round_the_end_of_the_table_too(law, noise):
    each = costs(law)
    random = np.random.default_rng(0)
    place = np.concatenate([random.integers(0, 65_536, 900), 65_535 - random.integers(0, 50, 100)])
    size = np.minimum(np.exp(random.uniform(0, np.log(65_536), 1000)).astype(int), 65_536)
    found = jax.jit(jax.vmap(each.of_chunk, (0, 0, None)))(jnp.asarray(place), jnp.asarray(size), noise)
    rolled = np.concatenate([[0.0], np.cumsum(np.tile(each.table, 2))])
    expected = size + noise * (rolled[place + size] - rolled[place] - size)
    assert (place + size > 65_536).sum() > 100
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_tasks_that_are_handed_out_one_by_one_cost_what_the_chunk_does():
    each = costs("exponential")
    start, noise = jnp.int32(65_000), jnp.float32(0.7)
    listed = np.asarray(jax.jit(each.of_each)(start, noise), np.float64)
    assert listed.shape == (65_536,)
    np.testing.assert_allclose(listed, 1 + 0.7 * (np.roll(each.table, -65_000) - 1), rtol=1e-5, atol=1e-6)
    first, size = jnp.array([0, 3, 500, 0]), jnp.array([1, 2, 100, 65_536])
    chunks = jax.jit(jax.vmap(each.of_chunk, (0, 0, None)))(start + first, size, noise)
    expected = [listed[begin : begin + count].sum() for begin, count in zip(first, size, strict=True)]
    np.testing.assert_allclose(chunks, expected, rtol=2e-6)
    np.testing.assert_array_equal(Farm(1, task_law="exponential").costs.table, each.table)


# Recorded costs


def test_recorded_costs_are_repeated_as_a_whole_and_divided_by_their_mean(recorded):
    listed, path = recorded
    each = costs("trace", trace=path)
    assert len(each.table) == 7 * 9363 >= 65_536 > 7 * 9362
    np.testing.assert_allclose(each.table, np.tile(listed / listed.mean(), 9363), rtol=1e-12)
    last = len(each.table) - 1
    place, size = jnp.array([last, last + 1]), jnp.array([3, 2])  # over the end, and beyond it
    found = jax.jit(jax.vmap(each.of_chunk, (0, 0, None)))(place, size, 1.0)
    np.testing.assert_allclose(found, np.array([6.0 + 3.0 + 0.5, 3.0 + 0.5]) / listed.mean(), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cost\n", "has no row"),
        ("cost\n1\n-2\n", "line 3: the cost is '-2'"),
        ("cost\n1\nnan\n", "line 3: the cost is 'nan'; it must be a finite number ≥ 0"),
        ("cost\n1\nmuch\n", "line 3: the cost is 'much'"),
        ("cost\n0\n0\n", "every cost is 0; at least one must be positive"),
        ("price\n1\n", "cost"),
    ],
)
def test_a_file_of_costs_that_cannot_be_played_is_refused_with_its_name(text, sentence, tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path))) as refusal:
        Farm(2, task_law="trace", trace=str(path))
    assert sentence in str(refusal.value)


def test_a_law_and_a_file_must_go_together(tmp_path):
    with pytest.raises(ValueError, match=r"^trace is None; it must be a CSV file with a column named cost$"):
        Farm(2, task_law="trace")
    with pytest.raises(ValueError, match=r"^trace is 'costs\.csv'; it must not be given where task_law is 'uniform'$"):
        Farm(2, task_law="uniform", trace="costs.csv")
    with pytest.raises(ValueError, match=r"nowhere\.csv"):
        Farm(2, task_law="trace", trace=str(tmp_path / "nowhere.csv"))
