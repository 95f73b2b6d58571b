"""At each end of what a parameter may be, with all others as by default, a game's numbers stay finite."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import parameters, ranges, spaces

SIZES = {
    "dlb": {"num_nodes": 3},
    "rack": {"num_nodes": 3, "max_tasks": 64, "max_cores": 2, "max_io_cores": 1, "max_arrivals": 8},
    "pods": {"num_pods": 3, "queue_capacity": 4, "max_arrivals": 6, "percentiles": True},
    "cluster": {"num_nodes": 3, "num_dispatchers": 2, "num_candidates": 2, "max_tasks": 3, "episode_tasks": 12},
}
NUM_ROUNDS = 20


def at_its_ends(game, params):
    """By its path and the end, `params` with one parameter there, wherever the game accepts that."""
    for path, _, _, declaration, value in parameters.walk(params):
        allowed = declaration.laws is None and declaration.within(game)
        if not allowed or allowed.integer or not jnp.issubdtype(jnp.asarray(value).dtype, jnp.floating):
            continue
        for end in (allowed.low, allowed.high):
            other = ranges.replaced(params, path, jnp.full_like(value, end))
            try:
                game.validate(other)
            except ValueError:  # an open end, or one that another parameter forbids
                continue
            yield f"{path}={end:g}", other


def played(game):
    """A function from parameters to rewards, metrics, observations and global states of rounds played at random."""

    def play(params):
        def step(carry, key):
            state, timestep = carry
            action = spaces.sample(game.action_space, key, timestep.observation.legal)
            state, timestep = game.step(key, state, action, params)
            made = timestep.reward, timestep.metrics, timestep.observation, game.global_state(state, params)
            return (state, timestep), made

        keys = jax.random.split(jax.random.key(0), NUM_ROUNDS)
        return jax.lax.scan(step, game.reset(keys[0], params), keys)[1]

    return play


@pytest.mark.parametrize("name", SIZES)
def test_no_end_of_a_declared_range_makes_numbers_infinite(name):
    game = jaxdlb.make(name, **SIZES[name])
    ends = dict(at_its_ends(game, game.default_params()))
    every = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends.values())
    made = jax.tree.leaves(jax.jit(jax.vmap(played(game)))(every))
    wrong = {end for index, end in enumerate(ends) for leaf in made if not np.all(np.isfinite(leaf[index]))}
    assert not wrong
    assert len(ends) >= 10


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("dlb", "drop_cost", 3e38),
        ("dlb", "completion_prob", 1e-37),
        ("dlb", "imbalance_weight", 1e7),
        ("rack", "steal_cost", 3e38),
        ("rack", "core_perf", 1e-37),
    ],
)
def test_what_would_make_rewards_infinite_is_refused(name, field, value):
    sentence = re.escape(f" is {value:g}; it must be a finite number in ")
    with pytest.raises(ValueError, match=rf"^{field}(\[0\])?{sentence}"):
        jaxdlb.make(name).default_params(**{field: value})
