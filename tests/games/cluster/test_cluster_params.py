"""The reference cluster, random ones, and what is refused of others."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.cluster import Cluster, Replay
from jaxdlb.games.cluster.reference import RANGES, TIERS

GAME = Cluster(10, 2, 4, 3)


def test_the_reference_nodes_stand_evenly_within_the_ranges_of_their_tiers():
    params = Cluster().default_params()
    assert np.bincount(params.tier).tolist() == [20, 50, 30]
    for name, ranges in RANGES.items():
        for tier, (low, high) in enumerate(ranges):
            column = np.asarray(getattr(params, name))[np.asarray(params.tier) == tier]
            step = (high - low) / len(column)
            np.testing.assert_allclose(column, low + step * (np.arange(len(column)) + 0.5), rtol=1e-6)
    assert params.cores[:2].tolist() == pytest.approx([24.2, 24.6])
    assert float(params.arrival_rate) == 27.5 and float(params.class_weight @ params.class_share) == pytest.approx(1)


@pytest.mark.parametrize("nodes", [2, 3, 5, 9])
def test_tiers_hold_a_fifth_a_half_and_the_rest(nodes):
    params = Cluster(nodes, 1, 1, 1).default_params()
    assert np.bincount(params.tier, minlength=3).tolist() == [nodes // 5, nodes // 2, nodes - nodes // 5 - nodes // 2]


def test_random_nodes_lie_within_the_ranges_of_their_tiers_and_differ():
    one, other = (GAME.default_params(random_clusters=number) for number in (1, 2))
    for name in ("cores", "memory", "speed", "idle_power", "dynamic_power"):
        low, high = np.array(RANGES[name])[np.asarray(one.tier)].T
        drawn = np.asarray(getattr(one, name))
        assert ((drawn >= low) & (drawn <= high)).all()
        assert not np.array_equal(drawn, getattr(other, name))
    assert np.array_equal(one.network_delay, GAME.default_params().network_delay)


def test_clusters_are_drawn_anew_from_every_key():
    ranges = {
        "random_clusters": (0, 2**24 - 1),
        "rate_per_node": (0.08, 0.3),
        "network_delay": (0, 1),
        "sleeps": (0, 1),
    }
    draw = jax.vmap(jaxdlb.games.randomised(GAME, **ranges))
    drawn = draw(jax.random.split(jax.random.key(0), 64))
    assert len(np.unique(drawn.cores[:, 0])) == 64
    assert set(np.asarray(drawn.sleep_after).tolist()) == {20.0, 1e9}
    rate = np.asarray(drawn.arrival_rate) / 10
    assert 0.08 <= rate.min() < 0.12 and 0.26 < rate.max() <= 0.3
    for index in range(3):
        GAME.validate(jax.tree.map(lambda leaf, index=index: leaf[index], drawn))


def test_shorthands_set_what_they_say():
    params = GAME.default_params(rate_per_node=0.2, cloud_delay=0.5, sleeps=0)
    assert float(params.arrival_rate) == 2
    assert float(params.sleep_after) == 1e9
    far = np.asarray(params.tier) == TIERS.index("high")
    np.testing.assert_allclose(params.network_delay, np.where(far, 0.5, 0.05))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"class_share": (0.5, 0.3, 0.1)}, "class_share sums to 0.9; it must sum to 1 over the classes production, "),
        ({"exec_cap": 9}, "exec_cap is 9; it must be at least exec_least, which is 10"),
        ({"cores_law": (0, -1, 1, 2)}, "cores_law[1] is -1; it must be a σ ≥ 0, of μ, σ, low, high"),
        ({"cores_law": (0, 1, 0, 2)}, "cores_law[2] is 0; it must be a low end ≥ 0.001, of μ, σ, low, high"),
        (
            {"memory_law": (0, 1, 3, 2)},
            "memory_law[3] is 2; it must be a high end from the low end, which is 3, to 1e+06",
        ),
        ({"cores_law": (0, 1, 2)}, "cores_law has shape (3,); it must have shape (4,)"),
        (
            {"memory": 31},
            "memory is at most 31; it must be at least 32 at one node, which the largest task of the workload wants",
        ),
        ({"speed": [1] * 9}, "speed has shape (9,); it must have shape (10,)"),
        ({"class_share": (1.5, -0.5, 0)}, "class_share[0] is 1.5; it must be a finite number in [0, 1]"),
        ({"tier": 3}, "tier is 3; it must be an integer in [0, 2]"),
        ({"sleep_power": 1.1}, "sleep_power is 1.1; it must be a finite number in [0, 1]"),
        ({"slot": 0}, "slot is 0; it must be a finite number in [0.01, 10000]"),
        ({"rate_per_node": 1, "arrival_rate": 2}, "rate_per_node is 1 and arrival_rate is given too"),
        ({"memroy": 1}, "memroy is not a parameter of cluster; the parameters are "),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        GAME.default_params(**fields)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"run_time": [2, 3, 4]}, "workload.run_time has 3 entries; it must have 2, as workload.gap has"),
        ({"task_class": [1]}, "workload.task_class has 1 entries; it must have 2, as workload.gap has"),
        ({"gap": [0, 0]}, "workload.gap is 0 in all entries; it must be more in one, since otherwise no time passes"),
    ],
)
def test_a_record_must_be_one_that_can_be_played(changed, sentence):
    rows = {"gap": [1, 1], "run_time": [2, 3], "cores": [1, 1], "memory": [4, 2], "task_class": [0, 2]} | changed
    with pytest.raises(ValueError, match=f"^{sentence}"):
        GAME.default_params(workload=Replay(**{name: jnp.asarray(row) for name, row in rows.items()}))


def test_a_node_must_hold_the_largest_recorded_task():
    rows = {"gap": [1, 1], "run_time": [2, 3], "cores": [1, 1], "memory": [4, 200], "task_class": [0, 2]}
    with pytest.raises(ValueError, match=r"^memory is at most \d+.*; it must be at least 200 at one node"):
        GAME.default_params(workload=Replay(**rows))
    assert float(GAME.default_params(workload=Replay(**rows), memory=200).workload.memory[1]) == 200


def test_more_candidates_than_nodes_are_refused():
    with pytest.raises(ValueError, match=r"^num_candidates is 16; it must be at most num_nodes, which is 10"):
        Cluster(10)
