"""The grid on which response times of racks are counted; histograms in general are mechanics."""

import numpy as np
import pytest

from jaxdlb.games.rack import responses


def test_the_grid_goes_from_its_least_to_its_most_fine_enough_for_percentiles_within_1_percent():
    assert responses.EDGES[[0, -1]] == pytest.approx([responses.LEAST, responses.MOST])
    assert len(responses.EDGES) == responses.NUM_BINS + 1 == len(responses.none()) + 1
    assert np.max(responses.EDGES[1:] / responses.EDGES[:-1]) < 1.0202
