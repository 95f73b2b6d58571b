"""Population-based training (Jaderberg et al. 2017, arXiv:1711.09846) of any learner, in one compiled program.

P members train side by side, each with hyper-parameters of its own. Every `interval` updates the worst members give way
to copies of the best (exploit: truncation selection), and what a copy explores is moved a little (explore).

A learner fits whose state has `num_updates` and `hyperparameters`, declared by `jaxdlb.parameters`, and whose metrics
have a `utility`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from jaxdlb import parameters
from jaxdlb.checks import POSITIVE_COUNT, Interval, check_size, did_you_mean
from jaxdlb.learners import replay
from jaxdlb.parameters import declarations, parameter

Function = Callable[..., Any]
Mapper = Callable[[Function], Function]  # makes of a function of one member one of all, stacked along the leading axis

_EXPLORING = 0x6578706C  # folded into a member's key: its learner draws nothing from what comes of it
_FLOAT32 = np.finfo(np.float32)


@dataclasses.dataclass(frozen=True)
class Evolution:
    """How members of a population are chosen, and what they explore.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """

    interval: int = parameter(POSITIVE_COUNT, 10)  # updates between two selections
    # of the members, the worst, which give way in a selection; rounded down, and at least one
    fraction: float = parameter(Interval(0, 0.5, low_open=True), 0.25)
    # hyper-parameters in which members differ; null: those that the learner names, its learning rates and entropy_coef
    explored: tuple[str, ...] | None = parameter(None, None)
    # first values are drawn log-uniformly between 1/spread and spread times the given
    spread: float = parameter(Interval(1, 1e6), 4.0)
    # by which a copy's values are multiplied or divided, at random
    perturbation: float = parameter(Interval(1, 1e3), 1.25)

    def __post_init__(self) -> None:
        parameters.check(self)


@struct.dataclass
class PopulationState:
    """The complete state of a population; every leaf has a leading axis of its P members."""

    members: PyTree  # the learner's states
    keys: Key[Array, " P"]  # from which each draws what it explores
    earned: Float[Array, " P"]  # the sum of the utilities of the updates since the last selection

    @property
    def num_updates(self) -> Int[Array, " P"]:
        """Made by each so far: the same number."""
        return self.members.num_updates


@dataclasses.dataclass(frozen=True)
class PopulationBasedTraining:
    """A learner made of `size` members of another one: `init(key)` and `update(state)` are pure functions.

    Metrics are those of the members, [P] each, and besides `parent`, the member whose copy each one is since the
    selection before this update (itself, unless it has just given way), and `hyperparameters/<name>` for whatever is
    explored.

    Raises:
        ValueError: fewer than 2 members, a learner without hyper-parameters, nothing to explore, or something that is
            no hyper-parameter, is named twice, or stands at an end of its range.
    """

    learner: Any
    size: int
    evolution: Evolution = dataclasses.field(default_factory=Evolution)
    over_members: Mapper = jax.vmap  # how members start and are updated: all at once, or `in_turn`

    def __post_init__(self) -> None:
        check_size("size", self.size, 2)
        if not self.explored:
            known = ", ".join(declarations(type(self.hyperparameters)))
            raise ValueError(f"explored is empty; it must name at least one of {known}")
        for index, name in enumerate(self.explored):
            self._check_explored(f"explored[{index}]", name, self.explored[:index])

    @property
    def config(self) -> Any:
        """The settings of every member, but for what is explored."""
        return self.learner.config

    @property
    def agent_rounds_per_update(self) -> int:
        """Rounds × environments × agents that one member plays in an update."""
        return self.learner.agent_rounds_per_update

    @property
    def num_replaced(self) -> int:
        """The members that give way in a selection: at least one, at most half."""
        return max(1, int(self.evolution.fraction * self.size + 1e-9))

    @property
    def explored(self) -> tuple[str, ...]:
        """The hyper-parameters in which members differ: as asked for, or as the learner has it."""
        asked = self.evolution.explored
        return getattr(type(self.hyperparameters), "explored", ()) if asked is None else asked

    @functools.cached_property
    def hyperparameters(self) -> Any:
        """Those of one member, by shape and type.

        Raises:
            ValueError: the learner's state has none.
        """
        state = jax.eval_shape(self.learner.init, jax.random.key(0))
        if not hasattr(state, "hyperparameters"):
            name = type(self.learner).__name__
            raise ValueError(
                f"size is {self.size}; {name} cannot be a population, since its state has no hyperparameters"
            )
        return state.hyperparameters

    @property
    def ranges(self) -> dict[str, Interval]:
        """Where each hyper-parameter that is explored may lie, as it is declared."""
        declared = declarations(type(self.hyperparameters))
        return {name: declared[name].within(None) for name in self.explored}

    def init(self, key: PRNGKeyArray) -> PopulationState:
        """The members before the first update: the first with the hyper-parameters given, the others around them."""
        keys = side_by_side(key, self.size)
        members = self.over_members(self.learner.init)(keys)
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, _EXPLORING)
        return PopulationState(
            members=dataclasses.replace(members, hyperparameters=self.scatter(members.hyperparameters, own)),
            keys=own,
            earned=jnp.zeros(self.size),
        )

    def update(self, state: PopulationState) -> tuple[PopulationState, dict[str, Float[Array, " P"]]]:
        """A selection if one is due, then an update of every member."""
        made, everyone = state.num_updates[0], jnp.arange(self.size)
        due = (made > 0) & (made % self.evolution.interval == 0)
        # A loop of at most one round: other than a conditional, it leaves a state where it lies unless there is one.
        state, parent = jax.lax.fori_loop(
            0, due.astype(jnp.int32), lambda _, now: self.select(now[0]), (state, everyone)
        )
        members, metrics = self.over_members(self.learner.update)(state.members)
        hyper = {f"hyperparameters/{name}": getattr(members.hyperparameters, name) for name in self.explored}
        state = dataclasses.replace(state, members=members, earned=state.earned + metrics["utility"])
        return state, metrics | {"parent": parent.astype(jnp.float32)} | hyper

    def policy_variables(self, state: PopulationState) -> PyTree:
        """What acting needs of each member, [P, …]."""
        return self.learner.policy_variables(state.members)

    def select(self, state: PopulationState) -> tuple[PopulationState, Int[Array, " P"]]:
        """Exploit and explore: the population after a selection, and the member that each is a copy of, or itself."""
        parent = parents(state.earned, self.num_replaced)
        members = inherit(state.members, parent)
        keys = jax.vmap(jax.random.fold_in)(state.keys, state.num_updates)
        hyper = self.perturb(members.hyperparameters, keys, parent != jnp.arange(self.size))
        members = dataclasses.replace(members, hyperparameters=hyper)
        return dataclasses.replace(state, members=members, earned=jnp.zeros(self.size)), parent

    def scatter(self, hyper: Any, keys: Key[Array, " P"]) -> Any:
        """The hyper-parameters [P], those explored moved by factors drawn log-uniformly; the first member's stay."""
        drawn = jax.vmap(lambda key: jax.random.uniform(key, (len(self.explored),), minval=-1, maxval=1))(keys)
        return self._moved(hyper, self.evolution.spread ** drawn.at[0].set(0))

    def perturb(self, hyper: Any, keys: Key[Array, " P"], copied: Bool[Array, " P"]) -> Any:
        """The hyper-parameters [P], those explored by members just copied multiplied or divided by the perturbation."""
        sign = jax.vmap(lambda key: jax.random.rademacher(key, (len(self.explored),), jnp.float32))(keys)
        return self._moved(hyper, self.evolution.perturbation ** jnp.where(copied[:, None], sign, 0))

    def _moved(self, hyper: Any, factors: Float[Array, "P E"]) -> Any:
        """The hyper-parameters [P] after each of the E explored ones has been moved by its factor."""
        ranges = self.ranges
        moved = {name: move(getattr(hyper, name), factors[:, e], ranges[name]) for e, name in enumerate(ranges)}
        return dataclasses.replace(hyper, **moved)

    def _check_explored(self, where: str, name: str, before: tuple[str, ...]) -> None:
        known = tuple(declarations(type(self.hyperparameters)))
        if name not in known:
            hint = did_you_mean(name, known, repr)
            raise ValueError(f"{where} is {name!r}; it must be one of {', '.join(known)}{hint}")
        if name in before:
            raise ValueError(f"{where} is {name!r}; it must be listed once")
        value, allowed = getattr(self.config, name), self.ranges[name]
        if not -np.inf < allowed.low < value < allowed.high:
            raise ValueError(
                f"{where} is {name!r}, which is {value:g} here; it must lie between the ends of its range, {allowed}, "
                "since no factor moves it away from one"
            )


