import jax
import jax.numpy as jnp
import numpy as np

import jaxdlb
from jaxdlb.games.dlb import Action
from jaxdlb.learners import environments

GAME = jaxdlb.make("dlb", num_nodes=3, capacity=10)
BASE = GAME.default_params(horizon=4)
NODES = jnp.arange(3)


def play(sample_params, num_envs, num_steps, key=0, stagger=0):
    """Everybody keeps everything; the environments after each step, and the time steps."""
    reset = jax.jit(environments.reset, static_argnums=(0, 1, 3, 4))
    start = reset(GAME, sample_params, jax.random.key(key), num_envs, stagger)
    keep = Action(dispatch=jnp.tile(NODES, (num_envs, 1)), steal=jnp.tile(NODES, (num_envs, 1)))

    def one(at, _):
        following, timestep, state = environments.step(GAME, sample_params, at, keep)
        return following, (following, timestep, state)

    return start, *jax.jit(lambda start: jax.lax.scan(one, start, None, num_steps))(start)[1]


def as_numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_an_episode_that_ends_begins_anew_and_its_last_state_is_told():
    _, after, timesteps, states = play(lambda key: BASE, 2, 9)
    assert timesteps.last[:, 0].tolist() == [False] * 3 + [True] + [False] * 3 + [True, False]
    assert states.round[:, 0].tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert after.state.round[:, 0].tolist() == [1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert (after.first == timesteps.last).all()
    assert not after.state.load[3].any()


def test_only_the_finished_environments_begin_anew():
    def sample(key):
        return BASE.replace(horizon=jax.random.randint(key, (), 2, 9))

    start, after, timesteps, _ = play(sample, 16, 12)
    assert 0 < int(timesteps.last.sum()) < timesteps.last.size
    ages = np.zeros(16, int)
    for t in range(12):
        ages = np.where(timesteps.last[t], 0, ages + 1)
        assert after.state.round[t].tolist() == ages.tolist()
    redrawn = after.params.horizon != jnp.concatenate([start.params.horizon[None], after.params.horizon[:-1]])
    assert redrawn.any()
    assert not (redrawn & ~timesteps.last).any()


def test_first_episodes_are_cut_so_that_later_ones_end_in_different_steps():
    params = BASE.replace(horizon=20)
    start, after, timesteps, _ = play(lambda key: params, 64, 45, stagger=20)
    assert 0 <= int(start.cut.min()) < int(start.cut.max()) < 20
    ends = [np.flatnonzero(each) + 1 for each in np.asarray(timesteps.last).T]
    for cut, steps in zip(start.cut.tolist(), ends, strict=True):
        first = cut or 20
        assert steps.tolist() == [step for step in (first, first + 20, first + 40) if step <= 45]
    assert len({steps[0] for steps in ends}) > 10
    assert np.all(np.asarray(timesteps.discount) == 1)
    assert not np.asarray(after.state.round)[np.asarray(timesteps.last)].any()


def test_an_environment_plays_the_same_whatever_the_number_of_others():
    sample = jaxdlb.games.randomised(GAME, BASE, load=(0.3, 0.9), completion_prob=(0.2, 1.0))
    small, large = (play(sample, count, 10, stagger=4)[1:] for count in (2, 7))
    for alone, among_others in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        np.testing.assert_array_equal(as_numbers(alone), as_numbers(among_others)[:, :2])


def test_environments_differ_from_each_other_in_parameters_and_events():
    sample = jaxdlb.games.randomised(GAME, BASE, load=(0.3, 0.9))
    start, _, timesteps, _ = play(sample, 8, 20)
    assert len(set(start.params.arrival_prob[:, 0].tolist())) == 8
    assert len({tuple(column) for column in timesteps.metrics["arrivals"].T.tolist()}) == 8
