"""From settings to the objects of the library, each checked on the host before anything is written or compiled."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax

import jaxdlb
from jaxdlb import ranges
from jaxdlb.checks import LARGEST_INT, Interval, check_array, check_choice, check_size
from jaxdlb.evaluation.rollouts import check_sizes
from jaxdlb.game import Entry, Game, Lengths
from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS, LearnerEntry, check_suits
from jaxdlb.networks import NetworkConfig
from jaxdlb.parameters import declarations
from jaxdlb.policies import Family, Policy, find_family, make_heuristic

from . import sizes
from .config import SCHEDULE

SampleParams = Callable[[jax.Array], Any]
Built = TypeVar("Built")

ACTIONS = ("drawn", "greedy")  # ways for a learned policy to act
# figures of an evaluation besides those that are always drawn
PLOTS = ("timeline", "animation", "checkpoints", "pareto")
_OF_GAME = ("animation", "checkpoints")  # those that the game's viewer draws
_SEED = Interval(0, 2**32 - 1, integer=True)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A game, and the clusters that it is trained on and evaluated on; the two differ where a record is played."""

    entry: Entry
    game: Game
    params: Any  # of one cluster: the one that all others are drawn around
    train: SampleParams
    test: SampleParams
    is_one: bool  # whether all episodes to evaluate on play the one cluster of `params`


def scenario(settings: Any) -> Scenario:
    """The game and its clusters.

    Raises:
        ValueError: an unknown game, a size, parameter, range or recorded input that is not allowed.
    """
    entry, made = GAMES.find(settings.name), game(settings)
    sizes.check(sizes.of_cluster(made, entry.params))
    train, test = _parts(entry, made, settings)
    given = given_ranges(settings.randomise)
    _check_shorthands(entry, settings.params, given)
    with named("game.randomise", settings.randomise):
        train_on, test_on = (
            ranges.sampler(each, given, entry.shorthands, validate=made.validate) for each in (train, test)
        )
    return Scenario(entry, made, test, train_on, test_on, is_one=not given)


def game(settings: Any) -> Game:
    """The game at its sizes.

    Raises:
        ValueError: an unknown game, or a size that is not allowed.
    """
    with named("game", settings):
        return jaxdlb.make(settings.name, **_fields_of(GAMES.find(settings.name).game, settings))


def given_ranges(settings: Any) -> dict[str, Any]:
    """The ranges that are given; those of a law by its field."""
    every = vars(settings).items()
    given = {name: given_ranges(each) if dataclasses.is_dataclass(each) else each for name, each in every}
    return {name: each for name, each in given.items() if each not in (None, {})}


def network(settings: Any) -> NetworkConfig:
    """The network's configuration, checked."""
    with named("network", settings):
        return library(NetworkConfig, settings)


def learner(settings: Any, scenario: Scenario) -> Any:
    """The learner of the settings, on the scenario's clusters to train on.

    Raises:
        ValueError: a hyper-parameter that is not allowed, or sizes that do not fit together.
    """
    chosen, entry = settings.learner, LEARNERS.find(settings.learner.name)
    check_suits(entry, scenario.game)
    with named("learner", chosen):
        check_size("num_seeds", chosen.num_seeds, 1)
        given = {name: value for name, value in _fields_of(entry.config, chosen).items() if value is not None}
        given |= _policies(chosen, entry, scenario.entry.heuristics)
        asked = (scenario.entry, scenario.game, scenario.params)
        chosen_for_game = {name: choose(*asked) for name, choose in entry.by_game.items()}
        config = entry.config(**chosen_for_game | given)
    chosen_network = network(settings.network)
    sizes.check(sizes.of_training(settings, scenario.game, config))
    with named("learner", chosen), named("network", settings.network):
        made = entry.make(scenario.game, chosen_network, config, scenario.train)
    if getattr(chosen, SCHEDULE, 0) is not None:
        return made
    config = dataclasses.replace(config, **{SCHEDULE: num_updates(settings, made)})
    return entry.make(scenario.game, chosen_network, config, scenario.train)


def _policies(settings: Any, entry: LearnerEntry, families: Mapping[str, Family]) -> dict[str, Policy]:
    """Those of a learner's settings that are policies, as heuristics of the game."""
    entries = {name: getattr(settings, name) for name in entry.policies}
    return {name: heuristic(each, name, families) for name, each in entries.items() if each is not None}


