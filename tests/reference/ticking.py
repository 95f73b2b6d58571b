"""A tiny game for the tests of what `dlb` lacks: a true end, steps of unequal length, metrics that are no scalars.

Each of N workers has a box of pieces. In a step a worker idles, works or hurries; who works finishes a piece with its
own probability, who hurries does so surely but at a price, and only when it has rested. A step in which somebody
hurries takes half the time. The game truly ends when all boxes are empty; it is cut after `horizon` steps.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxdlb import parameters
from jaxdlb.checks import COUNT, NON_NEGATIVE, POSITIVE, POSITIVE_COUNT, PROBABILITY, SWITCH, check_size
from jaxdlb.game import Column, Entry, Lengths, TimeStep, mean_of, traced_observation_shapes
from jaxdlb.parameters import Shorthand, law, parameter, per_size
from jaxdlb.policies import Family
from jaxdlb.spaces import Discrete

IDLE, WORK, HURRY = range(3)


@struct.dataclass
class Steady:
    """A piece is worth the same throughout."""

    def value(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.float32(1.0)


@struct.dataclass
class Fading:
    """A piece is worth ever less."""

    half_life: Float[Array, ""] | float = parameter(POSITIVE, 10.0)  # steps in which the value halves

    def value(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(0.5 ** (step / self.half_life), jnp.float32)


@struct.dataclass
class Listed:
    """A piece is worth what a list says, over and over."""

    values: Float[Array, " K"] = parameter(NON_NEGATIVE)  # by step

    def value(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.values[step % self.values.shape[0]]


@struct.dataclass
class Params:
    """Time is in steps, or in the time that they take."""

    success_prob: Float[Array, " N"] = parameter(PROBABILITY)  # s: who works finishes a piece
    price: Float[Array, " N"] = parameter(  # c: of hurrying
        NON_NEGATIVE, per_size("linspace(0.25, 0.5, N)", lambda game: np.linspace(0.25, 0.5, game.num_workers))
    )
    pieces: Int[Array, " N"] = parameter(COUNT, 3, at_most="capacity")  # in each box at the start
    tiring: Bool[Array, ""] = parameter(SWITCH, True)  # who hurried must rest for a step
    horizon: Int[Array, ""] = parameter(POSITIVE_COUNT, 20)  # steps in an episode
    worth: Steady | Fading | Listed = law({"steady": Steady, "fading": Fading, "listed": Listed})  # of a piece


@struct.dataclass
class State:
    """The boxes between two steps."""

    left: Int[Array, " N"]
    rested: Bool[Array, " N"]
    step: Int[Array, ""]


@struct.dataclass
class Observation:
    """What each worker knows."""

    own: Float[Array, "N 2"]  # pieces left, rested
    legal: Bool[Array, "N 3"]


SHORTHANDS = {
    "skill": Shorthand(
        allowed=PROBABILITY,
        default=0.5,
        sets=("success_prob",),
        apply=lambda params, value: dataclasses.replace(params, success_prob=jnp.full_like(params.success_prob, value)),
        meaning="the same s for everybody",
    )
}


@dataclasses.dataclass(frozen=True)
class Ticking:
    """Workers that empty their boxes; the action is one of idle, work, hurry: int32 [N]."""

    num_workers: int = parameter(POSITIVE_COUNT, 2)
    capacity: int = parameter(POSITIVE_COUNT, 5)  # the most pieces in a box

    name = "ticking"

    observation_shapes = property(traced_observation_shapes)

    def __post_init__(self) -> None:
        parameters.check(self)

    @property
    def num_agents(self) -> int:
        return self.num_workers

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    @property
    def dims(self) -> Mapping[str, int]:
        return {"N": self.num_workers}

    @property
    def metrics(self) -> Mapping[str, str]:
        return {
            "utility": "mean reward of the workers",
            "finished": "pieces, of each worker",
            "choices": "how many workers idled, worked, hurried",
        }

    @property
    def columns(self) -> Mapping[str, Column]:
        return {
            "utility": Column("utility", "mean over the steps", mean_of("utility")),
            "finished": Column("pieces", "finished in the episode", lambda sums: sums["finished"].sum()),
            "makespan": Column("makespan", "time until the end", lambda sums: sums["elapsed"]),
            "throughput": Column("pieces per time", "of all", lambda sums: sums["finished"].sum() / sums["elapsed"]),
            "hurried": Column(
                "share hurried", "of all that was done", lambda sums: sums["choices"][HURRY] / sums["choices"][1:].sum()
            ),
        }

    def default_params(self, **fields: Any) -> Params:
        return parameters.make(Params, self, fields, SHORTHANDS)

    def validate(self, params: Params) -> None:
        parameters.check(params, self)

    def reset(self, key: PRNGKeyArray, params: Params) -> tuple[State, TimeStep[Observation]]:
        workers = (self.num_workers,)
        state = State(left=params.pieces, rested=jnp.ones(workers, bool), step=jnp.int32(0))
        return state, self._timestep(
            state, params, jnp.zeros(workers), jnp.zeros(workers, bool), jnp.full(workers, -1), jnp.float32(0)
        )

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " N"], params: Params
    ) -> tuple[State, TimeStep[Observation]]:
        legal = jnp.take_along_axis(self._legal(state), jnp.clip(action, 0, 2)[:, None], axis=-1)[:, 0]
        action = jnp.where(legal & (action >= 0) & (action <= 2), action, IDLE)
        hurries, works = action == HURRY, action == WORK
        lucky = jax.random.uniform(key, (self.num_workers,)) < params.success_prob
        finished = (hurries | (works & lucky)) & (state.left > 0)
        rewards = finished * params.worth.value(state.step) - hurries * params.price
        after = State(left=state.left - finished, rested=~hurries | ~params.tiring, step=state.step + 1)
        elapsed = jnp.where(jnp.any(hurries), 0.5, 1.0)
        return after, self._timestep(after, params, rewards, finished, action, jnp.asarray(elapsed, jnp.float32))

    def global_state(self, state: State, params: Params) -> Float[Array, " G"]:
        return jnp.concatenate([state.left, state.rested, state.step[None]]).astype(jnp.float32)

    def true_observation(self, state: State, params: Params) -> Observation:
        own = jnp.stack([state.left, state.rested], axis=-1).astype(jnp.float32)
        return Observation(own=own, legal=self._legal(state))

    def _legal(self, state: State) -> Bool[Array, "N 3"]:
        has_work = state.left > 0
        return jnp.stack([jnp.ones_like(has_work), has_work, has_work & state.rested], axis=-1)

    def _timestep(
        self,
        state: State,
        params: Params,
        rewards: Float[Array, " N"],
        finished: Bool[Array, " N"],
        action: Int[Array, " N"],
        elapsed: Float[Array, ""],
    ) -> TimeStep[Observation]:
        empty = ~jnp.any(state.left > 0)
        return TimeStep(
            observation=self.true_observation(state, params),
            reward=rewards,
            discount=jnp.where(empty, 0.0, 1.0).astype(jnp.float32),
            last=empty | (state.step >= params.horizon),
            elapsed=elapsed,
            metrics={
                "utility": jnp.mean(rewards),
                "finished": finished.astype(jnp.int32),
                "choices": jnp.sum(action[:, None] == jnp.arange(3), axis=0, dtype=jnp.int32),
            },
        )


@struct.dataclass
class Eager:
    """Hurries when rested, but for every `rest`-th step, in which it only works."""

    rest: int | Int[Array, ""]

    kind = "heuristic"

    @property
    def name(self) -> str:
        return f"eager(rest={int(self.rest)})"

    def init(self, game: Ticking) -> Int[Array, ""]:
        return jnp.int32(0)

    def act(
        self, key: PRNGKeyArray, carry: Int[Array, ""], observation: Observation, params: Any
    ) -> tuple[Int[Array, ""], Int[Array, " N"]]:
        wish = jnp.where((carry + 1) % self.rest == 0, WORK, HURRY)
        best = jnp.where(observation.legal[:, HURRY], wish, jnp.where(observation.legal[:, WORK], WORK, IDLE))
        return carry + 1, best.astype(jnp.int32)


@struct.dataclass
class Always:
    """One choice throughout, where it is legal."""

    choice: int = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)

    kind = "heuristic"

    def init(self, game: Ticking) -> tuple:
        return ()

    def act(
        self, key: PRNGKeyArray, carry: tuple, observation: Observation, params: Any
    ) -> tuple[tuple, Int[Array, " N"]]:
        return carry, jnp.where(observation.legal[:, self.choice], self.choice, IDLE).astype(jnp.int32)


def eager(rest: Any = 3) -> Eager:
    """An eager policy that rests in every `rest`-th step."""
    check_size("rest", rest, 1)
    return Eager(rest=rest)


def _rests(game: Ticking) -> dict[str, Sequence[Any]]:
    return {"rest": (1, 2, 4)}


EAGER = Family(eager, _rests)

ENTRY = Entry(
    game=Ticking,
    params=Params,
    heuristics={
        "idle": Family(lambda: Always(IDLE, "idle")),
        "work": Family(lambda: Always(WORK, "work")),
        "eager": EAGER,
    },
    shorthands=SHORTHANDS,
    lengths=Lengths(20),
)
