"""The ratio rule against the rule in plain Python: its share slice by slice, and the distribution of its choices."""

import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import heuristic
from jaxdlb.games.rack import ENTRY
from jaxdlb.mechanics.peer_view import observe

NODES, SLICES, KEYS = 4, 12, 3000
GAME = jaxdlb.make("rack", num_nodes=NODES)


def observed(slice):
    """Loads and speeds among few, so that a node is often loaded as the mean is; node 3 is loaded most of the time."""
    rng = np.random.default_rng(slice)
    load = rng.choice([2, 2, 6], NODES) + np.array([0, 0, 0, 4])
    alive = rng.random(NODES) < 0.9
    return observe(
        load=jnp.asarray(load, jnp.int32),
        arrived=jnp.asarray(alive & (rng.random(NODES) < 0.9)),
        completed=jnp.asarray(alive),
        rate=jnp.asarray([0.5, 1.0, 1.0, 2.0], jnp.float32),
        alive=jnp.asarray(alive),
        heard_load=jnp.asarray(rng.choice([2, 2, 6], (NODES, NODES)), jnp.int32),
        heard_age=jnp.zeros((NODES, NODES), jnp.int32),
    )


OBSERVATIONS = [observed(slice) for slice in range(SLICES)]


def plain_shares(step):
    """The share that every node keeps in each slice, as the rule says in words."""
    accept, shares = [1.0] * NODES, []
    for observation in OBSERVATIONS:
        for i in range(NODES):
            loads = [float(observation.peers[i, j, 0]) / float(observation.peers[i, j, 2]) for j in range(NODES)]
            mean = sum(loads) / NODES
            if loads[i] > mean:
                accept[i] = max(accept[i] - step, 0.0)
            elif loads[i] < mean:
                accept[i] = min(accept[i] + step, 1.0)
        shares.append(list(accept))
    return np.array(shares)


def played(policy):
    """The share of each node in each slice, and its choices for each of many keys: [T, N] and [T, keys, N]."""
    act = jax.jit(jax.vmap(policy.act, (0, None, None, None)))
    carry, shares, choices, asked = policy.init(GAME), [], [], []
    for slice, observation in enumerate(OBSERVATIONS):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(5), slice), KEYS)
        carries, action = act(keys, carry, observation, None)
        carry = jax.tree.map(lambda leaf: leaf[0], carries)
        shares.append(np.asarray(carry[0]))
        choices.append(np.asarray(action.dispatch))
        asked.append(np.asarray(action.steal))
    return np.array(shares), np.array(choices), np.array(asked)


@pytest.mark.parametrize("step", [None, 0.25])
def test_the_share_and_the_choices_are_those_of_the_rule(step):
    """Frequencies within 4.8 standard errors: about 100 of them, so 0.02% in all."""
    shares, choices, asked = played(heuristic("ratio_rule", **({} if step is None else {"step": step})))
    expected = plain_shares(1 / NODES**2 if step is None else step)
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    for slice, observation in enumerate(OBSERVATIONS):
        for i in range(NODES):
            decides = bool(observation.legal.dispatch[i].sum() > 1)
            kept = expected[slice, i] if decides else 1.0
            law = {j: kept if j == i else (1 - kept) / (NODES - 1) for j in range(NODES)}
            counts = Counter(choices[slice, :, i].tolist())
            for j, share in law.items():
                error = math.sqrt(share * (1 - share) / KEYS)
                assert abs(counts[j] / KEYS - share) <= 4.8 * error + 1e-6
    assert np.all(asked == np.arange(NODES))


def test_the_share_stays_between_nothing_and_everything():
    shares = played(heuristic("ratio_rule", step=0.25))[0]
    assert (shares.min(), shares.max()) == (0.0, 1.0)
    assert np.sum((shares > 0) & (shares < 1)) > 5


def test_a_node_without_peers_that_it_may_choose_keeps_what_arrives():
    policy, alone = heuristic("ratio_rule", step=1.0), jaxdlb.make("rack", num_nodes=1)
    one, up = jnp.ones(1, jnp.int32), jnp.ones(1, bool)
    observation = observe(one, up, up, jnp.ones(1, jnp.float32), up, one, one)
    assert policy.act(jax.random.key(0), policy.init(alone), observation, None)[1].dispatch.tolist() == [0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"step": 0}, "step is 0; it must be a finite number in (0, 1]"),
        ({"step": 1.5}, "step is 1.5; it must be a finite number in (0, 1]"),
        ({"step": "small"}, "step is 'small'; it must be a number"),
        ({"stp": 0.1}, "stp is not an option of ratio_rule"),
    ],
)
def test_a_step_that_is_not_allowed_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=r"^ste?p is ") as refused:
        heuristic("ratio_rule", **options)
    assert str(refused.value).startswith(sentence) and "\n" not in str(refused.value)


def test_the_name_says_the_step_where_it_is_not_the_rules_own():
    assert heuristic("ratio_rule").name == "ratio_rule"
    assert heuristic("ratio_rule", step=0.01).name == "ratio_rule(η=0.01)"


def test_the_steps_that_are_tried_hold_the_rules_own():
    steps = ENTRY.heuristics["ratio_rule"].grid(GAME)["step"]
    assert steps[0] == 1 / NODES**2 and len(set(steps)) == len(steps)