def fixed(settings: Any) -> tuple[Sequence[int], Any]:
    """The agents that do not learn, and who plays them, as a run's settings name both; () and None where all learn."""
    return tuple(getattr(settings.learner, "fixed_agents", ())), getattr(settings.learner, "fixed_policy", None)


def num_updates(settings: Any, learner: Any) -> int:
    """The updates that spend the budget of agent-rounds, the last one to the end."""
    most = LARGEST_INT * learner.agent_rounds_per_update
    check_size("total_agent_rounds", settings.total_agent_rounds, 1, most)
    return -(-settings.total_agent_rounds // learner.agent_rounds_per_update)


def heuristics(entries: Sequence[Any], families: Mapping[str, Family]) -> list[Policy]:
    """The heuristics of a list of names, or of mappings that hold a name and options.

    Raises:
        ValueError: an entry of another kind, an unknown name or option, the same twice, or none to compare with.
    """
    if not entries:
        raise ValueError("evaluation.heuristics is empty; it must name at least one heuristic, or be null for all")
    policies = [heuristic(entry, f"evaluation.heuristics[{index}]", families) for index, entry in enumerate(entries)]
    names = [policy.name for policy in policies]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"evaluation.heuristics holds {twice[0]!r} twice; every policy must have a name of its own")
    if all(policy.kind != "heuristic" for policy in policies):
        raise ValueError(f"evaluation.heuristics holds only {', '.join(names)}; it must hold one that is no oracle")
    return policies


def heuristic(entry: Any, key: str, families: Mapping[str, Family]) -> Policy:
    """The heuristic that an entry under `key` asks for, a name or a mapping of name and options.

    Raises:
        ValueError: an entry of another kind, an unknown name or option.
    """
    name, options = named_with_options(entry, key)
    try:
        find_family(families, name)
    except ValueError as error:
        raise ValueError(f"{key}{str(error).removeprefix('heuristic')}") from None
    try:
        return make_heuristic(families, name, **options)
    except ValueError as error:
        raise ValueError(f"{key}.{error}") from None


def named_with_options(entry: Any, key: str) -> tuple[str, dict[str, Any]]:
    """A heuristic's name and options, as an entry under `key` gives them.

    Raises:
        ValueError: an entry that is neither a name nor a mapping with one.
    """
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ValueError(f"{key} is {entry!r}; it must be a name, or {{name: …}} with options")
    return entry["name"], {str(option): value for option, value in entry.items() if option != "name"}


def lengths(evaluation: Any, entry: Entry) -> Lengths:
    """How long episodes are, and their pictures: as the evaluation's settings say, or as the game asks."""
    num_rounds = entry.lengths.num_rounds if evaluation.num_rounds is None else evaluation.num_rounds
    warmup = entry.lengths.warmup if evaluation.warmup is None else evaluation.warmup
    recorded = entry.lengths.recorded if evaluation.recorded_rounds is None else evaluation.recorded_rounds
    return Lengths(num_rounds, warmup, recorded, ends=entry.lengths.ends and evaluation.num_rounds is None)


def check(settings: Any) -> None:
    """Raise ValueError for a setting of the launcher itself that is not allowed, or a size that cannot fit."""
    check_array("seed", settings.seed, (), _SEED)
    check_array("evaluation.seed", settings.evaluation.seed, (), _SEED)
    check_size("logging_interval", settings.logging_interval, 1)
    check_size("checkpoint_interval", settings.checkpoint_interval, 1)
    check_size("kept_checkpoints", settings.kept_checkpoints, 1)
    evaluation, entry = settings.evaluation, GAMES.find(settings.game.name)
    with named("learner", settings.learner):
        _policies(settings.learner, LEARNERS.find(settings.learner.name), entry.heuristics)
    each = lengths(evaluation, entry)
    with named("evaluation", evaluation):
        check_sizes(evaluation.num_episodes, each.num_rounds, each.warmup)
        check_size("recorded_rounds", each.recorded, 1)
        if evaluation.held_out_episodes is not None:
            check_size("held_out_episodes", evaluation.held_out_episodes, 0)
        check_size("held_out_rounds", evaluation.held_out_rounds, 1)
        if evaluation.tuning_episodes is not None:
            check_size("tuning_episodes", evaluation.tuning_episodes, 2)
        check_size("tuning_rounds", evaluation.tuning_rounds, 1)
        check_size("tuning_candidates", evaluation.tuning_candidates, 2)
        check_size("tuning_generations", evaluation.tuning_generations, 1)
        _check_actions(evaluation.actions)
    if evaluation.heuristics is not None:
        heuristics(evaluation.heuristics, entry.heuristics)
    for each in plots(settings):
        check_choice("plots", each, PLOTS)
        if each in _OF_GAME and entry.viewer is None:
            raise ValueError(f"plots is {each!r}; it must be left out where game.name is one that cannot be drawn")
    sizes.check(sizes.of_evaluation(evaluation, game(settings.game)))