def side_by_side(key: PRNGKeyArray, count: int) -> Key[Array, " P"]:
    """The keys of seeds or members that train side by side."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def in_turn(of_one: Function) -> Function:
    """One member after the other, in one program: faster than `jax.vmap` on a CPU, which one alone keeps busy.

    It also keeps the CPU from waiting for ever: jaxlib 0.10.2 may block all its threads in batches of the QR
    decompositions from which networks start.
    """

    def of_all(members: Any) -> Any:
        return (replay.in_turn if hasattr(members, "replay") else jax.lax.map)(of_one, members)

    return of_all


def parents(score: Float[Array, " P"], count: int) -> Int[Array, " P"]:
    """Truncation selection: the member whose place each takes over, its own unless it gives way.

    The worst member gets the best one for a parent, the second worst the second best, and so on for `count` of them.
    Members whose score is not finite are the worst; all of them give way, and none becomes a parent.
    """
    size, num_finite = len(score), jnp.sum(jnp.isfinite(score))
    ranked = jnp.argsort(-jnp.where(jnp.isfinite(score), score, -jnp.inf))  # best first; of equals the first
    from_the_worst = jnp.arange(size)
    donor = ranked[from_the_worst % jnp.clip(num_finite, 1, count)]
    gives_way = from_the_worst < jnp.maximum(count, size - num_finite)
    worst_first = ranked[::-1]
    return jnp.zeros(size, jnp.int32).at[worst_first].set(jnp.where(gives_way, donor, worst_first))


def inherit(members: PyTree, parent: Int[Array, " P"]) -> PyTree:
    """The members [P, …] after each has become a copy of its parent in all but its random keys.

    Its clusters are the parent's too, since those that a bad policy leaves behind would count against the copy; by keys
    of their own the two meet different chances from here on.
    """
    return jax.tree.map(lambda leaf: leaf if _is_key(leaf) else leaf[parent], members)


def move(value: Float[Array, " P"], factor: Float[Array, " P"], allowed: Interval) -> Float[Array, " P"]:
    """`value` with its distance to the lower end multiplied by `factor`; between two ends, the odds of where it lies.

    So a learning rate stays positive, and a discount γ < 1 stays one: it is 1/(1 − γ) that grows by about the factor.
    """
    above = (value - allowed.low) * factor
    if np.isinf(allowed.high):
        moved = allowed.low + above
    else:
        moved = allowed.low + (allowed.high - allowed.low) * above / (above + allowed.high - value)
    return jnp.clip(moved, *_ends(allowed))


def _ends(allowed: Interval) -> tuple[np.float32, np.float32]:
    """The least and the greatest number of an interval in float32; devices may take what is smaller than tiny for 0."""
    low, high = np.float32(allowed.low), np.float32(min(allowed.high, float(_FLOAT32.max)))
    above = _FLOAT32.tiny if low == 0 else np.nextafter(low, high)
    return above if allowed.low_open else low, np.nextafter(high, low) if allowed.high_open else high


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
