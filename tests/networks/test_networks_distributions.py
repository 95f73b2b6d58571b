"""A whole action: several heads of all kinds, drawn and weighed together."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxdlb.mechanics import chance
from jaxdlb.networks.distributions import ActionDistribution
from jaxdlb.networks.heads import HEADS
from jaxdlb.spaces import Box, Discrete, Simplex, contains

KEY = jax.random.key(1)
SPACE = {"box": Box(0.0, 2.0, size=2), "one": Discrete(3), "shares": Simplex(4), "two": Discrete(5)}
AGENTS = 6


def whole_action(batch=(), seed=0):
    """A distribution over all kinds of spaces at once, with random scores and masks."""
    rng = np.random.default_rng(seed)
    spaces = list(SPACE.values())
    shapes = {"box": (AGENTS,), "one": (AGENTS, 3), "shares": (AGENTS, 4), "two": (AGENTS, 5)}
    legal = {name: jnp.asarray(rng.random((*batch, *shape)) < 0.6) for name, shape in shapes.items()}
    for name in ("one", "two"):
        legal[name] = legal[name].at[..., 0].set(True)
    heads = [HEADS[type(space)] for space in spaces]
    scores, free = (
        [jnp.asarray(rng.normal(size=(*batch, AGENTS, count)), jnp.float32) for count in counts]
        for counts in (
            [head.num_scores(space) for head, space in zip(heads, spaces, strict=True)],
            [head.num_free(space) for head, space in zip(heads, spaces, strict=True)],
        )
    )
    return ActionDistribution.of(spaces, scores, free, legal), legal


def test_a_whole_action_is_drawn_with_its_structure_and_is_legal():
    distribution, legal = whole_action()
    for action in (jax.jit(lambda d: d.sample(KEY))(distribution), distribution.mode()):
        assert jax.tree.structure(action) == jax.tree.structure(legal)
        assert contains(SPACE, action, legal).all()


def test_the_log_probability_and_entropy_of_an_action_are_sums_over_its_heads():
    distribution, _ = whole_action((3,))
    action = distribution.mode()
    for whole, parts in (
        (distribution.log_prob(action), [head.log_prob(action[name]) for name, head in distribution.heads.items()]),
        (distribution.entropy(), [head.entropy() for head in distribution.heads.values()]),
    ):
        assert whole.shape == (3, AGENTS)
        np.testing.assert_allclose(whole, sum(parts), rtol=1e-5, atol=1e-6)


def test_who_has_a_choice_in_any_head_decides():
    distribution, legal = whole_action((3,), seed=1)
    several = [np.asarray(legal[name]).sum(-1) > 1 for name in ("one", "two", "shares")]
    expected = np.any([*several, np.asarray(legal["box"])], axis=0)
    assert expected.any()
    np.testing.assert_array_equal(distribution.decides, expected)


def test_each_discrete_head_draws_from_a_uniform_number_of_its_own():
    rng = np.random.default_rng(3)
    scores = [jnp.asarray(rng.normal(size=(AGENTS, 5)), jnp.float32) for _ in range(2)]
    legal = (jnp.ones((AGENTS, 5), bool), jnp.ones((AGENTS, 5), bool))
    drawn = ActionDistribution.of([Discrete(5)] * 2, scores, [jnp.zeros((AGENTS, 0))] * 2, legal).sample(KEY)
    for logits, number, choice in zip(scores, chance.uniforms(KEY, 2, AGENTS), drawn, strict=True):
        cumulative = np.cumsum(scipy.special.softmax(np.asarray(logits, np.float64), axis=-1), axis=-1)
        np.testing.assert_array_equal(choice, (cumulative < np.asarray(number)[:, None]).sum(-1))


def test_a_vmapped_distribution_draws_for_each_cluster_what_it_draws_alone():
    distribution, _ = whole_action((3,))
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(lambda distribution, key: distribution.sample(key))(distribution, keys)
    alone = jax.tree.map(lambda leaf: leaf[1], distribution).sample(keys[1])
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[1], other, rtol=1e-5, atol=1e-7)
