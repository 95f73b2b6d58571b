"""What a certificate says is what the solver found, in its text, its data and its figures."""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_chains import chain_of

import jaxdlb
from jaxdlb.evaluation.roles import ROLES
from jaxdlb.networks import NetworkConfig, build_actor, features, normalisation
from jaxdlb.policies import learned
from jaxdlb.theory import certificate as certificates
from jaxdlb.theory import certificate_plot, equilibrium, optimal, table
from jaxdlb.theory import chain as chains

UNEVEN = ((0.3, 0.6), 0.7, 3)
NAMES = ("local", "random", "threshold_stealing", "oracle_shortest_expected_delay", "round_robin")


@functools.cache
def certified():
    """A chain, the certificate of heuristics and a policy that learned nothing, and the optimal weights."""
    chain = chain_of(*UNEVEN)
    policies = [*map(jaxdlb.heuristic, NAMES), *(blank(chain.common.game, each) for each in (False, True))]
    return chain, *certificates.certify(chain, policies, {"game": {"num_nodes": 2}})


def blank(game, recurrent):
    """A network of zeros, which chooses evenly among what is legal."""
    actor = build_actor(game, NetworkConfig(kind="mlp", hidden=(4,), recurrent=recurrent), True)
    shapes = learned.variable_shapes(game, actor)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.actor)
    moments = normalisation.initial_moments(jax.tree.map(jnp.zeros_like, features(game.observation_shapes)))
    name = "learned by gru" if recurrent else "learned by mlp"
    return learned.LearnedPolicy(game, actor, learned.PolicyVariables(zeros, moments), name=name)


def test_each_line_holds_what_the_solver_says_of_the_policy():
    chain, certificate, _ = certified()
    best = optimal.team(chain)[0].average
    for name in ("local", "random", "threshold_stealing", "oracle_shortest_expected_delay"):
        line = certificate.line(jaxdlb.heuristic(name).name)
        weights = chain.weights(jaxdlb.heuristic(name))
        (values,) = chains.evaluate(chain, chain.joint(weights))
        gains = [each.gain for each in equilibrium.deviations(chain, weights, 0.0)]
        assert line.utility == values.average
        assert line.gap == pytest.approx(values.average / best - 1)
        assert line.nash_gap == pytest.approx(max(gains) / -values.average)
    assert [line.utility for line in certificate.lines] == sorted(line.utility for line in certificate.lines)[::-1]
    assert certificate.lines[0] == certificates.Line(
        "team optimum", "optimal", best, 0.0, certificate.lines[0].nash_gap
    )
    assert certificate.lines[0].nash_gap < 1e-6
    evenly = [
        chain.choice_probs[:, agent] / np.bincount(chain.choices.event)[chain.choices.event] for agent in range(2)
    ]
    (values,) = chains.evaluate(chain, chain.joint(evenly))
    assert certificate.line("learned by mlp").utility == pytest.approx(values.average, rel=1e-6)
    assert certificate.centralised[0] > certificate.team[1] >= certificate.team[0]
    assert certificate.num_states == 2 * 4**2 and certificate.is_potential


def test_policies_that_remember_are_left_out_with_the_reason():
    _, certificate, _ = certified()
    reason = "it must not remember, for its probabilities to be known"
    assert certificate.left_out == {"round_robin": reason, "learned by gru": reason}
    assert f"Not certified: round_robin ({reason})." in certificates.to_text(certificate)


def test_text_and_json_say_the_same():
    _, certificate, _ = certified()
    text, data = certificates.to_text(certificate), certificates.to_json(certificate)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    rows = [row.split() for row in text.splitlines()[1 : 1 + len(data["lines"])]]
    for row, line in zip(rows, data["lines"], strict=True):
        mark = ROLES[line["kind"]].mark.split()
        *name, utility = row[: len(mark) + len(line["name"].split()) + 1]
        assert " ".join(name) == " ".join([*mark, line["name"]])
        assert float(utility) == pytest.approx(line["utility"], abs=1e-5)
    assert f"{certificate.team[0]:.6f}" in text and f"{certificate.centralised[0]:.6f}" in text
    assert "» learned   † an oracle: sees the true state   = optimal" in text
    assert "learned by mlp is not near-optimal" in text and "all agents share one utility" in text


