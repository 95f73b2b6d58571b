"""The interface that every game implements.

A game object holds only static facts (sizes and names: whatever fixes shapes). Everything a user may sweep or randomise
is in `params`, a frozen pytree of arrays, so that `jax.vmap` over `params` plays thousands of different clusters in one
program, compiled once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from jaxdlb.checks import shown
from jaxdlb.parameters import Shorthands

Params = TypeVar("Params")
State = TypeVar("State")
Observation = TypeVar("Observation")
Action_contra = TypeVar("Action_contra", contravariant=True)


@struct.dataclass
class TimeStep(Generic[Observation]):
    """What a game reports after `reset` and after each `step`.

    `last` marks the end of an episode, including an end by time limit. `discount` is 0 only if the future is worth
    nothing: a time limit leaves it at 1, and a learner then bootstraps from the value of the last state.
    """

    observation: Observation  # leading axis: the agent
    reward: Float[Array, " N"]
    discount: Float[Array, ""]
    last: Bool[Array, ""]
    elapsed: Float[Array, ""]  # the time that this step took, in the game's unit; 1 if all steps take equal time
    metrics: dict[str, Shaped[Array, "..."]]  # of any fixed shape: scalars, one number per agent, a histogram
    # own utilities and κ, in games whose rewards are mixed from them (`mixed_rewards`); learners assign credit by them
    utilities: Float[Array, " N"] | None = None
    selfishness: Float[Array, ""] | None = None


def mixed_rewards(utilities: Float[Array, " N"], selfishness: Float[Array, ""] | float) -> Float[Array, " N"]:
    """(1 − κ) · u + κ · u_i, where u is the mean utility: κ = 0 is the cooperative game, κ = 1 the general-sum one."""
    return (1 - selfishness) * jnp.mean(utilities) + selfishness * utilities


Sums = Mapping[str, Any]  # of one episode: each metric, `steps` and `elapsed`, summed over the counted steps


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How the sentence that says who won speaks of a column beside the utility, as in "18% slower"."""

    better: str
    worse: str
    lower_is_better: bool = True


@dataclasses.dataclass(frozen=True)
class Bound:
    """What no policy's mean in a column is below or, if not `is_least`, above: that column's mean in an easier `game`.

    The easier game takes the parameters and the keys of the game itself, and plays the same episodes. It has the same
    column (NaN where the bound says nothing), and nobody acts in it: its actions are ().
    """

    game: Any  # a `Game`, hashable, that compares by value
    of: str  # whose mean it is, as in "one queue that all nodes serve"
    binds: str = ""  # which policies it binds, as in "that drops no task"; "" for all
    is_least: bool = True


@dataclasses.dataclass(frozen=True)
class Column:
    """A column in the tables of an evaluation: its header, its meaning, and how it is computed.

    `of` maps the sums of an episode to a number: a mean for an endless game, otherwise perhaps a total or a quotient;
    NaN if there is nothing to divide by. Policies are judged by the utility, and also by each column with a `verdict`;
    a `bound`, if there is one, is shown with them. A column with a `warning` ought to be 0, and is in no table: where a
    policy's mean is above 0, the warning stands below the table with that number.
    """

    header: str  # "name" or "name, unit"
    meaning: str
    of: Callable[[Sums], float]
    verdict: Verdict | None = None
    bound: Bound | None = None
    warning: str = ""  # what is wrong where it is above 0, as in "Tasks were lost"


