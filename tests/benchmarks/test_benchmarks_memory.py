"""The search for the most environments that fit, against sizes that are known."""

import pytest

from benchmarks import memory as benchmark


@pytest.mark.parametrize("most", [16, 48, 1000, 123_456, 10_000_000])
@pytest.mark.parametrize("fixed", [0, 5_000, 3_000_000])
def test_the_most_that_fit_are_found_by_few_programs(most, fixed):
    asked = []

    def takes(num_envs):
        asked.append(num_envs)
        return fixed + 1000 * num_envs + num_envs // 7

    found = benchmark.largest(takes, takes(most))
    assert found % benchmark.UNIT == 0
    assert found <= most < max(found * benchmark.CLOSE, found + benchmark.UNIT) + benchmark.UNIT
    assert len(asked) <= 9


def test_nothing_is_found_where_nothing_fits():
    assert benchmark.largest(lambda num_envs: 2_000, 1_000) == 0
