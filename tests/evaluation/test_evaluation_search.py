"""The cross-entropy method: what is drawn, what it is fitted to, and where it ends."""

import jax
import numpy as np
import pytest

from jaxdlb.evaluation import search
from jaxdlb.policies import Span


def test_the_first_point_is_the_middle_and_all_lie_in_the_unit_box():
    cloud = search.Cloud(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
    points = search.draw(jax.random.key(0), cloud, 200)
    assert points.shape == (200, 2) and points[0].tolist() == [0.9, 0.5]
    assert points.min() >= 0 and points.max() == 1.0  # at the edge, not beyond
    assert np.std(points[:, 1]) == pytest.approx(0.1, rel=0.2)
    assert np.array_equal(points, search.draw(jax.random.key(0), cloud, 200))


def test_the_first_cloud_covers_the_box():
    points = search.draw(jax.random.key(1), search.everywhere(3), 400)
    counts, _ = np.histogram(points[:, 0], bins=5, range=(0, 1))
    assert counts.min() > 40


def test_a_cloud_is_fitted_to_the_best_points():
    cloud = search.Cloud(np.array([0.5]), np.array([0.2]))
    points = np.array([[0.1], [0.3], [0.9], [0.5]])
    fitted = search.fitted(cloud, points, np.array([1.0, 2.0, -np.inf, 0.0]), num_elites=2)
    assert fitted.middle == pytest.approx([0.2])
    assert fitted.spread == pytest.approx([0.3 * 0.2 + 0.7 * 0.1])


def test_a_cloud_never_shrinks_to_a_point():
    cloud = search.everywhere(1)
    for _ in range(50):
        cloud = search.fitted(cloud, np.array([[0.5]] * 4), np.zeros(4), num_elites=4)
    assert cloud.spread > 0


def test_options_are_spread_along_their_spans_and_told_in_three_digits():
    box = {"margin": Span(-10.0, 30.0), "memory": Span(0.01, 1.0, logarithmic=True)}
    assert search.options_at(box, np.array([0.0, 0.0])) == {"margin": -10.0, "memory": 0.01}
    assert search.options_at(box, np.array([0.5, 0.5])) == {"margin": 10.0, "memory": 0.1}
    assert search.options_at(box, np.array([1 / 3, 1.0])) == {"margin": 3.33, "memory": 1.0}


def test_it_climbs_a_narrow_ridge():
    """Rosenbrock's valley in the unit box, whose best is at (3/4, 3/4): within 0.1 of it along both."""
    cloud = search.everywhere(2)
    for generation in range(40):
        points = search.draw(jax.random.key(generation), cloud, 40)
        x, y = (4 * points - 2).T
        cloud = search.fitted(cloud, points, -((1 - x) ** 2) - 5 * (y - x**2) ** 2, num_elites=8)
    assert np.abs(cloud.middle - 0.75).max() < 0.1
