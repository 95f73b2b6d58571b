"""What trains side by side in one program: seeds, members of population-based training, or values of a parameter."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxdlb import ranges
from jaxdlb.checks import check_size
from jaxdlb.games import GAMES
from jaxdlb.learners import sharding
from jaxdlb.learners.population import Evolution, Mapper, PopulationBasedTraining, in_turn, side_by_side
from jaxdlb.parameters import Shorthands

from . import build, comparison

Metrics = dict[str, Array]  # of K updates, and of S seeds or members where there are several: float32 [K] or [K, S]


@dataclasses.dataclass(frozen=True)
class Population:
    """A learner trained with one seed or, side by side in one program, with several.

    The learner may be one made of members that evolve: then there is one seed, and one policy is kept, the best
    member's.
    """

    learner: Any
    seed: int
    num_seeds: int
    over_seeds: Mapper = jax.vmap

    @property
    def evolves(self) -> bool:
        """Whether members compete, so that the best alone counts; seeds count in the mean."""
        return isinstance(self.learner, PopulationBasedTraining)

    @property
    def size(self) -> int:
        """How many policies train: seeds, or members."""
        return self.learner.size if self.evolves else self.num_seeds

    @property
    def told(self) -> dict[str, Any]:
        """Of members that evolve, how, as JSON-compatible data."""
        if not self.evolves:
            return {}
        evolution = dataclasses.asdict(self.learner.evolution) | {"explored": list(self.learner.explored)}
        return {"population": self.size, "evolution": evolution}

    def cost(self, agent_rounds: int) -> dict[str, int]:
        """What to say of the training of a policy, where each seed or member had so many agent-rounds."""
        if not self.evolves:
            return {comparison.TRAINED: agent_rounds}
        return {comparison.TRAINED: agent_rounds * self.size, "members": self.size}

    def init(self) -> PyTree:
        """The state before the first update; with several seeds every leaf has a leading axis of them."""
        key = jax.random.key(self.seed)
        return self._init(key if self.num_seeds == 1 else side_by_side(key, self.num_seeds))

    def template(self) -> PyTree:
        """Structure, shapes and types of the state."""
        return jax.eval_shape(self.init)

    def update(self, state: PyTree) -> tuple[PyTree, dict[str, Array]]:
        """One update of every seed."""
        return self._update(state)

    def interval(self, state: PyTree, count: Int[Array, ""], most: int) -> tuple[PyTree, Metrics]:
        """`count` updates, at most `most`, and the metrics of each; rows from `count` on are zeros.

        `count` is traced: an interval cut short, at the end or after a resume, runs the very same program.
        """
        shapes = jax.eval_shape(self.update, state)[1]
        rows = jax.tree.map(lambda leaf: jnp.zeros((most, *leaf.shape), leaf.dtype), shapes)

        def advance(index: Int[Array, ""], carry: tuple[PyTree, Metrics]) -> tuple[PyTree, Metrics]:
            state, rows = carry
            state, metrics = self.update(state)
            return state, jax.tree.map(lambda all_, one: all_.at[index].set(one), rows, metrics)

        return jax.lax.fori_loop(0, count, advance, (state, rows))

    def kept(self, variables: PyTree, scores: Float[np.ndarray, " S"]) -> tuple[PyTree, float, dict[str, int]]:
        """The policy that a checkpoint keeps, its score, and what else is to be said of it.

        Of seeds all are kept, and score by their mean; of members the best one is, whose number is said. `scores` are
        NaN for members that diverged.
        """
        if not self.evolves:
            return variables, float(np.mean(scores)), {}
        best = int(np.nanargmax(scores))
        return jax.tree.map(lambda leaf: leaf[best], variables), float(scores[best]), {"member": best}

    # Traced once, for shapes and programs alike.

    @functools.cached_property
    def _init(self) -> Callable[[PRNGKeyArray], PyTree]:
        return jax.jit(self._each("init"))

    @functools.cached_property
    def _update(self) -> Callable[[PyTree], tuple[PyTree, Metrics]]:
        return jax.jit(self._each("update"))

    def _each(self, method: str) -> Callable:
        """A method of the learner, of all seeds at once."""
        of_one = getattr(self.learner, method)
        return of_one if self.num_seeds == 1 else self.over_seeds(of_one)


@dataclasses.dataclass(frozen=True)
class AcrossValues(Population):
    """A learner trained at each of V ≥ 2 values of one parameter of the game, with each of S seeds, in one program.

    There are `num_seeds` = S · V policies; number s · V + v is of seed s at value v. Those of one seed start alike,
    with the same networks on the same clusters but for the parameter.
    """

    over: str = ""  # the parameter, by path
    values: tuple[float, ...] = ()
    shorthands: Shorthands = dataclasses.field(default_factory=dict)  # of the game, by any of which it may be named

    @property
    def told(self) -> dict[str, Any]:
        """What differs between the policies, as JSON-compatible data."""
        return {"over": self.over, "values": list(self.values)}

    def init(self) -> PyTree:
        """The states before the first update, [S · V, …]."""
        seeds = side_by_side(jax.random.key(self.seed), self.num_seeds // len(self.values))
        return self._init(seeds[jnp.arange(self.num_seeds) // len(self.values)])

    def _each(self, method: str) -> Callable:
        """A method of the learner, of all policies at once, each at its own value: traced, so that one program does."""
        mapped = self.over_seeds(lambda pair: getattr(self._at(pair[1]), method)(pair[0]))
        values = np.tile(np.asarray(self.values, np.float32), self.num_seeds // len(self.values))
        return lambda of_each: mapped((of_each, values))

    def _at(self, value: Float[Array, ""]) -> Any:
        """The learner on the same clusters with another value of the parameter."""
        base = self.learner.sample_params
        return dataclasses.replace(
            self.learner, sample_params=lambda key: ranges.fixed(base(key), self.over, value, self.shorthands)
        )


def num_apart(settings: Any) -> int:
    """How many policies train that exchange nothing: seeds, at each value; a population counts as one."""
    if settings.learner.population is not None:
        return 1
    return settings.learner.num_seeds * (1 if settings.across.over is None else len(settings.across.values))


def population_of(settings: Any, learner: Any, devices: Sequence[jax.Device]) -> Population:
    """The learner with the seeds, or as the population, that the settings ask for, to be trained on `devices`.

    Raises:
        ValueError: several seeds of a population, or settings of a population that are not allowed.
    """
    chosen = settings.learner
    mapper = _mapper(devices, chosen.population or num_apart(settings))
    if settings.across.over is not None:
        return _across_values(settings, learner, mapper)
    if chosen.population is None:
        _check_untouched(chosen.evolution)
        return Population(learner, settings.seed, chosen.num_seeds, mapper)
    check_size("learner.population", chosen.population, 2)
    if chosen.num_seeds != 1:
        raise ValueError(
            f"learner.num_seeds is {chosen.num_seeds}; it must be 1 with learner.population, whose members each have a "
            "seed of their own"
        )
    with build.renamed("size", "learner.population"), build.named("learner.evolution", chosen.evolution):
        evolution = build.library(Evolution, chosen.evolution)
        members = PopulationBasedTraining(learner, chosen.population, evolution, mapper)
    return Population(members, settings.seed, 1)


def _across_values(settings: Any, learner: Any, mapper: Mapper) -> AcrossValues:
    chosen, across = settings.learner, settings.across
    if chosen.population is not None:
        raise ValueError(f"learner.population is {chosen.population}; it must be null with across.over")
    _check_untouched(chosen.evolution)
    if not hasattr(learner, "sample_params"):
        raise ValueError(
            f"across.over is {across.over!r}; it must be null with {chosen.name}, which has no sample_params"
        )
    shorthands = GAMES.find(settings.game.name).shorthands
    count = chosen.num_seeds * len(across.values)
    return AcrossValues(learner, settings.seed, count, mapper, across.over, tuple(across.values), shorthands)


def _check_untouched(evolution: Any) -> None:
    """Raise ValueError for a setting of an evolution that there is none of."""
    for field in dataclasses.fields(Evolution):
        value = getattr(evolution, field.name)
        if value != field.default:
            raise ValueError(
                f"learner.evolution.{field.name} is {value}; it must not be given without learner.population=…"
            )


def _mapper(devices: Sequence[jax.Device], size: int) -> Mapper:
    """One CPU is kept busy by one seed or member, and so is each of several; other devices are not."""
    if devices[0].platform != "cpu":
        return jax.vmap
    if len(devices) == 1:
        return in_turn
    return sharding.dealt(devices) if size % len(devices) == 0 else jax.vmap
