"""Arrivals that vary with time: in every round they happen with p · factor, clipped to [0, 1]."""

import jax
import numpy as np
import pytest
from reference.dlb import arrival_factor
from reference.episodes import as_plain, assert_frequency, batch_player, clusters, no_ops

from jaxdlb.games.dlb import DLB
from jaxdlb.mechanics.arrivals import MarkovModulated, Sinusoidal, Step, Trace

CLUSTERS, ROUNDS = 3000, 14
GAME = DLB(2, capacity=4, max_delay=0)
ARRIVAL = [0.3, 0.8]
LAWS = {
    "sinusoidal": Sinusoidal(amplitude=0.6, period=9.0, phase=2.0),
    "step": Step(at=6, before=0.5, after=2.0),  # node 1 then has p · factor = 1.6, clipped to 1
    "regimes": MarkovModulated(calm=0.4, busy=1.2, calm_to_busy=0.2, busy_to_calm=0.4),
    "trace": Trace(factors=[0.0, 1.0, 0.5, 2.0], rounds_per_sample=2, random_start=True),
    "trace from its beginning": Trace(factors=[0.0, 1.0, 0.5, 2.0], rounds_per_sample=3, random_start=False),
}
NUM_STATES = {"regimes": 2, "trace": 4}


@pytest.mark.parametrize("name", LAWS)
def test_arrivals_follow_the_law_in_every_round(name):
    params = clusters(GAME, CLUSTERS, arrival_prob=ARRIVAL, arrival_modulation=LAWS[name])
    keys = jax.random.split(jax.random.key(23), CLUSTERS)
    states, _ = batch_player(GAME)(keys, params, no_ops(CLUSTERS, ROUNDS, 2))
    plain = as_plain(GAME.default_params(arrival_modulation=LAWS[name]))
    for t in range(ROUNDS + 1):
        for state in np.unique(states.modulation[:, t]):
            factor = arrival_factor(plain.kind, plain.law, int(state), t)
            trials = np.asarray(states.modulation[:, t] == state)
            for i in range(2):
                assert_frequency(np.asarray(states.arrived[:, t, i]), trials, min(ARRIVAL[i] * factor, 1.0))
    assert len(np.unique(states.modulation)) == NUM_STATES.get(name, 1)


def test_the_factor_is_the_one_of_the_round_in_which_the_task_arrives():
    """The events that `reset` draws are those of round 0, and the last ones of a run those of its last round + 1."""
    params = clusters(GAME, CLUSTERS, arrival_prob=1.0, arrival_modulation=Step(at=2, before=0.0, after=1.0))
    keys = jax.random.split(jax.random.key(1), CLUSTERS)
    states, timesteps = batch_player(GAME)(keys, params, no_ops(CLUSTERS, ROUNDS, 2))
    assert states.arrived[0, :5, 0].tolist() == [False, False, True, True, True]
    assert timesteps.metrics["arrivals"][0, :5].tolist() == [0, 0, 0, 2, 2]
