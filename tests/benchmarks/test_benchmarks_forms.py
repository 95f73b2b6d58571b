"""An obvious form stands in a program in the place of ours, and gives the same."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from benchmarks import forms
from benchmarks.reference import plain
from benchmarks.timing import Spread
from jaxdlb.mechanics.peer_view import Action
from jaxdlb.networks.torsos import Affine

X = jax.random.normal(jax.random.key(1), (7, 3))


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_layer_with_the_kernel_the_other_way_round_is_the_same_layer(use_bias):
    ours, obvious = Affine(4, use_bias), plain.Affine(4, use_bias)
    weights = ours.init(jax.random.key(0), X)
    turned = jax.tree.map(jnp.transpose, weights)
    assert jax.tree.map(jnp.shape, turned) == jax.tree.map(jnp.shape, obvious.init(jax.random.key(0), X))
    np.testing.assert_allclose(obvious.apply(turned, X), ours.apply(weights, X), rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_replaced_has_the_obvious_kernel_until_it_is_put_back():
    (form,) = forms.OF_AN_UPDATE
    with form.in_place():
        assert Affine(4).init(jax.random.key(0), X)["params"]["kernel"].shape == (3, 4)
    assert Affine(4).init(jax.random.key(0), X)["params"]["kernel"].shape == (4, 3)


@pytest.mark.parametrize("form", forms.OF_A_ROUND, ids=lambda form: form.name)
def test_a_round_with_an_obvious_form_in_it_is_another_program_and_the_same_round(form):
    num_nodes = 40 if form.what == "stealing" else 8  # where ours is another way than the obvious one
    game, everyone = jaxdlb.make("dlb", num_nodes=num_nodes), jnp.ones(num_nodes, bool)
    params = game.default_params(initial_load=2, heartbeat_phase=range(num_nodes))
    state = game.reset(jax.random.key(0), params)[0]
    state = dataclasses.replace(state, arrived=everyone, completed=everyone, load=state.load.at[3].set(7))
    action = Action(dispatch=jnp.arange(num_nodes)[::-1], steal=jnp.full(num_nodes, 3))

    inputs = (jax.random.key(1), state, action, params)
    ours = jax.jit(functools.partial(game.step)).lower(*inputs)
    with form.in_place():
        obvious = jax.jit(functools.partial(game.step)).lower(*inputs)
    assert obvious.as_text() != ours.as_text()
    after, others = (lowered.compile()(*inputs) for lowered in (ours, obvious))
    assert after[1].metrics["steals"] == others[1].metrics["steals"] == 5  # of 7, one completes and one is in service
    for name in ("load", "in_transit", "heard_load", "heard_age"):
        assert jnp.array_equal(getattr(after[0], name), getattr(others[0], name)), name


def test_an_update_is_traced_anew_with_the_obvious_form(monkeypatch):
    """With a layer for a learner, whose update says how its kernel lies."""
    kernels = []

    def make_learner(setting):
        def update(state):
            kernels.append(state["params"]["kernel"].shape)
            return jax.tree.map(lambda weights: 0.9 * weights, state), Affine(4).apply(state, X)

        return types.SimpleNamespace(init=lambda key: Affine(4).init(key, X), update=update)

    monkeypatch.setattr(forms.learners, "make_learner", make_learner)
    options = types.SimpleNamespace(agents=8, rollout_length=4, seed=0, repeats=2, min_seconds=1e-3)
    result = forms.of_an_update("mlp", options)
    assert kernels == [(4, 3), (3, 4)]
    assert list(result["obvious_over_ours"]) == [form.name for form in forms.OF_AN_UPDATE]


@pytest.mark.parametrize(("median", "verdict"), [(1.05, "yes"), (1.04, "no")])
def test_a_form_stays_where_it_gains_five_percent_somewhere(median, verdict):
    costs = [{form.name: Spread(each, each, each) for form in forms.OF_A_ROUND} for each in (0.9, median)]
    results = [
        {"program": "round", "num_nodes": num_nodes, "obvious_over_ours": cost}
        for num_nodes, cost in zip((8, 16), costs, strict=True)
    ]
    rows = forms.to_text(results).splitlines()[1 : 1 + len(forms.OF_A_ROUND)]
    assert all(row.endswith(verdict) for row in rows)
