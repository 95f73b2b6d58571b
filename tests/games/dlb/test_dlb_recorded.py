"""Settings of a recorded workload: the parameters to train on and those to evaluate on."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.dlb.recorded import Recorded
from jaxdlb.mechanics.arrivals import MarkovModulated, Sinusoidal, Step, Trace

GAME = jaxdlb.make("dlb", num_nodes=2)
PARAMS = GAME.default_params(arrival_prob=[0.1, 0.3])


@pytest.fixture
def record(tmp_path):
    """Ten counts, a minute apart, 1 to 10."""
    path = tmp_path / "record.csv"
    path.write_text("timestamp,value\n" + "".join(f"{60 * k},{k + 1}\n" for k in range(10)))
    return str(path)


def test_without_a_path_the_parameters_are_as_given_for_both():
    assert all(part is PARAMS for part in Recorded().parts(PARAMS))
    varied = GAME.default_params(arrival_modulation=Sinusoidal())
    assert all(part is varied for part in Recorded(kind="counts", held_out=0.5).parts(varied))


def test_the_first_part_has_the_mean_of_p_and_the_part_held_out_the_same_scale(record):
    train_on, held_out = Recorded(path=record, rounds_per_sample=4, held_out=0.2).parts(PARAMS)
    scale = 1 / np.arange(1, 9).mean()  # nothing is clipped
    np.testing.assert_allclose(train_on.arrival_modulation.factors, np.arange(1, 9) * scale, rtol=1e-6)
    np.testing.assert_allclose(held_out.arrival_modulation.factors, np.array([9, 10]) * scale, rtol=1e-6)
    for part in (train_on, held_out):
        assert isinstance(part.arrival_modulation, Trace)
        assert part.arrival_modulation.rounds_per_sample == 4
        GAME.validate(part)


def test_all_other_parameters_are_as_given(record):
    for part in Recorded(path=record).parts(PARAMS):
        for field in dataclasses.fields(PARAMS):
            if field.name != "arrival_modulation":
                assert getattr(part, field.name) is getattr(PARAMS, field.name)


def test_both_parts_play_in_the_game(record):
    for part in Recorded(path=record, rounds_per_sample=1).parts(PARAMS):
        state, timestep = GAME.reset(jax.random.key(0), part)
        assert 0 <= int(state.modulation) < len(part.arrival_modulation.factors)
        assert np.all(np.isfinite(timestep.observation.own))


def test_instants_are_counted_in_bins_of_so_many_seconds(tmp_path):
    path = tmp_path / "instants.csv"
    path.write_text("timestamp\n" + "\n".join(map(str, [0, 1, 9, 10, 21, 22, 23, 30, 41])))
    train_on, held_out = Recorded(path=str(path), kind="instants", bin_seconds=10, held_out=0.25).parts(PARAMS)
    np.testing.assert_allclose(train_on.arrival_modulation.factors, np.array([3, 1, 3]) * 3 / 7, rtol=1e-6)
    np.testing.assert_allclose(held_out.arrival_modulation.factors, [3 / 7], rtol=1e-6)


@pytest.mark.parametrize("kind", ["counts", "instants"])
def test_columns_and_unit_reach_the_reader(tmp_path, kind):
    path = tmp_path / "other.csv"
    path.write_text("when,n\n" + "".join(f"{60_000 * k},{1}\n" for k in range(11)))
    settings = Recorded(
        path=str(path), kind=kind, time_column="When", value_column="n", time_unit="ms", bin_seconds=60, held_out=0.5
    )
    factors = [part.arrival_modulation.factors for part in settings.parts(PARAMS)]
    assert sum(map(len, factors)) == (11 if kind == "counts" else 10)
    np.testing.assert_allclose(np.concatenate(factors), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"path": ""}, "^path is not given; it must be the path of a CSV file$"),
        ({"path": "nowhere.csv"}, r"^nowhere\.csv cannot be read"),
        ({"kind": "gaps"}, "^kind is 'gaps'; it must be one of counts, instants$"),
        ({"held_out": 1}, "^held_out is 1; "),
        ({"rounds_per_sample": 0}, "^rounds_per_sample is 0; "),
        ({"kind": "instants", "bin_seconds": float("nan")}, "^bin_seconds is nan; "),
        ({"time_column": "when"}, "must have one column named when, or time_column must name another"),
        ({"value_column": "n"}, "must have one column named n, or value_column must name another"),
        ({"time_unit": "min"}, "^time_unit is 'min'; it must be one of auto, s, ms, us, ns$"),
    ],
)
def test_settings_that_are_not_allowed_are_refused_by_their_bare_name(record, changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(Recorded(path=record), **changed).parts(PARAMS)


@pytest.mark.parametrize("law", [Step(), Sinusoidal(), MarkovModulated(), Trace(factors=np.ones(2, np.float32))])
def test_a_law_of_arrivals_besides_the_record_is_refused(record, law):
    params = GAME.default_params(arrival_prob=[0.1, 0.3], arrival_modulation=law)
    says = f"^arrival_modulation is {type(law).__name__}; it must be constant where a recorded workload is played$"
    with pytest.raises(ValueError, match=says):
        Recorded(path=record).parts(params)


def test_a_target_that_the_record_cannot_reach_is_refused(tmp_path):
    path = tmp_path / "sparse.csv"
    path.write_text("timestamp,value\n" + "".join(f"{60 * k},{k % 4 == 0:d}\n" for k in range(20)))
    with pytest.raises(ValueError, match=r"^arrival_prob has the mean 0\.9; it must be at most"):
        Recorded(path=str(path)).parts(GAME.default_params(arrival_prob=0.9))
