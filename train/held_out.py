"""How the policy in training does in episodes that it is not trained on: each checkpoint is scored by it."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxdlb.evaluation.rollouts import evaluate_all
from jaxdlb.networks import STOCHASTIC, NetworkConfig, build_actor
from jaxdlb.policies.fixed import NOBODY, Fixed
from jaxdlb.policies.learned import LearnedPolicy

from . import build
from .build import Scenario

_HELD_OUT = 0x68656C64  # folded into the key: neither tuning nor the comparison at the end plays these episodes
_AGENTS_SEEN = 128  # over all episodes, where their number is not given
_FEWEST = 4  # episodes


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Plays the policies of all seeds, as they are, in the same episodes of the clusters to train on."""

    scenario: Scenario
    network: NetworkConfig
    share_parameters: bool
    num_seeds: int
    settings: Any  # those of the evaluation
    fixed: Fixed = NOBODY  # agents that do not learn, and are played as in training
    heads: str = STOCHASTIC  # the kind of the actor's

    @functools.cached_property
    def sizes(self) -> dict[str, Any]:
        """How many episodes, how long, and what is left out of each."""
        lengths = build.lengths(self.settings, self.scenario.entry).up_to(self.settings.held_out_rounds)
        num_episodes = self.settings.held_out_episodes
        if num_episodes is None:
            num_episodes = max(_FEWEST, _AGENTS_SEEN // self.scenario.game.num_agents)
        return {"num_episodes": num_episodes, "num_rounds": lengths.num_rounds, "warmup": lengths.warmup}

    def __call__(self, variables: PyTree) -> list[dict[str, float]]:
        """For each seed, the mean of each of the game's columns, NaN where some episode leaves nothing to divide by.

        `variables` are what `learner.policy_variables` gives, with a leading axis of seeds where there are several.
        """
        game = self.scenario.game
        actor = build_actor(game, self.network, self.share_parameters, self.heads)
        greedy = self.settings.held_out_greedy
        learned = (LearnedPolicy(game, actor, each, greedy=greedy) for each in _by_seed(variables, self.num_seeds))
        policies = [*map(self.fixed.beside, learned)]
        key = jax.random.fold_in(jax.random.key(self.settings.seed), _HELD_OUT)
        samples = evaluate_all(game, policies, self.scenario.train, key, **self.sizes)
        return [{name: float(np.mean(values)) for name, values in each.items()} for each in samples]


def _by_seed(variables: PyTree, num_seeds: int) -> list[PyTree]:
    if num_seeds == 1:
        return [variables]
    return [jax.tree.map(lambda leaf, seed=seed: leaf[seed], variables) for seed in range(num_seeds)]