def plots(settings: Any) -> list[Any]:
    """The figures that are asked for besides those that are always drawn: by one name, or by a list."""
    asked = settings.plots
    return list(asked) if isinstance(asked, list) else [] if asked is None else [asked]


def _check_actions(actions: Sequence[str]) -> None:
    """Raise ValueError unless there is a way to act, and each is known and listed once."""
    if not actions:
        raise ValueError(f"actions is empty; it must hold at least one of {', '.join(ACTIONS)}")
    for index, each in enumerate(actions):
        check_choice(f"actions[{index}]", each, ACTIONS)
        if each in actions[:index]:
            raise ValueError(f"actions holds {each!r} twice; it must hold each way to act once")


def library(type_: type[Built], settings: Any) -> Built:
    """A dataclass of the library from the settings' fields of the same names; lists become tuples."""
    return type_(**_fields_of(type_, settings))


@contextlib.contextmanager
def named(prefix: str, settings: Any) -> Iterator[None]:
    """Give the library's sentences, which begin with a field of `settings`, the name that the user knows it by."""
    try:
        yield
    except ValueError as error:
        path = re.match(r"\w+(\.\w+)*", str(error))
        if path is None or not _is_below(settings, path.group().split(".")):
            raise
        raise ValueError(f"{prefix}.{error}") from None


@contextlib.contextmanager
def renamed(name: str, key: str) -> Iterator[None]:
    """Give the library's sentences about the argument `name` the key that the user knows it by."""
    try:
        yield
    except ValueError as error:
        raise ValueError(re.sub(rf"^{name} is ", f"{key} is ", str(error))) from None


def _is_below(settings: Any, path: Sequence[str]) -> bool:
    """Whether a path leads to a field of `settings`, of groups within it too; the name of a file may look like one."""
    for name in path:
        if not dataclasses.is_dataclass(settings) or name not in {each.name for each in dataclasses.fields(settings)}:
            return False
        settings = getattr(settings, name)
    return True


def _fields_of(type_: Any, settings: Any) -> dict[str, Any]:
    return {field.name: _frozen(getattr(settings, field.name)) for field in dataclasses.fields(type_)}


def _parts(entry: Entry, game: Game, settings: Any) -> tuple[Any, Any]:
    """The parameters of one cluster to train on, and those to evaluate on; the same where no record is played."""
    fields = _given_fields(entry, settings.params)
    if entry.recorded is None:
        with named("game.params", settings.params):
            params = game.default_params(**fields)
        return params, params
    with named("game.trace", settings.trace):
        recorded = library(entry.recorded, settings.trace)
        with named("game.params", settings.params):
            return recorded.parts(game.default_params(**recorded.with_record(fields)))


def _given_fields(entry: Entry, settings: Any) -> dict[str, Any]:
    """The parameters that are given; what is null is as the game has it."""
    laws = [name for name, each in declarations(entry.params).items() if each.laws is not None]
    fields = {name: value for name, value in vars(settings).items() if value is not None}
    return fields | {name: {k: v for k, v in vars(fields[name]).items() if v is not None} for name in laws}


def _check_shorthands(entry: Entry, params: Any, given: Mapping[str, Any]) -> None:
    """Raise ValueError where a shorthand is given and a field that it sets is drawn, or the other way round.

    One of the two would count for nothing.
    """
    for name, each in entry.shorthands.items():
        for one, other in [*((name, field) for field in each.sets), *((field, name) for field in each.sets)]:
            if getattr(params, one) is not None and other in given:
                raise ValueError(
                    f"game.params.{one} is {getattr(params, one)!r} and game.randomise.{other} is given too; "
                    f"give only one, since {name} sets {', '.join(each.sets)}"
                )


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
