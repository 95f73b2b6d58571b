"""The load-balancing heuristics that people use today: each a rule for dispatching and a rule for stealing."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, PRNGKeyArray

from jaxdlb.checks import NON_NEGATIVE, check_array, check_size
from jaxdlb.game import Game
from jaxdlb.mechanics import chance
from jaxdlb.mechanics.peer_view import Action, Observation, Own
from jaxdlb.policies import rules
from jaxdlb.policies.rules import Rule


@struct.dataclass
class Heuristic:
    """A dispatch rule and a steal rule that look at an observation of `mechanics.peer_view`, in whatever game.

    They choose among the legal actions; a node that is down or has no event keeps its task and asks nobody. Ties are
    broken at random.
    """

    family: str = struct.field(pytree_node=False)  # the name in the catalogue, without options
    dispatch: Rule
    steal: Rule
    sees_true_state: bool = struct.field(pytree_node=False, default=False)

    @property
    def name(self) -> str:
        options = ", ".join(self.dispatch.options + self.steal.options)
        return f"{self.family}({options})" if options else self.family

    def init(self, game: Game) -> tuple[Any, Any]:
        """The memories of the dispatch and of the steal rule."""
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
    """What each agent may choose: what is legal, and only itself while it is down."""
    alive = observation.own[:, Own.ALIVE] > 0
    return (legal & alive[:, None]) | jnp.eye(legal.shape[0], dtype=bool)


def _least(weighted: bool) -> Callable[[], Rule]:
    return lambda: rules.Least(weighted=weighted)


def _random(weighted: bool) -> Callable[[], Rule]:
    return lambda: rules.Random(weighted=weighted)


def _power_of_d(d: Any = 2, weighted: Any = False) -> Rule:
    check_size("d", d, 1)
    if not isinstance(weighted, bool):
        raise ValueError(f"weighted is {weighted!r}; it must be true or false")
    return rules.LeastOfSample(weighted=weighted, d=int(d), width=int(d))


def _threshold(margin: Any = 4.0) -> Rule:
    return rules.LeastBeyondMargin(margin=float(check_array("margin", margin, (), NON_NEGATIVE)))


_keep: Callable[[], Rule] = rules.Itself
_ask_nobody: Callable[[], Rule] = rules.Itself
_steal_when_empty: Callable[[], Rule] = rules.LongestWhenEmpty

# Family: what makes its dispatch rule from the options a user gives, and what makes its steal rule.
_CATALOGUE: Mapping[str, tuple[Callable[..., Rule], Callable[[], Rule]]] = {
    "local": (_keep, _ask_nobody),
    "random": (_random(weighted=False), _ask_nobody),
    "weighted_random": (_random(weighted=True), _ask_nobody),
    "round_robin": (rules.RoundRobin, _ask_nobody),
    "join_shortest_queue": (_least(weighted=False), _ask_nobody),
    "shortest_expected_delay": (_least(weighted=True), _ask_nobody),
    "power_of_d": (_power_of_d, _ask_nobody),
    "join_idle_queue": (rules.IdlePeer, _ask_nobody),
    "threshold": (_threshold, _ask_nobody),
    "work_stealing": (_keep, _steal_when_empty),
    "power_of_d_stealing": (_power_of_d, _steal_when_empty),
    "threshold_stealing": (_threshold, _steal_when_empty),
    "oracle_shortest_expected_delay": (_least(weighted=True), _ask_nobody),
}

HEURISTICS: tuple[str, ...] = tuple(_CATALOGUE)


def heuristic(name: str, **options: Any) -> Heuristic:
    """The heuristic called `name`, one of `HEURISTICS`.

    `power_of_d` and `power_of_d_stealing` take `d` (int ≥ 1, the peers sampled for each task; default 2) and `weighted`
    (compare expected delays instead of queue lengths; default False); `threshold` and `threshold_stealing` take
    `margin` (rounds ≥ 0; default 4).

    Raises:
        ValueError: an unknown name (the message lists the known ones and the nearest), an option that the heuristic
            does not have, or a value out of range.
    """
    if name not in _CATALOGUE:
        nearest = difflib.get_close_matches(str(name), HEURISTICS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"heuristic is {name!r}; it must be one of {', '.join(HEURISTICS)}{hint}")
    known = options_of(name)
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = f"its options are {', '.join(known)}" if known else "it has none"
        raise ValueError(f"{unknown[0]} is not an option of {name}; {allowed}")
    make_dispatch, make_steal = _CATALOGUE[name]
    return Heuristic(
        family=name,
        dispatch=make_dispatch(**options),
        steal=make_steal(),
        sees_true_state=name.startswith("oracle_"),
    )


def options_of(name: str) -> tuple[str, ...]:
    """The names of the options that the heuristic `name`, one of `HEURISTICS`, takes."""
    make_dispatch, _ = _CATALOGUE[name]
    return tuple(inspect.signature(make_dispatch).parameters)
