"""From settings to the objects of the library, each checked on the host before anything is written or compiled."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax

import jaxdlb
from jaxdlb import learners, policies, traces
from jaxdlb.checks import Interval, check_array, check_choice, check_size
from jaxdlb.evaluation.rollouts import check_sizes
from jaxdlb.games.dlb import Ranges, random_clusters
from jaxdlb.learners import MAPPO, MAPPOConfig
from jaxdlb.networks import NetworkConfig
from train import config

SampleParams = Callable[[jax.Array], Any]
Built = TypeVar("Built")

_SEED = Interval(0, 2**32 - 1, integer=True)
_TRACE_KINDS = ("counts", "instants")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A game, and the clusters that it is trained on and evaluated on; the two differ where a trace is played."""

    game: Any
    params: Any  # of one cluster: the one that all others are drawn around
    train: SampleParams
    test: SampleParams


def scenario(settings: Any) -> Scenario:
    """The game and its clusters.

    Raises:
        ValueError: an unknown game, a size, parameter, range or trace that is not allowed.
    """
    with _named("game", settings):
        game = jaxdlb.make(settings.name, **_sizes(settings))
    with _named("game.params", settings.params):
        base = _parameters(game, settings.params)
    with _named("game.trace", settings.trace):
        train, test = _modulated(base, settings)
    with _named("game.randomise", settings.randomise):
        clusters = [_clusters(game, params, settings.randomise) for params in (train, test)]
    return Scenario(game, test, *clusters)


def network(settings: Any) -> NetworkConfig:
    """The network's configuration, checked."""
    with _named("network", settings):
        return library(NetworkConfig, settings)


def learner(settings: Any, scenario: Scenario) -> MAPPO:
    """The learner of the settings, on the scenario's clusters to train on.

    Raises:
        ValueError: a hyper-parameter that is not allowed, or sizes that do not fit together.
    """
    check_size("learner.num_seeds", settings.learner.num_seeds, 1)
    chosen = settings.learner
    if chosen.schedule_updates is None:
        chosen = dataclasses.replace(chosen, schedule_updates=num_updates(settings, scenario.game))
    chosen_network = network(settings.network)
    with _named("learner", chosen), _named("network", settings.network):
        hyper = library(MAPPOConfig, chosen)
        return learners.make(scenario.game, hyper, network=chosen_network, sample_params=scenario.train)


def agent_rounds_per_update(settings: Any, game: Any) -> int:
    """Rounds × environments × agents that one update plays, for each seed."""
    for name in ("num_envs", "rollout_length"):
        check_size(f"learner.{name}", getattr(settings.learner, name), 1)
    return settings.learner.num_envs * settings.learner.rollout_length * game.num_agents


def num_updates(settings: Any, game: Any) -> int:
    """The updates that spend the budget of agent-rounds, the last one to the end."""
    check_size("total_agent_rounds", settings.total_agent_rounds, 1)
    return math.ceil(settings.total_agent_rounds / agent_rounds_per_update(settings, game))


def heuristics(entries: Sequence[Any]) -> list[Any]:
    """The heuristics of a list of names, or of mappings that hold a name and options.

    Raises:
        ValueError: an entry of another kind, an unknown name or option, or none at all.
    """
    if not entries:
        raise ValueError("evaluation.heuristics is empty; it must name at least one heuristic, or be null for all")
    return [heuristic(entry, "evaluation.heuristics") for entry in entries]


def heuristic(entry: Any, key: str) -> Any:
    """The heuristic that an entry under `key` asks for, a name or a mapping of name and options.

    Raises:
        ValueError: an entry of another kind, an unknown name or option.
    """
    if isinstance(entry, str):
        return policies.heuristic(entry)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ValueError(f"{key} has the entry {entry!r}; it must be a name, or {{name: …}} with options")
    return policies.heuristic(**{str(option): value for option, value in entry.items()})


