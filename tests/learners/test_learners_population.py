"""Population-based training: who is copied, what is explored, and what the members have learned by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from climber import Climber, Pace

from jaxdlb.checks import NON_NEGATIVE, POSITIVE, PROBABILITY, SHARE, Interval
from jaxdlb.learners import Evolution, PopulationBasedTraining
from jaxdlb.learners.population import in_turn, inherit, move, parents, side_by_side


def numbers(tree):
    """Every leaf as numbers, random keys as their data."""
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def population(size=8, learner=None, over_members=jax.vmap, **evolution):
    return PopulationBasedTraining(learner or Climber(), size, Evolution(**evolution), over_members)


def trained(learner, updates, seed=0):
    state = jax.jit(learner.init)(jax.random.key(seed))
    update, metrics = jax.jit(learner.update), {}
    for _ in range(updates):
        state, metrics = update(state)
    return state, metrics


def slow_parents(scores, count):
    """Who takes whose place, by sorting Python's lists."""
    finite = [member for member, score in enumerate(scores) if np.isfinite(score)]
    best = sorted(finite, key=lambda member: -scores[member])
    lost = [member for member in range(len(scores)) if member not in finite]
    everyone = best + lost
    leaving = max(count, len(lost))
    found = list(range(len(scores)))
    for place in range(leaving):
        found[everyone[-1 - place]] = best[place % min(count, len(best))]
    return found


# Exploit


@pytest.mark.parametrize("num_lost", [0, 1, 4])
@pytest.mark.parametrize(("size", "count"), [(2, 1), (7, 1), (7, 3), (16, 4), (16, 8)])
def test_the_worst_take_over_from_the_best_in_turn_and_the_lost_all_do(size, count, num_lost):
    random = np.random.default_rng(size + count)
    scores = random.permutation(np.linspace(-5, 3, size)).astype(np.float32)
    lost = random.permutation(size)[: min(num_lost, size - 1)]
    scores[lost] = random.choice([np.nan, -np.inf, np.inf], len(lost))
    assert parents(jnp.asarray(scores), count).tolist() == slow_parents(scores.tolist(), count)


def test_of_equals_the_first_are_kept():
    assert parents(jnp.zeros(6), 2).tolist() == [0, 1, 2, 3, 1, 0]


def test_a_copy_has_everything_of_its_parent_but_the_random_keys():
    members = jax.vmap(Climber().init)(side_by_side(jax.random.key(3), 4))
    parent = jnp.array([0, 2, 2, 0])
    copied = inherit(members, parent)
    for mine, before in zip(jax.tree.leaves(copied), jax.tree.leaves(members), strict=True):
        wanted = before if is_key(before) else before[np.asarray(parent)]
        np.testing.assert_array_equal(*numbers([mine, wanted]))


def test_a_selection_copies_the_best_into_the_worst_and_perturbs_what_copies_explore():
    learner = population(8, interval=5, fraction=0.25, spread=6.0, perturbation=1.5)
    before, _ = trained(learner, 5)
    after, parent = jax.jit(learner.select)(before)
    ranked = np.argsort(-np.asarray(before.earned))
    assert parent[ranked[-1]] == ranked[0] and parent[ranked[-2]] == ranked[1]
    assert np.sum(np.asarray(parent) != np.arange(8)) == 2
    for part in ("params", "optimiser"):
        np.testing.assert_array_equal(getattr(after.members, part), getattr(before.members, part)[parent])
    old, new = (np.asarray(each.members.hyperparameters.learning_rate) for each in (before, after))
    factors = new / old[np.asarray(parent)]
    kept = np.asarray(parent) == np.arange(8)
    assert np.all(factors[kept] == 1)
    np.testing.assert_allclose(np.maximum(factors, 1 / factors)[~kept], 1.5, rtol=1e-6)
    np.testing.assert_array_equal(after.members.hyperparameters.noise, before.members.hyperparameters.noise)
    assert not np.any(after.earned)


