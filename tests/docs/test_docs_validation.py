"""The page of validation in small: simulations against theory, each section by its cheapest cases."""

import dataclasses

import doc_pages  # noqa: F401, it puts the root of the repository on the path
import pytest

from docs import validation, validation_chains, validation_tails
from docs.validation_cases import Effort
from jaxdlb.evaluation.statistics import t_quantile

SMALL = Effort(num_episodes=64, num_rounds=1500, warmup=200)
MANY_NODES = Effort(num_episodes=6, num_rounds=600, warmup=200)
LONG = Effort(num_episodes=48, num_rounds=6000, warmup=500)  # an episode has a percentile of its own: many tasks
# What plays long is worth optimising, which the suite's programs are not.
OPTIMISED = {"compiler_options": {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}}
CASES = {
    f"{section[len('validation ') :]}: {case.name}": case
    for section, cases in validation.SECTIONS.items()
    for case in (cases()[:2] if "power" in section else cases()[:1])
}


@pytest.mark.parametrize("name", CASES)
def test_the_simulation_agrees_with_theory(name):
    """Within 4 standard errors, which are small: under 6%. A right simulator is refused for one seed in 5,000.

    A limit for many nodes is missed by few: by at most a share of 1/N.
    """
    case = CASES[name]
    effort = MANY_NODES if case.game.num_agents >= 100 else LONG if "p99" in case.exact else SMALL
    found = case.simulate(effort)
    for column, exact in case.exact.items():
        error = found[column].half_width / t_quantile(effort.num_episodes - 1)
        finite = exact / case.game.num_agents if "power" in name else 0.0
        assert error < 0.06 * exact
        assert abs(found[column].mean - exact) < 4 * error + finite, (column, found[column], exact)


def test_a_simulation_of_something_else_would_be_noticed():
    """As above, with one probability changed by a tenth."""
    case = validation.one_node()[0]
    wrong = case.params.replace(completion_prob=0.9 * case.params.completion_prob)
    found = dataclasses.replace(case, params=wrong).simulate(SMALL)
    error = found["response_time"].half_width / t_quantile(SMALL.num_episodes - 1)
    assert abs(found["response_time"].mean - case.exact["response_time"]) > 4 * error


def test_under_the_power_of_two_a_thousand_nodes_are_at_the_fixed_point():
    """Within 2% for each k, as far as a small form can tell: half its interval is below 2% of each, too."""
    case = validation_tails.CASES[1]
    found = validation_tails.simulate(case, Effort(num_episodes=8, num_rounds=7500, warmup=1500), **OPTIMISED)
    for limit, each in zip(case.fixed_point, found, strict=True):
        assert each.half_width < 0.02 * limit
        assert abs(each.mean - limit) < 0.02 * limit


def test_solved_utilities_are_those_of_simulations_and_what_remembers_is_left_out(monkeypatch):
    """Within two half-intervals, which are small: under 6%."""
    monkeypatch.setattr(validation_chains, "SMALL", ((0.3, 0.6), 0.7, 4))
    found = validation_chains.utilities(SMALL, ["round_robin", "shortest_expected_delay"])
    assert [each.name for each in found] == ["team optimum", "shortest_expected_delay"]
    for each in found:
        assert each.simulated.half_width < 0.06 * abs(each.utility)
        assert abs(each.simulated.mean - each.utility) < 2 * each.simulated.half_width


def test_the_page_shows_every_table_once():
    text = validation.PAGE.read_text(encoding="utf-8")
    assert all(text.count(f"<!-- table: {name} -->") == 1 for name in validation.TABLES)
