"""The load-balancing heuristics in use today: each combines a rule for dispatching with a rule for stealing."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, PRNGKeyArray

from jaxdlb.checks import NON_NEGATIVE, check_array, check_size, check_switch
from jaxdlb.game import Game
from jaxdlb.mechanics import chance
from jaxdlb.mechanics.peer_view import Action, Observation, Own
from jaxdlb.policies import rules
from jaxdlb.policies.policy import Family
from jaxdlb.policies.rules import Rule


@struct.dataclass
class Heuristic:
    """A dispatch rule and a steal rule on an observation of `mechanics.peer_view`, in any game that has one.

    They choose among the legal actions; a node that is down or has no event keeps its task and asks nobody. Ties are
    broken at random.
    """

    family: str = struct.field(pytree_node=False)  # the name in the catalogue, without options
    dispatch: Rule
    steal: Rule
    kind: str = struct.field(pytree_node=False, default="heuristic")  # or oracle, which is given the truth

    @property
    def name(self) -> str:
        options = ", ".join(self.dispatch.options + self.steal.options)
        return f"{self.family}({options})" if options else self.family

    def init(self, game: Game) -> tuple[Any, Any]:
        """The initial memories of the dispatch rule and the steal rule."""
        return self.dispatch.start(game.num_agents), self.steal.start(game.num_agents)

    def act(
        self, key: PRNGKeyArray, carry: tuple[Any, Any], observation: Observation, params: Any
    ) -> tuple[tuple[Any, Any], Action]:
        """Both choices of all N agents, int32 [N] each; consumes `key`, ignores `params`."""
        num_nodes, num_draws = observation.own.shape[0], self.dispatch.num_draws + self.steal.num_draws
        draws = chance.uniforms(key, num_draws, num_nodes)
        numbers = jnp.stack(draws, axis=-1) if draws else jnp.zeros((num_nodes, 0))
        for_dispatch, for_steal = jnp.split(numbers, [self.dispatch.num_draws], axis=-1)
        dealt, asked = carry
        may_dispatch = _choices(observation, observation.legal.dispatch)
        may_steal = _choices(observation, observation.legal.steal)
        dealt, dispatch = self.dispatch.choose(for_dispatch, dealt, observation, may_dispatch)
        asked, steal = self.steal.choose(for_steal, asked, observation, may_steal)
        return (dealt, asked), Action(dispatch=dispatch, steal=steal)


def _choices(observation: Observation, legal: Bool[Array, "N N"]) -> Bool[Array, "N N"]:
    """What each agent may choose: anything legal, but only itself while it is down."""
    alive = observation.own[:, Own.ALIVE] > 0
    return (legal & alive[:, None]) | jnp.eye(legal.shape[0], dtype=bool)


def _least(weighted: bool) -> Callable[[], Rule]:
    return lambda: rules.Least(weighted=weighted)


def _random(weighted: bool) -> Callable[[], Rule]:
    return lambda: rules.Random(weighted=weighted)


def _power_of_d(d: Any = 2, weighted: Any = False, width: Any = None) -> Rule:
    """Sample `d` peers for each task; `width` ≥ d reserves space for more, so that a grid's members share shapes."""
    check_size("d", d, 1)
    check_switch("weighted", weighted)
    check_size("width", width or d, d)
    return rules.LeastOfSample(weighted=weighted, d=int(d), width=int(width or d))


def _threshold(margin: Any = 4.0) -> Rule:
    return rules.LeastBeyondMargin(margin=float(check_array("margin", margin, (), NON_NEGATIVE)))


MARGINS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0, 96.0)
SAMPLES = (1, 2, 3, 4, 6)


def _samples(game: Game) -> dict[str, Sequence[Any]]:
    """Sample sizes up to the number of peers, all with the width of the largest, so that one program plays them."""
    useful = [d for d in SAMPLES if d <= max(game.num_agents - 1, 1)]
    return {"d": useful, "weighted": (False, True), "width": (useful[-1],)}


def _margins(game: Game) -> dict[str, Sequence[Any]]:
    return {"margin": MARGINS}


_keep: Callable[[], Rule] = rules.Itself
_ask_nobody: Callable[[], Rule] = rules.Itself
_steal_when_empty: Callable[[], Rule] = rules.LongestWhenEmpty


class _Family(NamedTuple):
    """The components of a family of node heuristics."""

    dispatch: Callable[..., Rule]  # makes the rule from the options
    steal: Callable[[], Rule] = _ask_nobody
    grid: Callable[[Game], Mapping[str, Sequence[Any]]] | None = None
    kind: str = "heuristic"


_CATALOGUE: Mapping[str, _Family] = {
    "local": _Family(_keep),
    "random": _Family(_random(weighted=False)),
    "weighted_random": _Family(_random(weighted=True)),
    "round_robin": _Family(rules.RoundRobin),
    "join_shortest_queue": _Family(_least(weighted=False)),
    "shortest_expected_delay": _Family(_least(weighted=True)),
    "power_of_d": _Family(_power_of_d, grid=_samples),
    "join_idle_queue": _Family(rules.IdlePeer),
    "threshold": _Family(_threshold, grid=_margins),
    "work_stealing": _Family(_keep, _steal_when_empty),
    "power_of_d_stealing": _Family(_power_of_d, _steal_when_empty, _samples),
    "threshold_stealing": _Family(_threshold, _steal_when_empty, _margins),
    "oracle_shortest_expected_delay": _Family(_least(weighted=True), kind="oracle"),
}


def _family(name: str, rule: _Family) -> Family:
    @functools.wraps(rule.dispatch)  # so that the family has the options of its dispatch rule
    def make(**options: Any) -> Heuristic:
        return Heuristic(family=name, dispatch=rule.dispatch(**options), steal=rule.steal(), kind=rule.kind)

    return Family(make, rule.grid)


NODE_HEURISTICS: Mapping[str, Family] = {name: _family(name, parts) for name, parts in _CATALOGUE.items()}
