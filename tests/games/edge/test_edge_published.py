"""The service model against two published programs: tables that `tests/reference/make_service_tables.py` made."""

import csv
from pathlib import Path

import jax
import numpy as np

from jaxdlb.games.edge.service import perform

TABLES = Path(__file__).parents[2] / "reference"
TRUSTED = 8  # T_I / T_c from which the model holds


def table(name):
    """The columns of a table, float64 each."""
    with (TABLES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def served(nodes):
    times = (np.float32(nodes[name]) for name in ("rate", "warm_time", "cold_time", "idle_time"))
    instances = nodes["instances"].astype(np.int32)
    return jax.jit(perform, static_argnames="most")(*times, instances, most=int(instances.max()))


def test_nodes_fare_as_pacsltk_computes():
    """`pacsltk` 0.2.0, get_sls_warm_count_dist(…, faster_solution=False), on 200 random nodes in double precision."""
    exact = table("pacsltk.csv")
    assert len(exact["rate"]) == 200
    found = served(exact)
    np.testing.assert_allclose(found.reject_prob, exact["reject_prob"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.cold_prob, exact["cold_prob"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.pool_size, exact["pool_size"], rtol=1e-4, atol=1e-4)
    rejects, starts = exact["reject_prob"] > 0.01, exact["cold_prob"] > 0.01
    assert rejects.sum() > 40 and starts.sum() > 40  # the nodes are of all sorts


def test_nodes_fare_as_simfaas_simulates_where_the_model_holds():
    """`simfaas` 0.2.2, eight runs of 25,000 requests on each of ten nodes.

    The model errs too: by at most 0.005 where T_I ≥ 8 T_c (docs/games/edge.md); to that come four standard errors.
    """
    runs = table("simfaas.csv")
    assert len(runs["rate"]) == 10 and (runs["idle_time"] >= TRUSTED * runs["cold_time"]).all()
    found = served(runs)
    for name in ("reject", "cold"):
        error = runs[f"{name}_error"]
        assert (error < 0.003).all()
        assert (np.abs(getattr(found, f"{name}_prob") - runs[f"{name}_prob"]) < 0.005 + 4 * error).all()
