"""The game against an independent scalar reference of its round, event for event."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.episodes import batch_player, check_episode, entry, player, random_actions, random_clusters

from jaxdlb.games.dlb import DLB
from jaxdlb.mechanics.arrivals import Constant, MarkovModulated, Sinusoidal, Step, Trace

ROUNDS = 24

probabilities = st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32)
rates = st.just(1.0) | st.floats(0.0625, 1, width=32)
weights = st.just(0.0) | st.floats(0, 10, width=32)
factors = st.floats(0, 3, width=32)
modulations = {
    "constant": st.builds(Constant),
    "sinusoidal": st.builds(
        Sinusoidal,
        amplitude=st.floats(0, 1, width=32),
        period=st.floats(2, 50, width=32),
        phase=st.floats(-20, 20, width=32),
    ),
    "step": st.builds(Step, at=st.integers(0, ROUNDS + 2), before=factors, after=factors),
    "markov": st.builds(
        MarkovModulated, calm=factors, busy=factors, calm_to_busy=probabilities, busy_to_calm=probabilities
    ),
    "trace": st.builds(
        Trace,
        factors=st.lists(factors, min_size=5, max_size=5),
        rounds_per_sample=st.integers(1, 4),
        random_start=st.booleans(),
    ),
}

# Every size, imbalance, kind of heartbeat and law of arrivals at least once; a pair of sizes and law compiles once.
CASES = {
    "one node": (DLB(1, capacity=3, max_delay=0), "constant"),
    "two nodes": (DLB(2, capacity=4, max_delay=1, imbalance="range", heartbeats="per_link"), "sinusoidal"),
    "step": (DLB(3, capacity=5, max_delay=2, imbalance="mean_absolute"), "step"),
    "regimes": (DLB(4, capacity=6, max_delay=3, heartbeats="per_link"), "markov"),
    "recorded": (DLB(5, capacity=4, max_delay=4), "trace"),
    "crowded": (DLB(8, capacity=2, max_delay=2, imbalance="range"), "constant"),
    "no delays": (DLB(3, capacity=2, max_delay=0, imbalance="mean_absolute", heartbeats="per_link"), "trace"),
    "capacity 1": (DLB(6, capacity=1, max_delay=5, heartbeats="per_link"), "constant"),
}


@st.composite
def parameters(draw, game, modulation):
    """Fields for `default_params`, extreme ones included."""

    def per_node(entries):
        return draw(st.lists(entries, min_size=game.num_nodes, max_size=game.num_nodes))

    has_churn = draw(st.booleans())
    has_loss = game.heartbeats == "per_link" and draw(st.booleans())
    return dict(
        arrival_prob=per_node(probabilities),
        completion_prob=per_node(rates),
        migration_cost=draw(weights),
        steal_cost=draw(weights),
        imbalance_weight=draw(weights),
        holding_weight=draw(weights),
        drop_cost=draw(weights),
        transfer_delay=draw(st.integers(0, game.max_delay)),
        heartbeat_period=draw(st.integers(1, 8)),
        heartbeat_phase=per_node(st.integers(0, 20)),
        heartbeat_delay=draw(st.integers(0, game.max_delay)),
        heartbeat_loss=draw(st.floats(0, 0.9375, width=32)) if has_loss else 0.0,
        failure_prob=per_node(probabilities) if has_churn else 0.0,
        repair_prob=per_node(probabilities) if has_churn else 0.0,
        arrival_modulation=draw(modulations[modulation]),
        selfishness=draw(probabilities),
        horizon=draw(st.integers(1, ROUNDS + 2)),
        initial_load=per_node(st.integers(0, game.capacity)),
    )


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=settings.default.max_examples // 4)  # of eight cases; each example plays ROUNDS rounds
@given(data=st.data())
def test_every_round_of_a_random_cluster_is_the_references(case, data):
    game, modulation = CASES[case]
    params = game.default_params(**data.draw(parameters(game, modulation), label="params"))
    seed = data.draw(st.integers(0, 2**31), label="seed")
    game.validate(params)
    actions = random_actions(np.random.default_rng(seed), (ROUNDS, game.num_nodes))
    states, timesteps = player(game)(jax.random.key(seed), params, actions)
    check_episode(game, params, states, timesteps, actions)


def test_every_pair_of_delays_is_the_references():
    game = DLB(4, capacity=6, max_delay=3, heartbeats="per_link")
    generator = np.random.default_rng(20)
    pairs = [(transfer, heartbeat) for transfer in range(4) for heartbeat in range(4)] * 2
    transfer, heartbeat = zip(*pairs, strict=True)
    params = random_clusters(game, generator, len(pairs), transfer_delay=transfer, heartbeat_delay=heartbeat)
    actions = random_actions(generator, (len(pairs), 40, 4))
    keys = jax.random.split(jax.random.key(21), len(pairs))
    states, timesteps = batch_player(game)(keys, params, actions)
    for i in range(len(pairs)):
        check_episode(game, *entry((params, states, timesteps, actions), i))
