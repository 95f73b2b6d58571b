"""Every field of the parameters refuses what it must not hold, in one sentence with its name and range."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.games.dlb import DLB, Params
from jaxdlb.mechanics.arrivals import MarkovModulated, Sinusoidal, Step, Trace

N, K, D = 3, 20, 2
GAME = DLB(N, capacity=K, max_delay=D, heartbeats="per_link")
NAN, INF = float("nan"), float("inf")

# Field -> (what the message calls the allowed range, least allowed, greatest allowed, values out of range).
PROBABILITY = ("a finite number in [0, 1]", 0, 1, [-0.01, 1.01])
COST = ("a finite number in [0, 1000000]", 0, 1e6, [-0.01, 1e6 + 1, 3e38])
LARGEST = 2**31 - 1
PER_NODE = {
    "arrival_prob": PROBABILITY,
    "completion_prob": ("a finite number in [1e-06, 1]", 1e-3, 1, [0.0, 1e-37, -0.1, 1.01]),
    "heartbeat_phase": (f"an integer in [0, {LARGEST}]", 0, 100, [-1, 0.5]),
    "failure_prob": PROBABILITY,
    "repair_prob": PROBABILITY,
    "initial_load": (f"an integer in [0, {K}]", 0, K, [-1, K + 1, 0.5]),
}
SCALAR = {
    "migration_cost": COST,
    "steal_cost": COST,
    "imbalance_weight": COST,
    "holding_weight": COST,
    "drop_cost": COST,
    "transfer_delay": (f"an integer in [0, {D}]", 0, D, [-1, D + 1, 0.5]),
    "heartbeat_period": (f"an integer in [1, {LARGEST}]", 1, 100, [0, -1, 1.5]),
    "heartbeat_delay": (f"an integer in [0, {D}]", 0, D, [-1, D + 1, 0.5]),
    "heartbeat_loss": ("a finite number in [0, 1)", 0, 0.99, [1.0, -0.01]),
    "selfishness": PROBABILITY,
    "horizon": (f"an integer in [1, {LARGEST}]", 1, 100, [0, -1, 1.5]),
}
FIELDS = PER_NODE | SCALAR


def bad_entries():
    for name, (allowed, _, _, out_of_range) in FIELDS.items():
        for bad in [*out_of_range, NAN, INF, -INF]:
            yield pytest.param(name, bad, allowed, id=f"{name}={bad}")


def with_entry(name, value):
    """The field's array, its last entry being `value`, as float64: so that the check itself is tested, not a cast."""
    array = np.array(getattr(GAME.default_params(), name), np.float64)
    array[(-1,) * array.ndim] = value
    return array


def as_message(name, bad):
    return f"{name}[{N - 1}] is {bad:g}" if name in PER_NODE else f"{name} is {bad:g}"


def test_the_table_above_names_every_field():
    assert FIELDS.keys() | {"arrival_modulation"} == {field.name for field in dataclasses.fields(Params)}


@pytest.mark.parametrize(("name", "bad", "allowed"), list(bad_entries()))
def test_validate_refuses_an_entry_out_of_range(name, bad, allowed):
    params = dataclasses.replace(GAME.default_params(), **{name: with_entry(name, bad)})
    with pytest.raises(ValueError) as refusal:
        GAME.validate(params)
    assert str(refusal.value) == f"{as_message(name, bad)}; it must be {allowed}"


@pytest.mark.parametrize(("name", "bad", "allowed"), list(bad_entries()))
def test_default_params_refuses_an_entry_out_of_range(name, bad, allowed):
    with pytest.raises(ValueError) as refusal:
        GAME.default_params(**{name: with_entry(name, bad)})
    assert str(refusal.value) == f"{as_message(name, bad)}; it must be {allowed}"


@pytest.mark.parametrize("name", FIELDS)
def test_the_ends_of_the_allowed_range_are_accepted(name):
    _, low, high, _ = FIELDS[name]
    for value in (low, high):
        GAME.validate(GAME.default_params(**{name: with_entry(name, value)}))


@pytest.mark.parametrize("name", FIELDS)
def test_validate_refuses_an_array_of_the_wrong_shape(name):
    shape = (N,) if name in PER_NODE else ()
    value = getattr(GAME.default_params(), name)
    for wrong in (jnp.broadcast_to(value, (2, *shape)), jnp.broadcast_to(value.ravel()[:1], (N + 1,))):
        with pytest.raises(ValueError) as refusal:
            GAME.validate(dataclasses.replace(GAME.default_params(), **{name: wrong}))
        assert str(refusal.value) == f"{name} has shape {wrong.shape}; it must have shape {shape}"


