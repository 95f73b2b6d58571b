"""The interface that every game keeps.

A game object holds static facts only (sizes and names: what fixes shapes). Whatever a user may sweep or randomise is
in `params`, a frozen pytree of arrays, so that `jax.vmap` over `params` plays thousands of different clusters in one
program that is compiled once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from jaxdlb.parameters import Shorthands

Params = TypeVar("Params")
State = TypeVar("State")
Observation = TypeVar("Observation")
Action_contra = TypeVar("Action_contra", contravariant=True)


@struct.dataclass
class TimeStep(Generic[Observation]):
    """What a game tells after `reset` and after each `step`.

    `last` ends an episode, by time limit too. `discount` is 0 only where the future is worth nothing: a time limit
    leaves it at 1, and a learner then bootstraps from the value of the last state.
    """

    observation: Observation  # leading axis: the agent
    reward: Float[Array, " N"]
    discount: Float[Array, ""]
    last: Bool[Array, ""]
    elapsed: Float[Array, ""]  # the time that this step took, in the game's unit; 1 where steps are equal
    metrics: dict[str, Shaped[Array, "..."]]  # of any fixed shape: scalars, one an agent, a histogram


Sums = Mapping[str, Any]  # of an episode: each metric's sum over the steps that count, and `steps` and `elapsed`


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How the sentence that says who won speaks of a column beside the utility, as in "18% slower"."""

    better: str
    worse: str
    lower_is_better: bool = True


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of an evaluation's tables: what it is called there, what it means, and how it is computed.

    `of` gets the sums of an episode and gives a number: a mean for an endless game, a total or a quotient elsewhere;
    NaN where there is nothing to divide by. Policies are judged by the utility, and beside it by each column that has a
    `verdict`.
    """

    header: str  # "name" or "name, unit"
    meaning: str
    of: Callable[[Sums], float]
    verdict: Verdict | None = None


def mean_of(metric: str) -> Callable[[Sums], float]:
    """A column's `of`: the mean of a scalar metric over the steps."""
    return lambda sums: sums[metric] / sums["steps"]


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long an evaluation's episodes are where nothing else is said, in steps."""

    num_rounds: int
    warmup: int = 0  # steps at the start that are left out


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the registry holds of a game, and all that anybody needs to know of it."""

    game: type["Game"]  # its fields are the sizes
    params: type  # its fields are what may be swept
    heuristics: Mapping[str, Any]  # a `policies.Family` by name
    shorthands: Shorthands = dataclasses.field(default_factory=dict)  # further keywords of default_params
    recorded: type | None = None  # settings of a recorded input, with parts(params) -> (to train on, held out)
    viewer: Callable[[], Any] | None = None  # imports matplotlib only when called
    lengths: Lengths = Lengths(2000, warmup=200)

    @property
    def name(self) -> str:
        """The name in the registry, on the command line and of the file under `conf/`."""
        return str(self.game.name)


@runtime_checkable
class Game(Protocol[Params, State, Observation, Action_contra]):
    """A Markov game as a frozen object of static sizes and pure functions.

    `reset` and `step` know neither a batch nor an automatic reset: both belong to the rollout. An action space is a
    pytree with the structure of the action whose leaves are `jaxdlb.spaces`; an observation carries `legal`, boolean
    masks in that same structure.
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
        """The length of each dimension that annotations of parameters name, as in {"N": 8, "D": 4}."""
        ...

    @property
    def observation_shapes(self) -> Observation:
        """The observation with a `jax.ShapeDtypeStruct` in the place of each array; nothing is computed."""
        ...

    @property
    def metrics(self) -> Mapping[str, str]:
        """For each metric of a time step, its unit and meaning; `utility` is always among them."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """What a table of an evaluation shows; `utility` is always among them, and ranks."""
        ...

    def default_params(self, **fields: Any) -> Params:
        """The game's reference instance, with `fields` replaced; what is out of range is refused."""
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
        """What a centralised critic may see in training, true loads included: float32 [G]."""
        ...

    def true_observation(self, state: State, params: Params) -> Observation:
        """The observation as it would be if nobody's news were ever stale; for `oracle_…` policies alone."""
        ...


def traced_observation_shapes(game: Any) -> Any:
    """The shapes of a game's observation found by tracing its `reset`, for games that do not write them down.

    As a property of the game: `observation_shapes = property(traced_observation_shapes)`.
    """
    with jax.ensure_compile_time_eval():  # a program that asks may be under way, and a game may check on the host
        params, key = game.default_params(), jax.random.key(0)
    return jax.eval_shape(lambda key: game.reset(key, params)[1].observation, key)
