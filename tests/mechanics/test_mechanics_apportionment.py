"""The largest-remainder rule against a plain reading of it, by both ways to hand out what is left."""

import jax.numpy as jnp
import numpy as np
import pytest
from reference.edge import split as plain_split

from jaxdlb.mechanics import apportionment


@pytest.mark.parametrize("few", [0, 1000], ids=["by bisection", "one by one"])
@pytest.mark.parametrize("num_entries", [1, 2, 3, 9, 40])
@pytest.mark.parametrize("most", [1, 3, 2**15], ids=["nothing", "ties", "shares"])
def test_it_divides_as_the_rule_says(few, num_entries, most, monkeypatch):
    monkeypatch.setattr(apportionment, "FEW", few)
    draws = np.random.default_rng([num_entries, most])
    weights = draws.integers(0, most, (200, num_entries), dtype=np.int32)
    totals = draws.integers(0, 46_340, 200, dtype=np.int32)
    first = draws.integers(0, num_entries, 200, dtype=np.int32)
    parts = apportionment.split(jnp.array(totals), jnp.array(weights), jnp.array(first))
    expected = [
        plain_split(int(total), each.tolist(), int(own))
        for total, each, own in zip(totals, weights, first, strict=True)
    ]
    assert parts.tolist() == expected


@pytest.mark.parametrize("few", [0, 1000], ids=["by bisection", "one by one"])
def test_of_equal_claims_the_first_comes_first_and_then_the_least_index(few, monkeypatch):
    monkeypatch.setattr(apportionment, "FEW", few)
    weights = jnp.array([1, 1, 1, 1, 0])
    assert apportionment.split(jnp.int32(6), weights, 2).tolist() == [2, 1, 2, 1, 0]
    assert apportionment.split(jnp.int32(6), weights, 0).tolist() == [2, 2, 1, 1, 0]
    assert apportionment.split(jnp.int32(6), weights, 4).tolist() == [2, 2, 1, 1, 0]


def test_products_up_to_the_largest_int_divide_exactly():
    weights = jnp.array([46_341, 46_340, 1])
    parts = apportionment.split(jnp.int32(46_340), weights)
    assert parts.tolist() == plain_split(46_340, [46_341, 46_340, 1], 0)
