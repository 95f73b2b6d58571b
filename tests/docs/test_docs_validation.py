"""The page of validation in small: simulations against theory, each section by its cheapest cases."""

import dataclasses

import doc_pages  # noqa: F401, it puts the root of the repository on the path
import pytest

from docs import validation
from docs.validation import Effort
from jaxdlb.evaluation.statistics import t_quantile

SMALL = Effort(num_episodes=64, num_rounds=1500, warmup=200)
MANY_NODES = Effort(num_episodes=6, num_rounds=600, warmup=200)
LONG = Effort(num_episodes=48, num_rounds=6000, warmup=500)  # an episode has a percentile of its own: many tasks
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


def test_the_page_shows_every_section_once():
    text = validation.PAGE.read_text(encoding="utf-8")
    assert all(text.count(f"<!-- table: {name} -->") == 1 for name in (*validation.SECTIONS, validation.SLOW))
