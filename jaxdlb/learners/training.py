"""A learner from its settings, and a whole training run in one call."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxdlb.checks import check_size
from jaxdlb.game import Game
from jaxdlb.learners import mappo
from jaxdlb.learners.config import MAPPOConfig
from jaxdlb.learners.environments import SampleParams
from jaxdlb.networks import NetworkConfig

_MAKERS: Mapping[type, Callable[..., Any]] = {MAPPOConfig: mappo.make}  # by the type of their settings
_DEFAULT_NETWORK = NetworkConfig()


def make(
    game: Game,
    config: Any,
    *,
    network: NetworkConfig = _DEFAULT_NETWORK,
    sample_params: SampleParams | None = None,
) -> Any:
    """The learner that `config` are the settings of.

    `sample_params` draws the parameters of each episode from a key; by default all have the game's default ones.

    Raises:
        ValueError: settings or a network that do not fit the game.
    """
    if sample_params is None:
        params = game.default_params()
        return _MAKERS[type(config)](game, network, config, lambda key: params)
    return _MAKERS[type(config)](game, network, config, sample_params)


def train(
    game: Game,
    config: Any,
    key: PRNGKeyArray,
    num_updates: int,
    *,
    network: NetworkConfig = _DEFAULT_NETWORK,
    sample_params: SampleParams | None = None,
) -> tuple[PyTree, dict[str, Array]]:
    """A whole run in one compiled program: the state after `num_updates`, and the metrics of each, [num_updates].

    Whoever wants to look in between, to save or to go on, makes the learner and calls its `init` and `update`.

    Raises:
        ValueError: fewer than 1 update, settings or a network that do not fit the game.
    """
    check_size("num_updates", num_updates, 1)
    learner = make(game, config, network=network, sample_params=sample_params)

    @jax.jit
    def run(key: PRNGKeyArray) -> tuple[PyTree, dict[str, Array]]:
        return jax.lax.scan(lambda state, _: learner.update(state), learner.init(key), length=num_updates)

    return run(key)