def test_members_are_ranked_by_what_they_earned_since_the_last_selection():
    learner = population(4, interval=3)
    state = jax.jit(learner.init)(jax.random.key(1))
    update, earned = jax.jit(learner.update), np.zeros(4, np.float32)
    for made in range(8):
        state, metrics = update(state)
        if made in (3, 6):  # the first updates after a selection
            assert np.sum(np.asarray(metrics["parent"]) != np.arange(4)) == 1
            assert metrics["parent"][np.argmin(earned)] == np.argmax(earned)
            earned[:] = 0
        else:
            np.testing.assert_array_equal(metrics["parent"], np.arange(4))
        earned += np.asarray(metrics["utility"])
        np.testing.assert_allclose(state.earned, earned, rtol=1e-6)


def test_a_member_that_diverges_becomes_a_copy_of_one_that_did_not():
    poisoned = Climber(poison=lambda made, hyper: (made < 2) & (hyper.learning_rate > 0.15))
    learner = population(8, poisoned, interval=4, spread=10.0)
    spoilt, _ = trained(learner, 4)
    lost = ~np.isfinite(spoilt.members.params).all(axis=1)
    assert learner.num_replaced == 2 < lost.sum() < 8, "the test wants more lost members than give way at a time"
    healed, metrics = trained(learner, 5)
    assert np.isfinite(healed.members.params).all()
    assert not lost[np.asarray(metrics["parent"], int)].any()


def test_a_population_climbs_higher_than_its_members_alone():
    """Where learning rates are far too low, copies that climb faster take over; without selection none gets there."""
    slow = Climber(Pace(learning_rate=0.002, momentum=0.1, noise=1e-4))
    evolved, alone = (trained(population(16, slow, interval=i, spread=3.0), 120)[1] for i in (4, 1000))
    assert np.median(evolved["utility"]) > np.max(alone["utility"])
    assert np.median(evolved["hyperparameters/learning_rate"]) > 0.002 * 3


# Explore


def test_first_values_lie_around_those_given_and_the_first_member_has_these():
    state = jax.jit(population(512, spread=8.0).init)(jax.random.key(0))
    hyper = state.members.hyperparameters
    rates = np.log(np.asarray(hyper.learning_rate) / 0.1) / np.log(8.0)
    assert (hyper.learning_rate[0], hyper.momentum[0]) == (np.float32(0.1), np.float32(0.5))
    assert np.all(np.abs(rates) <= 1 + 1e-6)
    # Uniform on [-1, 1]: mean 0 and variance 1/3, with standard errors 0.026 and 0.013 over 512.
    assert abs(rates.mean()) < 4.5 * 0.026 and abs(rates.var() - 1 / 3) < 4.5 * 0.013
    odds = np.asarray(hyper.momentum) / (1 - np.asarray(hyper.momentum))
    assert np.all((odds > 1 / 8.001) & (odds < 8.001)) and odds.std() > 1
    assert abs(np.corrcoef(rates, np.log(odds))[0, 1]) < 4.5 / 512**0.5
    assert np.all(hyper.noise == np.float32(0.01))


@pytest.mark.parametrize(
    "allowed",
    [NON_NEGATIVE, POSITIVE, PROBABILITY, SHARE, Interval(2, 5, low_open=True), Interval(-1, 1, high_open=True)],
)
def test_what_is_moved_by_any_factor_stays_in_its_range(allowed):
    low, high = allowed.low, min(allowed.high, 1e30)
    value = jnp.asarray(np.concatenate([low + (high - low) * np.geomspace(1e-30, 0.999999, 40)]), jnp.float32)
    value = value[np.asarray(allowed.contains(np.asarray(value, np.float64)))]
    for factor in (1e-30, 0.5, 1.0, 1.25, 1e30):
        moved = value
        for _ in range(5):
            moved = move(moved, jnp.full(len(value), factor, jnp.float32), allowed)
        assert np.all(allowed.contains(np.asarray(moved, np.float64))), factor


