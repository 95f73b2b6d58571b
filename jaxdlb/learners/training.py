"""Makes a learner from its settings, and trains it in one call."""

from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxdlb.checks import POSITIVE_COUNT, check_type, check_whole, shown
from jaxdlb.game import Game, check_is_game
from jaxdlb.learners.environments import SampleParams
from jaxdlb.learners.registry import LEARNERS, check_suits
from jaxdlb.mechanics import chance
from jaxdlb.networks import NetworkConfig

_DEFAULT_NETWORK = NetworkConfig()


def make(
    game: Game,
    config: Any,
    *,
    network: NetworkConfig = _DEFAULT_NETWORK,
    sample_params: SampleParams | None = None,
) -> Any:
    """The learner with the settings `config`, whose class says which learner it is.

    `sample_params` draws the parameters of each episode from a key; by default, all are the game's default parameters.
    A learner of your own is made by the `make` of its `LearnerEntry`.

    Raises:
        ValueError: `config` belongs to no known learner, or the learner, its settings or the network do not fit the
            game.
    """
    check_is_game(game)
    check_type("network", network, NetworkConfig, "a NetworkConfig")
    if sample_params is not None and not callable(sample_params):
        raise ValueError(f"sample_params is {shown(sample_params)}; it must be a function from a key to parameters")
    entry = next((each for each in LEARNERS.values() if each.config is type(config)), None)
    if entry is None:
        known = ", ".join(each.config.__name__ for each in LEARNERS.values())
        raise ValueError(f"config is {shown(config)}; it must be one of {known}")
    check_suits(entry, game)
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
    """A whole run in one compiled program: the state after `num_updates` updates, and metrics, [num_updates] each.

    To inspect, save or continue a run, make the learner and call its `init` and `update` instead.

    Raises:
        ValueError: fewer than 1 update, or settings or a network that do not fit the game.
    """
    check_whole("num_updates", num_updates, POSITIVE_COUNT)
    chance.check_key("key", key)
    learner = make(game, config, network=network, sample_params=sample_params)

    @jax.jit
    def run(key: PRNGKeyArray) -> tuple[PyTree, dict[str, Array]]:
        return jax.lax.scan(lambda state, _: learner.update(state), learner.init(key), length=num_updates)

    return run(key)