@pytest.mark.parametrize("name", FIELDS)
def test_default_params_refuses_lists_of_the_wrong_length_and_what_is_no_number(name):
    good = float(np.asarray(getattr(GAME.default_params(), name)).ravel()[0])
    with pytest.raises(ValueError, match=rf"^{name} has shape \({N + 1},\); it must have shape \("):
        GAME.default_params(**{name: [good] * (N + 1)})
    for wrong in ("fast", [[good], [good, good]], {"a": 1}):
        with pytest.raises(ValueError, match=rf"^{name} is .*; it must be a number or a list of numbers$"):
            GAME.default_params(**{name: wrong})


def test_one_bad_number_for_all_nodes_is_named_without_an_index():
    with pytest.raises(ValueError, match=r"^completion_prob is 0; it must be a finite number in \[1e-06, 1\]$"):
        GAME.default_params(completion_prob=0)


def test_shared_heartbeats_refuse_a_loss():
    shared = DLB(N)
    shared.validate(shared.default_params(heartbeat_loss=0))
    lossy = dataclasses.replace(shared.default_params(), heartbeat_loss=jnp.float32(0.25))
    with pytest.raises(ValueError, match=r"^heartbeat_loss is 0.25; it must be 0 with heartbeats=shared, .*per_link"):
        shared.validate(lossy)
    GAME.validate(GAME.default_params(heartbeat_loss=0.25))


@pytest.mark.parametrize("max_delay", [0, 1, 4])
def test_delays_reach_to_the_games_max_delay(max_delay):
    game = DLB(N, max_delay=max_delay)
    game.validate(game.default_params(transfer_delay=max_delay, heartbeat_delay=max_delay))
    assert game.default_params().transfer_delay == min(max_delay, 1)  # the default, or what comes nearest to it
    for name in ("transfer_delay", "heartbeat_delay"):
        delays = {"transfer_delay": 0, "heartbeat_delay": 0} | {name: max_delay + 1}
        with pytest.raises(
            ValueError, match=rf"^{name} is {max_delay + 1}; it must be an integer in \[0, {max_delay}\]"
        ):
            game.validate(game.default_params(**delays))


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Sinusoidal(amplitude=1.5), r"amplitude is 1.5; it must be a finite number in \[0, 1\]"),
        (Sinusoidal(amplitude=-0.1), r"amplitude is -0.1; it must be a finite number in \[0, 1\]"),
        (Sinusoidal(period=0.0), "period is 0; it must be a finite number ≥ 2"),
        (Sinusoidal(period=1.5), "period is 1.5; it must be a finite number ≥ 2"),
        (Sinusoidal(period=NAN), "period is nan; it must be a finite number ≥ 2"),
        (Sinusoidal(phase=INF), "phase is inf; it must be a finite number$"),
        (Step(at=-1), "at is -1; it must be an integer in"),
        (Step(at=2.5), "at is 2.5; it must be an integer in"),
        (Step(before=-1.0), r"before is -1; it must be a finite number in \[0, 1e\+12\]"),
        (Step(after=NAN), r"after is nan; it must be a finite number in \[0, 1e\+12\]"),
        (MarkovModulated(calm=-1.0), r"calm is -1; it must be a finite number in \[0, 1e\+12\]"),
        (MarkovModulated(busy=INF), r"busy is inf; it must be a finite number in \[0, 1e\+12\]"),
        (MarkovModulated(calm_to_busy=1.1), r"calm_to_busy is 1.1; it must be a finite number in \[0, 1\]"),
        (MarkovModulated(busy_to_calm=-0.1), r"busy_to_calm is -0.1; it must be a finite number in \[0, 1\]"),
        (Trace(factors=[]), "factors is empty; it must hold at least one sample"),
        (Trace(factors=[1.0, -1.0]), r"factors\[1\] is -1; it must be a finite number in \[0, 1e\+12\]"),
        (Trace(factors=[1.0, NAN]), r"factors\[1\] is nan; it must be a finite number in \[0, 1e\+12\]"),
        (Trace(factors=[[1.0, 2.0]]), r"factors has shape \(1, 2\); it must have shape \(2,\)"),
        (Trace(factors=2.0), r"factors has shape \(\); it must have shape \(1,\)"),
        (Trace(factors=[1.0], rounds_per_sample=0), "rounds_per_sample is 0; it must be an integer in"),
        (Trace(factors=[1.0], random_start=2), "random_start is 2; it must be"),
    ],
)
def test_laws_of_arrival_refuse(law, message):
    message = rf"^arrival_modulation\.{message}"
    with pytest.raises(ValueError, match=message):
        GAME.default_params(arrival_modulation=law)
    with pytest.raises(ValueError, match=message):
        GAME.validate(dataclasses.replace(GAME.default_params(), arrival_modulation=law))


def test_default_params_refuses_a_loss_of_shared_heartbeats_as_validate_does():
    shared = DLB(N)
    with pytest.raises(ValueError, match=r"^heartbeat_loss is 0.25; it must be 0 with heartbeats=shared"):
        shared.default_params(heartbeat_loss=0.25)