def mean_of(metric: str) -> Callable[[Sums], float]:
    """For a column's `of`: the mean of a scalar metric over the counted steps."""
    return lambda sums: sums[metric] / sums["steps"]


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long the episodes of an evaluation are by default, in steps, and how much of one its pictures show."""

    num_rounds: int
    warmup: int = 0  # steps at the start that are not counted
    recorded: int = 200  # steps that the pictures of a game show
    # whether episodes come to an end of their own, up to which they are played; `num_rounds` is more than they take
    ends: bool = False

    def up_to(self, most: int) -> "Lengths":
        """The same with at most so many steps, of which at most a quarter are not counted.

        Those that end by themselves stay as they are: cut short, an episode would count for less the slower it is.
        """
        if self.ends:
            return self
        num_rounds = min(self.num_rounds, most)
        return dataclasses.replace(self, num_rounds=num_rounds, warmup=min(self.warmup, num_rounds // 4))


@runtime_checkable
class RecordedInput(Protocol):
    """Settings of a recorded input, as a frozen dataclass that may well say that there is none."""

    def with_record(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `fields` to make parameters of, with whatever the record says of them beforehand.

        So a shorthand such as the load can refer to what is recorded; most records say nothing.
        """
        ...

    def parts(self, params: Any) -> tuple[Any, Any]:
        """Parameters with the part of the record to train on, and with the part held out."""
        ...


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the registry holds for a game: everything that other code needs to know about it."""

    game: type["Game"]  # its fields are the sizes
    params: type  # its fields are what may be swept
    heuristics: Mapping[str, Any]  # each a `policies.Family`, by name
    shorthands: Shorthands = dataclasses.field(default_factory=dict)  # further keywords of default_params
    recorded: type["RecordedInput"] | None = None  # its fields are the settings of a recorded input
    viewer: Callable[[], Any] | None = None  # makes a `recording.Viewer`; imports matplotlib only when called
    lengths: Lengths = Lengths(2000, warmup=200)
    # by the game and its params: whether nearly all that an action does to other agents shows in the own utilities of
    # those that it chose; launchers give credit for the chosen only then
    stays_with_chosen: Callable[[Any, Any], bool] = lambda game, params: False
    # by the game and its params, a `theory.chain.Common`: one cluster as a finite chain on what all agents know; raises
    # ValueError for parameters that it does not cover
    common: type[Any] | None = None
    # by the game and its params, a `theory.deterministic.Episode`: one episode in which nothing is left to chance, and
    # which ends; raises ValueError for parameters that it does not cover
    episode: Callable[[Any, Any], Any] | None = None
    # by its params: the params of the same cluster in which news is never stale, by array operations alone; None where
    # the game does not say what that would be
    fresh: Callable[[Any], Any] | None = None

    # a heuristic without options, from which tables measure what share of the gap to an optimal policy is closed
    baseline: str | None = None
    # by a state: what comes to each agent in the step that follows, a number each, whatever anybody does; None where
    # that is nothing in itself
    inputs: Callable[[Any], Shaped[Array, " N"]] | None = None
    # a node by itself, whose fields are declared numbers: its `fares()` gives how it fares, by name a number and what
    # that is; None where the game does not say
    node: type[Any] | None = None
    # by the game and its params: keeps the books where processes that run play the game, a `live.Master`; None where it
    # is played in simulation alone
    master: Callable[[Any, Any], Any] | None = None

    @property
    def name(self) -> str:
        """The name in the registry, on the command line, and of the file under `conf/`."""
        return str(self.game.name)


@runtime_checkable
class Game(Protocol[Params, State, Observation, Action_contra]):
    """A Markov game as a frozen object of static sizes and pure functions.

    `reset` and `step` handle one cluster and never reset automatically: batches and resets belong to the rollout. The
    action space is a pytree with the structure of the action, whose leaves are `jaxdlb.spaces`. An observation carries
    `legal`: boolean masks in that same structure.
    """

    @property
    def name(self) -> str:
        """The name under which `jaxdlb.make` finds the game."""
        ...

    @property
    def num_agents(self) -> int: ...

    @property
    def action_space(self) -> Any: ...

    @property
    def dims(self) -> Mapping[str, int]:
        """The length of each dimension named in the annotations of parameters, as in {"N": 8, "D": 4}."""
        ...

    @property
    def observation_shapes(self) -> Observation:
        """The observation with a `jax.ShapeDtypeStruct` in place of each array; nothing is computed."""
        ...

    @property
    def metrics(self) -> Mapping[str, str]:
        """The unit and meaning of each metric of a time step; `utility` is always among them."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """What the tables of an evaluation show; `utility` is always among them and ranks the policies."""
        ...

    def default_params(self, **fields: Any) -> Params:
        """The game's reference instance, with `fields` replaced; values out of range are refused."""
        ...

    def validate(self, params: Params) -> None:
        """Check `params` on the host.

        Raises:
            ValueError: names the field, the offending entry and the allowed range.
        """
        ...

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]: ...

    def step(
        self, key: PRNGKeyArray, state: State, action: Action_contra, params: Params
    ) -> tuple[State, TimeStep[Observation]]: ...

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        """What a centralised critic may see in training, including true loads: float32 [G]."""
        ...

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation as it would be if no news were ever stale; only for policies of the kind `oracle`.

        It may have further fields, of what nobody observes, whose leading axis is the agent too.
        """
        ...


@runtime_checkable
class Measuring(Protocol):
    """What a game may have besides `Game`, for metrics that are too dear to be asked for in training."""

    def measured(self, state: Any, params: Any) -> dict[str, Shaped[Array, "..."]]:
        """Further metrics of the last step, of any fixed shape, all 0 at reset; evaluations sum them with the others.

        Their names are none of `metrics`.
        """
        ...


def measured(game: Any, state: Any, params: Any) -> dict[str, Shaped[Array, "..."]]:
    """The metrics that a game reports to evaluations alone; most games have none."""
    return game.measured(state, params) if isinstance(game, Measuring) else {}


@runtime_checkable
class Foreseeing(Protocol):
    """What a game may have besides `Game`, if much of what comes can be told from its state, whoever does what."""

    def potential(self, state: Any, params: Any) -> Float[Array, " N"]:
        """About what each agent earns from here to the end of the episode, in units of its reward; 0 at the end.

        The nearer it is, the less is left for a critic to learn and the sooner an agent is told what its action did.
        """
        ...


@runtime_checkable
class TakingTurns(Protocol):
    """What a game may have besides `Game`, if few of its agents have a choice in one step: the others cost nothing."""

    @property
    def max_deciders(self) -> int:
        """The most agents that have more than one legal choice in one step."""
        ...


def max_deciders(game: Any) -> int | None:
    """How many agents have a choice in one step at most; None where that may be all of them."""
    most = game.max_deciders if isinstance(game, TakingTurns) else game.num_agents
    return most if most < game.num_agents else None


@runtime_checkable
class Tabulating(Protocol):
    """What a game may have besides `Game`, so that tables can tell of each agent and each link in each step."""

    def node_metrics(self, state: Any, params: Any) -> dict[str, Shaped[Array, "N ..."]]:
        """What each agent [N] and each link [N, N], from row to column, did in the last step, by name."""
        ...

    def links(self, params: Any) -> Bool[Array, "N N"]:
        """[i, j]: whether there is a link from i to j."""
        ...


def check_is_game(game: Any) -> None:
    """Raise ValueError unless `game` can be played, as what `jaxdlb.make` gives can; a name or a class cannot."""
    can = all(callable(getattr(game, name, None)) for name in ("default_params", "reset", "step"))
    if isinstance(game, type) or not can:
        raise ValueError(f"game is {shown(game)}; it must be a game, as jaxdlb.make gives one")


def traced_observation_shapes(game: Any) -> Any:
    """The shapes of a game's observation, found by tracing its `reset`; for games that do not state them explicitly.

    Use it as a property of the game: `observation_shapes = property(traced_observation_shapes)`.
    """
    with jax.ensure_compile_time_eval():  # the caller may be tracing, and default_params checks values on the host
        params, key = game.default_params(), jax.random.key(0)
    return jax.eval_shape(lambda key: game.reset(key, params)[1].observation, key)
