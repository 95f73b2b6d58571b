"""The load-balancing heuristics in use today: each combines a rule for dispatching with a rule for stealing."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxdlb.checks import (
    FINITE,
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_COUNT,
    POSITIVE_PROBABILITY,
    Interval,
    check_array,
    check_size,
    check_switch,
    check_whole,
)
from jaxdlb.game import Game
from jaxdlb.mechanics import chance
from jaxdlb.mechanics.peer_view import Action, Observation, Own
from jaxdlb.policies import rules
from jaxdlb.policies.fading import Fading, FadingStealing, Soft, SoftStealing
from jaxdlb.policies.policy import Family, Span
from jaxdlb.policies.rules import Rule
from jaxdlb.policies.shares import Proportional, ProportionalStealing, SurplusSplit


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
        may = self._choices(observation)
        dealt, dispatch = self.dispatch.choose(for_dispatch, dealt, observation, may.dispatch)
        asked, steal = self.steal.choose(for_steal, asked, observation, may.steal)
        return (dealt, asked), Action(dispatch=dispatch, steal=steal)

    def probabilities(self, observation: Observation, params: Any) -> Float[Array, "N N N"]:
        """The probability of each pair of choices, dispatch and steal, of each agent; the two are independent.

        Raises:
            ValueError: a rule that remembers, whose choices depend on more than the observation.
        """
        may = self._choices(observation)
        dispatch = self._probabilities(self.dispatch, observation, may.dispatch)
        return dispatch[:, :, None] * self._probabilities(self.steal, observation, may.steal)[:, None, :]

    def _choices(self, observation: Observation) -> Action:
        legal = observation.legal
        return Action(dispatch=_choices(observation, legal.dispatch), steal=_choices(observation, legal.steal))

    def _probabilities(self, rule: Rule, observation: Observation, among: Bool[Array, "N N"]) -> Float[Array, "N N"]:
        if not isinstance(rule, rules.Drawn):
            raise ValueError(f"policy is {self.name!r}; it must not remember, for its probabilities to be known")
        weights = rule.weights(observation, among).astype(jnp.float32)
        return weights / jnp.sum(weights, axis=-1, keepdims=True)


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
    check_whole("d", d, POSITIVE_COUNT)
    check_switch("weighted", weighted)
    width = d if width is None else width
    check_size("width", width, d)
    return rules.LeastOfSample(weighted=weighted, d=int(d), width=int(width))


def _threshold(margin: Any = 4.0) -> Rule:
    return rules.LeastBeyondMargin(margin=_number("margin", margin, NON_NEGATIVE))


def _fading(
    memory: Any = 1.33, temperature: Any = 0.52, inertia: Any = 4.3, speed_exponent: Any = 1.0, prior: Any = 1.2
) -> Rule:
    return Fading(
        memory=_number("memory", memory, NON_NEGATIVE),
        temperature=_number("temperature", temperature, POSITIVE),
        inertia=_number("inertia", inertia, FINITE),
        speed_exponent=_number("speed_exponent", speed_exponent, FINITE),
        prior=_number("prior", prior, NON_NEGATIVE),
    )


def _fading_stealing(
    steal_memory: Any = 0.3, steal_temperature: Any = 1.0, steal_inertia: Any = 0.0, steal_prior: Any = 1.2
) -> Rule:
    return FadingStealing(
        memory=_number("steal_memory", steal_memory, NON_NEGATIVE),
        temperature=_number("steal_temperature", steal_temperature, POSITIVE),
        inertia=_number("steal_inertia", steal_inertia, FINITE),
        prior=_number("steal_prior", steal_prior, NON_NEGATIVE),
    )


def _soft(temperature: Any = 0.52, inertia: Any = 4.3, speed_exponent: Any = 1.0) -> Rule:
    return Soft(
        temperature=_number("temperature", temperature, POSITIVE),
        inertia=_number("inertia", inertia, FINITE),
        speed_exponent=_number("speed_exponent", speed_exponent, FINITE),
    )


def _soft_stealing(steal_temperature: Any = 1.0, steal_inertia: Any = 0.0) -> Rule:
    return SoftStealing(
        temperature=_number("steal_temperature", steal_temperature, POSITIVE),
        inertia=_number("steal_inertia", steal_inertia, FINITE),
    )


def _proportional(margin: Any = 6.0) -> Rule:
    return Proportional(margin=_number("margin", margin, FINITE))


def _proportional_stealing(steal_margin: Any = 0.0) -> Rule:
    return ProportionalStealing(margin=_number("steal_margin", steal_margin, FINITE))


def _surplus_split(utilisation: Any = 1.0) -> Rule:
    return SurplusSplit(utilisation=_number("utilisation", utilisation, POSITIVE_PROBABILITY))


_LARGEST = float(np.finfo(np.float32).max)


def _number(name: str, value: Any, allowed: Interval) -> float:
    number = float(check_array(name, value, (), allowed))
    if abs(number) > _LARGEST:
        raise ValueError(f"{name} is {number:g}; it must be at most {_LARGEST:g} in size, as float32 is")
    return number


MARGINS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0, 96.0)
SAMPLES = (1, 2, 3, 4, 6)


def _samples(game: Game) -> dict[str, Sequence[Any]]:
    """Sample sizes up to the number of peers, all with the width of the largest, so that one program plays them."""
    useful = [d for d in SAMPLES if d <= max(game.num_agents - 1, 1)]
    return {"d": useful, "weighted": (False, True), "width": (useful[-1],)}


def _margins(game: Game) -> dict[str, Sequence[Any]]:
    return {"margin": MARGINS}


# Where a search looks for the options of the rules that have several numbers: times in rounds, loads in tasks.
BOX = {
    "memory": Span(0.01, 5.0, logarithmic=True),
    "temperature": Span(0.05, 20.0, logarithmic=True),
    "inertia": Span(-10.0, 30.0),
    "speed_exponent": Span(0.0, 3.0),
    "prior": Span(0.1, 20.0, logarithmic=True),
    "margin": Span(-50.0, 50.0),
    "utilisation": Span(0.5, 1.0),
}


def _boxed(*dispatch: str, steal: Sequence[str] = ()) -> Callable[[Game], Mapping[str, Span]]:
    """The box of a dispatch rule's options and of a steal rule's, whose names have `steal_` before them."""
    box = {name: BOX[name] for name in dispatch} | {f"steal_{name}": BOX[name] for name in steal}
    return lambda game: box


_FADING = ("memory", "temperature", "inertia", "speed_exponent", "prior")
_FADING_STEALING = ("memory", "temperature", "inertia", "prior")
_SOFT, _SOFT_STEALING = ("temperature", "inertia", "speed_exponent"), ("temperature", "inertia")

_keep: Callable[[], Rule] = rules.Itself
_ask_nobody: Callable[[], Rule] = rules.Itself
_steal_when_empty: Callable[[], Rule] = rules.LongestWhenEmpty


class _Family(NamedTuple):
    """The components of a family of node heuristics: two rules, each made from options of its own."""

    dispatch: Callable[..., Rule]
    steal: Callable[..., Rule] = _ask_nobody
    grid: Callable[[Game], Mapping[str, Sequence[Any]]] | None = None
    box: Callable[[Game], Mapping[str, Span]] | None = None
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
    "fading": _Family(_fading, box=_boxed(*_FADING)),
    "fading_stealing": _Family(_fading, _fading_stealing, box=_boxed(*_FADING, steal=_FADING_STEALING)),
    "proportional": _Family(_proportional, box=_boxed("margin")),
    "proportional_stealing": _Family(_proportional, _proportional_stealing, box=_boxed("margin", steal=("margin",))),
    "surplus_split": _Family(_surplus_split, box=_boxed("utilisation")),
    "oracle_shortest_expected_delay": _Family(_least(weighted=True), kind="oracle"),
    # `fading_stealing` on true loads: the truth does not fade, so neither memory nor prior is left to choose.
    "oracle_fading_stealing": _Family(_soft, _soft_stealing, box=_boxed(*_SOFT, steal=_SOFT_STEALING), kind="oracle"),
}


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes a heuristic: its options are those of its dispatch rule, then those of its steal rule."""

    name: str
    parts: _Family

    @property
    def __signature__(self) -> inspect.Signature:
        options = [option for rule in (self.parts.dispatch, self.parts.steal) for option in _options_of(rule)]
        return inspect.Signature(options)

    def __call__(self, **options: Any) -> Heuristic:
        self.__signature__.bind(**options)
        dispatch, steal = (
            rule(**{each.name: options[each.name] for each in _options_of(rule) if each.name in options})
            for rule in (self.parts.dispatch, self.parts.steal)
        )
        return Heuristic(family=self.name, dispatch=dispatch, steal=steal, kind=self.parts.kind)


def _options_of(rule: Callable[..., Rule]) -> list[inspect.Parameter]:
    return list(inspect.signature(rule).parameters.values())


NODE_HEURISTICS: Mapping[str, Family] = {
    name: Family(_Maker(name, parts), grid=parts.grid, box=parts.box) for name, parts in _CATALOGUE.items()
}
