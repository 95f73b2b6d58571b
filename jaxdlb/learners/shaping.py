"""Rewards shaped by the potential that a game states: F = γ^elapsed · Φ(s′) − Φ(s), which changes no policy's rank.

Ng, Harada and Russell 1999, "Policy invariance under reward transformations", ICML.
"""

from typing import Any, cast

import jax
from jaxtyping import Array, Float

from jaxdlb.game import Foreseeing, Game, TimeStep
from jaxdlb.learners.environments import Environments
from jaxdlb.learners.hyper import Scalar


def added(game: Game, gamma: Scalar, at: Environments, timestep: TimeStep, end: Any) -> Float[Array, "E N"]:
    """What is added to the rewards of a step in E environments, which led from `at` to the states `end`."""
    potential = jax.vmap(cast(Foreseeing, game).potential)
    before, after = (potential(each, at.params) for each in (at.state, end))
    discount = gamma**timestep.elapsed * timestep.discount
    return discount[:, None] * after - before


def check(game: Game, critic: str) -> None:
    """Raise ValueError if there is nothing to shape rewards by, or nothing that the critic may know."""
    if not isinstance(game, Foreseeing):
        raise ValueError(f"shape_rewards is true; it must be false in {game.name}, which states no potential")
    if critic != "global_state":
        raise ValueError(
            f"shape_rewards is true; it must be false with critic={critic}, since the potential tells of the whole "
            "state"
        )
