"""The benchmark of exact solutions, in this process: what it measures of each instance, and the growth."""

import types

import pytest

from benchmarks import certificates


def test_each_instance_is_timed_by_part_and_held_against_the_smallest(monkeypatch, capsys):
    monkeypatch.setattr(certificates.jax, "clear_caches", lambda: None)  # which other tests still need
    options = types.SimpleNamespace(capacities_of_two=[2, 3], capacities_of_three=[], repeats=2)
    small, larger = results = list(certificates.measure(options))
    assert [result["num_states"] for result in results] == [2 * 3**2, 2 * 4**2]
    for result in results:
        whole = result["whole_seconds"]
        parts = [result["seconds"][part] for part in certificates.PARTS]
        assert sum(each.low for each in parts) <= whole.high and whole.low > 0
        assert result["states_per_second"].high == pytest.approx(result["num_states"] / whole.low)
        assert 0 > result["centralised"] >= result["team"]
    assert small["over_least"] == {"states": 1.0, "seconds": 1.0}
    assert larger["over_least"]["states"] == pytest.approx(16 / 9)
    text = certificates.to_text(results)
    assert "states/s" in text and len(text.splitlines()) == 4
    assert "N = 2, K = 3" in capsys.readouterr().err