@pytest.mark.parametrize(("gap", "nash_gap", "said"), [(0.009, 0.02, "near-optimal, 0.900%"), (0.02, 0.0, "not near-")])
def test_a_verdict_is_about_both_gaps(gap, nash_gap, said):
    sentence = certificates.verdict(certificates.Line("it", "learned", -1.0, gap, nash_gap))
    assert sentence.startswith(f"it is {said}")
    assert ("and a near-equilibrium" in sentence) == (nash_gap < 0.01)


def test_what_is_not_finite_is_null_in_json():
    _, certificate, _ = certified()
    lost = dataclasses.replace(certificate, price_of_anarchy=float("nan"))
    assert certificates.to_json(lost)["price_of_anarchy"] is None
    assert "best responses ended in no equilibrium" in certificates.to_text(lost)


def test_the_table_plays_what_the_team_optimum_prescribes_in_every_state_and_round():
    chain, _, weights = certified()
    common, policy = chain.common, table.prescriptions(chain, weights)

    def act(load, round, event):
        state = common.state(load, *(jnp.broadcast_to(each, 2) for each in event), round)
        return policy.act(jax.random.key(0), round, common.game.true_observation(state, common.params), common.params)

    every = jax.jit(jax.vmap(jax.vmap(act, (None, None, 0)), (0, 0, None)))
    later, actions = every(chain.loads, chain.rounds + 6, np.array(chains.EVENTS))  # 6 rounds on, modulo 2 the same
    np.testing.assert_array_equal(later[:, 0], chain.rounds + 7)
    choices = chain.choices
    for agent, event in itertools.product(range(2), range(4)):
        group = choices.groups[event]
        likely = weights[agent][:, group] > 0
        chosen = (choices.dispatch[agent, group] == np.asarray(actions.dispatch)[:, event, agent, None]) & (
            choices.steal[agent, group] == np.asarray(actions.steal)[:, event, agent, None]
        )
        possible = likely.any(axis=1)  # where nothing is there to complete, no event
        assert possible.any() and np.all((likely & chosen).any(axis=1)[possible])


def test_a_load_beyond_the_tables_is_taken_for_their_largest():
    chain, _, weights = certified()
    policy = table.prescriptions(chain, weights)
    game = jaxdlb.make("dlb", num_nodes=2, capacity=9)
    params = chain.common.params
    common = type(chain.common)(game, params)
    acted = [
        policy.act(
            jax.random.key(0),
            jnp.int32(0),
            game.true_observation(common.state(jnp.array(loads), *ENDS), params),
            params,
        )[1]
        for loads in ([3, 1], [9, 1])
    ]
    jax.tree.map(np.testing.assert_array_equal, *acted)


ENDS = (jnp.array([True, True]), jnp.array([True, False]), jnp.int32(0))  # events and round


def test_the_switching_curve_is_when_a_policy_sends_away():
    chain, _, weights = certified()
    stays = certificates.migrates(chain, chain.weights(jaxdlb.heuristic("local"))[0], 0)
    evenly = certificates.migrates(chain, chain.weights(jaxdlb.heuristic("random"))[0], 0)
    np.testing.assert_array_equal(stays, 0.0)
    np.testing.assert_allclose(evenly, 0.5)
    best = certificates.migrates(chain, weights[0], 0)
    assert set(best) == {0.0, 1.0}
    crowded, idle = (np.all(chain.loads == loads, axis=1) for loads in ([3, 0], [0, 3]))
    assert best[crowded].all() and not best[idle].any()


def test_the_figures_show_every_policy_and_no_words_overlap():
    chain, certificate, weights = certified()
    shown = {name: weights[0] for name in ("team optimum", "learned, greedy", "threshold_stealing(margin=4, and more)")}
    drawn = certificate_plot.figures(chain, certificate, shown)
    switching, gaps = (drawn[name][1] for name in ("switching", "gaps"))
    images = [image.get_array() for axes in switching.axes for image in axes.get_images()]
    np.testing.assert_array_equal(images[0][0], certificates.migrates(chain, weights[0], 0)[:16].reshape(4, 4)[:, 0])
    (axes,) = gaps.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [line.name for line in certificate.lines[:0:-1]]
    for figure in (switching, gaps):
        figure.draw_without_rendering()
        words = [text for axes in figure.axes for text in (*axes.texts, axes._left_title, axes.xaxis.label)]
        words += [*figure.texts, *(text for legend in figure.legends for text in legend.texts)]
        boxes = [text.get_window_extent() for text in words if text.get_text() and text.get_visible()]
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
        assert all(box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height for box in boxes)
        assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))
