"""A learner from its settings, and a whole training run in one call."""

from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxdlb.checks import check_size
from jaxdlb.game import Game
from jaxdlb.learners.environments import SampleParams
from jaxdlb.learners.registry import LEARNERS
from jaxdlb.networks import NetworkConfig

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
        ValueError: settings of no known learner, or settings or a network that do not fit the game.
    """
    entry = next((each for each in LEARNERS.values() if each.config is type(config)), None)
    if entry is None:
        known = ", ".join(each.config.__name__ for each in LEARNERS.values())
        raise ValueError(f"config is {config!r}; it must be one of {known}")
    return entry.make(game, network, config, _always(game) if sample_params is None else sample_params)


def _always(game: Game) -> SampleParams:
    params = game.default_params()
    return lambda key: params


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