def check(settings: Any) -> None:
    """Raise ValueError for a setting of the launcher itself that is not allowed."""
    check_array("seed", settings.seed, (), _SEED)
    check_array("evaluation.seed", settings.evaluation.seed, (), _SEED)
    check_size("logging_interval", settings.logging_interval, 1)
    check_size("checkpoint_interval", settings.checkpoint_interval, 1)
    evaluation = settings.evaluation
    with _named("evaluation", evaluation):
        check_sizes(evaluation.num_episodes, evaluation.num_rounds, evaluation.warmup)
        check_size("recorded_rounds", evaluation.recorded_rounds, 1)
        check_size("tuning_episodes", evaluation.tuning_episodes, 2)
        check_size("tuning_rounds", evaluation.tuning_rounds, 1)
    if evaluation.heuristics is not None:
        heuristics(evaluation.heuristics)


def library(type_: type[Built], settings: Any) -> Built:
    """A dataclass of the library from the settings' fields of the same names; lists become tuples."""
    return type_(**{field.name: _frozen(getattr(settings, field.name)) for field in dataclasses.fields(type_)})  # type: ignore[arg-type]


@contextlib.contextmanager
def _named(prefix: str, settings: Any) -> Iterator[None]:
    """Give the library's sentences, which begin with a field of `settings`, the name that the user knows it by."""
    try:
        yield
    except ValueError as error:
        field = re.match(r"\w+", str(error))
        known = {each.name for each in dataclasses.fields(settings)}
        if field is None or field.group() not in known:
            raise
        raise ValueError(f"{prefix}.{error}") from None


def _sizes(settings: Any) -> dict[str, Any]:
    apart = {field.name for field in dataclasses.fields(config.GameSettings)} | {"params", "randomise", "trace"}
    return {
        field.name: getattr(settings, field.name) for field in dataclasses.fields(settings) if field.name not in apart
    }


def _parameters(game: Any, settings: Any) -> Any:
    """The parameters of one cluster; what is null is as the game has it."""
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    law = given.pop("arrival_modulation")
    check_choice("game.params.arrival_modulation.kind", law.kind, tuple(config.MODULATIONS))
    modulation: Any = library(config.MODULATIONS[law.kind], law)
    fields = {name: value for name, value in given.items() if value is not None}
    params = game.default_params(arrival_modulation=modulation, **fields)
    game.validate(params)
    return params


def _modulated(base: Any, settings: Any) -> tuple[Any, Any]:
    """The parameters to train on and to evaluate on: the two parts of the trace, if there is one.

    The part held out has the scale of the part trained on, or it would betray its own mean.
    """
    trace = settings.trace
    if trace.path is None:
        return base, base
    if not trace.path:
        raise ValueError("game.trace.path is not given; it must be the path of a CSV file")
    if settings.params.arrival_modulation.kind != "constant":
        raise ValueError(
            f"game.params.arrival_modulation.kind is {settings.params.arrival_modulation.kind!r}; "
            "it must be constant where game.trace plays a recorded workload"
        )
    check_choice("game.trace.kind", trace.kind, _TRACE_KINDS)
    read: Mapping[str, Callable[[], traces.Workload]] = {
        "counts": lambda: traces.read_counts(trace.path),
        "instants": lambda: traces.read_instants(trace.path, trace.bin_seconds),
    }
    first, last = traces.split(read[trace.kind](), trace.held_out)
    laws = {"rounds_per_sample": trace.rounds_per_sample}
    train, scale = traces.modulation(first, base.arrival_prob, **laws)
    test, _ = traces.modulation(last, base.arrival_prob, scale=scale, **laws)
    return base.replace(arrival_modulation=train), base.replace(arrival_modulation=test)


def _clusters(game: Any, base: Any, settings: Any) -> SampleParams:
    """`base` itself for every key where no range is given, else random clusters around it."""
    ranges = library(Ranges, settings)
    if all(value is None for value in dataclasses.asdict(ranges).values()):
        return lambda key: base
    return random_clusters(game, base, ranges)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
