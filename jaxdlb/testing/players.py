"""Checks of a game's heuristics: every one plays, and plays legal actions."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdlb import spaces
from jaxdlb.game import Entry, Game
from jaxdlb.policies import KINDS, Policy, is_opaque
from jaxdlb.testing.claims import claim, claim_alike
from jaxdlb.testing.rounds import Rollout


def check_heuristics(game: Game, entry: Entry, rollouts: Sequence[Rollout]) -> None:
    """Every family of the entry makes policies that act legally on the observations of the rollouts."""
    claim(
        entry.game is type(game),
        f"the entry is for {entry.game.__name__}, but the game's class is {type(game).__name__}",
    )
    claim("heuristic" in {family.make().kind for family in entry.heuristics.values()}, "the entry has no heuristic")
    measured_from = entry.baseline is None or entry.baseline in entry.heuristics
    claim(measured_from, f"the entry's baseline is {entry.baseline!r}, which is none of its heuristics")
    observations = _observations(game, rollouts[0])
    for name, family in entry.heuristics.items():
        members = family.members(game)
        names = [member.name for member in members]
        claim(members, f"the grid of {name} is empty")
        claim(len(set(names)) == len(names), f"members of the grid of {name} share a name, among {', '.join(names)}")
        program = jax.jit(lambda policy, *given: policy.act(*given))  # one for both, if they differ in numbers alone
        for policy in (family.make(), members[-1]):
            _check_policy(game, policy, program, observations, rollouts[0].params)


def _check_policy(
    game: Game, policy: Policy, program: Any, observations: Mapping[bool, Sequence[Any]], params: Any
) -> None:
    claim(isinstance(policy, Policy), f"{policy!r} lacks a member of jaxdlb.policies.Policy")
    claim(policy.kind in KINDS, f"the kind of {policy.name} is {policy.kind!r}; it must be one of {', '.join(KINDS)}")
    act = jax.jit(policy.act) if is_opaque(policy) else functools.partial(program, policy)
    seen = observations[policy.kind == "oracle"]
    carry = jax.tree.map(jnp.asarray, policy.init(game))
    key = jax.random.key(0)
    after, action = jax.eval_shape(act, key, carry, seen[0], params)
    claim_alike(carry, after, f"the memories of {policy.name} at the start and after a round must match")
    sample = jax.eval_shape(lambda key, legal: spaces.sample(game.action_space, key, legal), key, seen[0].legal)
    claim_alike(sample, action, f"a sample of the action space and {policy.name}'s action must match")
    for t, observation in enumerate(seen):
        carry, action = act(jax.random.fold_in(key, t), carry, observation, params)
        legal = np.asarray(spaces.contains(game.action_space, action, observation.legal))
        claim(np.all(legal), f"{policy.name} plays an illegal action, {action}, where {observation.legal} is legal")


def _observations(game: Game, rollout: Rollout) -> dict[bool, list[Any]]:
    """The observations that a policy would have seen; the truth, if it is an oracle (True)."""
    truth = jax.jit(game.true_observation)
    return {
        False: [timestep.observation for timestep in rollout.timesteps],
        True: [truth(state, rollout.params) for state in rollout.states],
    }
