"""Agents that go on learning in a running system, by the learner's own update."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxdlb.checks import shown
from jaxdlb.game import TimeStep
from jaxdlb.learners.rollout import Rollout, Steps, draw_actions
from jaxdlb.live.seats import Outcome, SeatedTeam, Seen
from jaxdlb.networks import Memories, Views, features, normalisation
from jaxdlb.policies.fixed import NOBODY


@struct.dataclass
class Played:
    """Steps of the one system that there is; leading axis T."""

    own: Float[Array, "T N F"]
    legal: Bool[Array, "T N A"]
    first: Bool[Array, " T"]
    action: Int[Array, "T N"]
    reward: Float[Array, "T N"]
    elapsed: Float[Array, " T"]
    over: Bool[Array, " T"]


class LearnerAlgorithm(SeatedTeam):
    """The agents of a learner's game, who go on learning: `team.agent(name)` is one of them.

    They act by the policy of `state` and gather, of this one system, what the learner gathers of each cluster that it
    plays for itself; after `rollout_length` steps it learns from them, while whoever asked waits, and they act by what
    came of it. Everything is compiled here. Of the learner's state, running statistics of a global state stay as they
    are, since nobody sees one.

    Raises:
        ValueError: a learner that does not learn from rollouts, or takes from them what a running system does not tell.
    """

    is_learning = True

    def __init__(self, learner: Any, state: Any, seed: int = 0) -> None:
        _check(learner)
        super().__init__(learner.game)
        self._learner = dataclasses.replace(learner, config=dataclasses.replace(learner.config, num_envs=1))
        self.state = state  # the learner's, now
        self.metrics: dict[str, float] = {}  # of the last update
        self.num_updates = 0  # here
        self._key, self._records = jax.random.key(seed), list[tuple[Seen, Any, Outcome]]()
        self._memories = self._memories_before = self._learner.network.initial_memories((1,))
        self._act, self._probable = jax.jit(self._decided), jax.jit(self._probabilities)
        self._learn = jax.jit(self._learned)
        self._keys = self._split()
        self._compile()

    def choose(self, seen: Seen) -> Int[np.ndarray, " N"]:
        """The policy's choices; before, it has learned if as much was played as it learns from."""
        if len(self._records) == self._learner.config.rollout_length:
            self._update(seen)
        self._memories_chosen = self._memories
        self._memories, action = self._act(self.state, self._memories, *_leaves(seen), self._keys, len(self._records))
        self._open = seen, action
        return np.asarray(action)

    def end_step(self, outcome: Outcome) -> None:
        """Keep what was played."""
        self._records.append((*self._open, outcome))

    def probabilities(self, seen: Seen, *, is_chosen: bool) -> Float[np.ndarray, "N A"]:
        """Of the policy that acts now."""
        memories = self._memories_chosen if is_chosen else self._memories
        return np.asarray(self._probable(self.state, memories, *_leaves(seen)))

    def _update(self, following: Seen) -> None:
        self.state, metrics = self._learn(
            self.state, self._memories_before, _stacked(self._records), *_leaves(following)
        )
        self.metrics = {name: float(value) for name, value in metrics.items()}
        self.num_updates += 1
        self._records.clear()
        self._memories_before, self._keys = self._memories, self._split()

    def _split(self) -> Key[Array, " T"]:
        """The keys of the steps of a rollout, as `collect` has them if it is given a key."""
        key = jax.random.fold_in(self._key, self.num_updates)
        return jax.random.split(key, self._learner.config.rollout_length)

    def _compile(self) -> None:
        alone = np.zeros_like(self._legal)
        alone[:, 0] = True
        nothing = Seen(np.zeros_like(self._own), alone, False)
        _, action = self._act(self.state, self._memories, *_leaves(nothing), self._keys, 0)
        length, outcome = self._learner.config.rollout_length, Outcome(np.zeros(len(alone)), 1.0, False)
        played = _stacked([(nothing, action, outcome)] * length)
        jax.block_until_ready(self._learn(self.state, self._memories, played, *_leaves(nothing)))

    def _decided(
        self,
        state: Any,
        memories: Memories,
        own: Float[Array, "N F"],
        legal: Bool[Array, "N A"],
        first: bool | Bool[Array, ""],
        keys: Key[Array, " T"],
        step: int | Int[Array, ""],
    ) -> tuple[Memories, Int[Array, " N"]]:
        memories, outlook = self._look(state, memories, own, legal, first)
        return memories, draw_actions(outlook.distribution, keys[step], 1)[0]

    def _probabilities(
        self,
        state: Any,
        memories: Memories,
        own: Float[Array, "N F"],
        legal: Bool[Array, "N A"],
        first: bool | Bool[Array, ""],
    ) -> Float[Array, "N A"]:
        return self._look(state, memories, own, legal, first)[1].distribution.probabilities()[0]

    def _learned(
        self,
        state: Any,
        memories: Memories,
        played: Played,
        own: Float[Array, "N F"],
        legal: Bool[Array, "N A"],
        first: bool | Bool[Array, ""],
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """The learner's state and metrics after one update; what follows upon the steps is seen but not yet played."""

        def recorded(memories: Memories, each: Played) -> tuple[Memories, Steps]:
            memories, outlook = self._look(state, memories, each.own, each.legal, each.first)
            steps = self._learner.steps(
                outlook, each.first[None], each.action[None], _timestep(each), jnp.zeros_like(outlook.value)
            )
            return memories, steps

        after, steps = jax.lax.scan(recorded, memories, played)
        _, following = self._look(state, after, own, legal, first)
        learned, metrics = self._learner.learn(state, Rollout(steps, memories, following.value))
        moments = Views(agent=learned.moments.agent, state=state.moments.state)
        return dataclasses.replace(learned, moments=moments), metrics

    def _look(
        self,
        state: Any,
        memories: Memories,
        own: Float[Array, "N F"],
        legal: Bool[Array, "N A"],
        first: bool | Bool[Array, ""],
    ) -> tuple[Memories, Any]:
        """What the networks make of the one system, as of one of E environments; nobody sees a global state."""
        observation = type(self.game.observation_shapes)(own=own[None], legal=legal[None])
        nothing = jnp.zeros((1, *state.moments.state.mean.shape))
        seen: Views[PyTree] = normalisation.symlog(Views(agent=features(observation), state=nothing))
        return self._learner.look(state, memories, seen, observation.legal, jnp.asarray(first)[None])


def _check(learner: Any) -> None:
    """Raise ValueError unless a running system tells all that a learner takes from a rollout."""
    if not all(hasattr(learner, each) for each in ("look", "steps", "learn")):
        raise ValueError(f"learner is {shown(learner)}; it must be one that learns from what its own policy did")
    if learner.config.critic != "observation":
        raise ValueError(
            f"critic is {learner.config.critic!r}; it must be 'observation', since nobody sees the whole state of a "
            "running system"
        )
    if learner.fixed != NOBODY:
        raise ValueError("fixed_agents is given; it must not be in a running system")
    if learner.credit.name != "whole":
        raise ValueError(f"credit is {learner.credit.name!r}; it must be 'whole', since agents are told rewards alone")


def _leaves(seen: Seen) -> tuple[Any, Any, bool]:
    return seen.own, seen.legal, seen.first


def _stacked(records: list[tuple[Seen, Any, Outcome]]) -> Played:
    seen, actions, outcomes = zip(*records, strict=True)
    columns: dict[str, Any] = {
        "own": np.stack([each.own for each in seen]),
        "legal": np.stack([each.legal for each in seen]),
        "first": np.array([each.first for each in seen]),
        "action": np.stack([np.asarray(each) for each in actions]),
        "reward": np.stack([each.reward for each in outcomes]).astype(np.float32),
        "elapsed": np.array([each.elapsed for each in outcomes], np.float32),
        "over": np.array([each.over for each in outcomes]),
    }
    return Played(**columns)


def _timestep(each: Played) -> TimeStep:
    """What a learner's own environments would have reported of a step."""
    return TimeStep(
        observation=None,
        reward=each.reward[None],
        discount=jnp.where(each.over, 0.0, 1.0)[None],
        last=each.over[None],
        elapsed=each.elapsed[None],
        metrics={"utility": jnp.mean(each.reward)[None]},
    )