def test_a_factor_multiplies_the_distance_to_an_end_or_the_odds_between_two():
    value, factor = jnp.array([0.2, 0.5]), jnp.array([3.0, 0.5])
    np.testing.assert_allclose(move(value, factor, NON_NEGATIVE), [0.6, 0.25], rtol=1e-6)
    np.testing.assert_allclose(move(1 + value, factor, Interval(1)), [1.6, 1.25], rtol=1e-6)
    moved = np.asarray(move(value, factor, PROBABILITY))
    np.testing.assert_allclose(moved / (1 - moved), [0.25 * 3, 0.5], rtol=1e-6)


# As a learner


@pytest.mark.parametrize("over_members", [jax.vmap, in_turn])
def test_members_without_selection_are_runs_of_their_own(over_members):
    """Within rounding: what is compiled together is fused in another way."""
    learner = population(3, over_members=over_members, interval=100)
    together, _ = trained(learner, 6)
    start = jax.jit(learner.init)(jax.random.key(0))
    update = jax.jit(learner.learner.update)
    for member in range(3):
        state = jax.tree.map(lambda leaf, member=member: leaf[member], start.members)
        for _ in range(6):
            state, _ = update(state)
        mine = jax.tree.map(lambda leaf, member=member: leaf[member], together.members)
        for one, other in zip(numbers(mine), numbers(state), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_run_is_the_same_again_and_another_seed_makes_another_one():
    learner = population(4, interval=2)
    first, again, other = (trained(learner, 5, seed)[0] for seed in (0, 0, 1))
    for one, two in zip(numbers(first), numbers(again), strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.all(np.asarray(first.members.params) != np.asarray(other.members.params))


def test_every_leaf_of_the_state_has_the_members_in_front():
    state = jax.eval_shape(population(5).init, jax.random.key(0))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {5}


@pytest.mark.parametrize(
    ("size", "evolution", "message"),
    [
        (1, {}, r"^size is 1; it must be an integer ≥ 2"),
        (2.0, {}, r"^size is 2\.0; it must be an integer ≥ 2"),
        (4, {"interval": 0}, r"^interval is 0; it must be an integer ≥ 1"),
        (4, {"fraction": 0.6}, r"^fraction is 0\.6; it must be a finite number in \(0, 0\.5\]"),
        (4, {"spread": 0.5}, r"^spread is 0\.5; it must be a finite number in \[1, 1000000\]"),
        (4, {"perturbation": 0.8}, r"^perturbation is 0\.8; it must be a finite number in \[1, 1000\]"),
        (
            4,
            {"explored": ("learning_rte",)},
            r"^explored\[0\] is 'learning_rte'; it must be one of learning_rate, momentum, noise; did you mean",
        ),
        (4, {"explored": ("noise", "noise")}, r"^explored\[1\] is 'noise'; it must be listed once"),
        (4, {"explored": ()}, r"^explored is empty; it must name at least one of learning_rate, momentum, noise"),
    ],
)
def test_settings_that_are_wrong_are_refused_in_a_sentence(size, evolution, message):
    with pytest.raises(ValueError, match=message):
        population(size, **evolution)


def test_what_stands_at_an_end_of_its_range_cannot_be_explored():
    with pytest.raises(
        ValueError, match=r"^explored\[0\] is 'learning_rate', which is 0 here; it must lie between the ends"
    ):
        population(4, Climber(Pace(learning_rate=0.0)))


def test_a_learner_without_hyperparameters_cannot_be_a_population():
    class Plain(Climber):
        def init(self, key):
            return {"key": key}

    with pytest.raises(
        ValueError, match=r"^size is 4; Plain cannot be a population, since its state has no hyperparam"
    ):
        population(4, Plain())
