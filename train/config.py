"""What a user may set, as dataclasses that hydra checks every key and type against.

Sizes, parameters and hyper-parameters are those of the library's own dataclasses, so that each name and each default
stands once, there; the files under `conf/` choose among them.
"""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from jaxdlb.games.dlb import DLB, Params, Ranges
from jaxdlb.learners import MAPPOConfig
from jaxdlb.mechanics import arrivals
from jaxdlb.networks import NetworkConfig

CONF = Path(__file__).resolve().parent.parent / "conf"

_PLAIN = (int, float, bool, str)
MODULATIONS: dict[str, type] = {
    "constant": arrivals.Constant,
    "sinusoidal": arrivals.Sinusoidal,
    "step": arrivals.Step,
    "markov": arrivals.MarkovModulated,
}


Fields = dict[str, tuple[Any, Any]]  # type and default of each field


def schema(name: str, library: type, changed: Fields | None = None, *, base: type = object) -> type:
    """A mutable dataclass with the fields and defaults of a dataclass of the library, and those of `changed`.

    `changed` maps a field, new or not, to its type and default. hydra can check and override such a class, but not a
    frozen one, and not types of arrays: of those only their default's type is asked for.
    """
    fields = {field.name: (_plain_type(field), field.default) for field in dataclasses.fields(library)}
    return _dataclass(name, fields | (changed or {}), base)


def params_schema(name: str, params: type, changed: Fields) -> type:
    """A schema for a game's parameters, all null by default: null stands for the game's own default.

    A scalar must be a number; a parameter with an entry for each node may be one number or a list of them.
    """
    types_ = {field.name: _number_type(field.type) for field in dataclasses.fields(params)}
    return _dataclass(name, {field: (type_, None) for field, type_ in types_.items()} | changed, object)


def _dataclass(name: str, fields: Fields, base: type) -> type:
    entries = [(field, type_, _default(value)) for field, (type_, value) in fields.items()]
    made = dataclasses.make_dataclass(name, entries, bases=(base,))
    made.__module__ = __name__
    return made


def _default(value: Any) -> Any:
    """Mutable defaults are made anew for each instance; a class stands for an instance of it."""
    if isinstance(value, type):
        return dataclasses.field(default_factory=value)
    return dataclasses.field(default=value)


def _plain_type(field: dataclasses.Field) -> Any:
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    plain = [option for option in options if option is not types.NoneType]
    known = all(option in _PLAIN or typing.get_origin(option) is tuple for option in plain)
    return field.type if known else type(field.default)


def _number_type(annotation: Any) -> Any:
    """Of a jaxtyping annotation: Any for an array, else an optional int or float."""
    if getattr(annotation, "dim_str", "").strip():
        return Any
    return int | None if "int32" in getattr(annotation, "dtypes", ()) else float | None


@dataclasses.dataclass
class ModulationSettings:
    """A law by which arrivals vary; the group game/params/arrival_modulation says which."""

    kind: str = MISSING


@dataclasses.dataclass
class TraceSettings:
    """A recorded workload to play as arrival modulation; none without a path."""

    path: str | None = None
    kind: str = "counts"  # columns timestamp and value; or instants, one row an arrival
    bin_seconds: float = 60.0  # for instants: how long each count is
    rounds_per_sample: int = 10
    held_out: float = 0.3  # the share at the end that policies are evaluated on, and not trained


@dataclasses.dataclass
class GameSettings:
    """A game; the group `game` says which."""

    name: str = MISSING


@dataclasses.dataclass
class LoggerSettings:
    """Where metrics go beside the progress on the terminal and metrics.csv; the group `logger` says which."""

    name: str = MISSING


@dataclasses.dataclass
class WandbSettings(LoggerSettings):
    """Weights & Biases."""

    project: str = "jaxdlb"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)
    mode: str | None = None  # online, offline or disabled; null leaves it to WANDB_MODE
    upload_checkpoint: bool = True  # as an artifact, when training ends


@dataclasses.dataclass
class EvaluationSettings:
    """How policies are compared, at the end of training and by train.evaluate."""

    enabled: bool = True  # at the end of training
    num_episodes: int = 64
    num_rounds: int = 2000
    warmup: int = 200  # rounds at the start of each episode that are left out
    greedy: bool = False  # the learned policy takes its likeliest action rather than draw one
    seed: int = 1
    heuristics: list[Any] | None = None  # names, or mappings of name and options; null: all, tuned
    tuning_episodes: int = 32
    tuning_rounds: int = 800
    recorded_rounds: int = 200  # shown in the heat map


PARAMS = params_schema(
    "DLBParams",
    Params,
    {"load": (float | None, None), "arrival_modulation": (ModulationSettings, ModulationSettings)},
)
RANGES = schema("DLBRanges", Ranges)
DLB_SETTINGS = schema(
    "DLBSettings",
    DLB,
    {"params": (PARAMS, PARAMS), "randomise": (RANGES, RANGES), "trace": (TraceSettings, TraceSettings)},
    base=GameSettings,
)
NETWORK_SETTINGS = schema("NetworkSettings", NetworkConfig)
LEARNER_SETTINGS = schema(
    "LearnerSettings",
    MAPPOConfig,
    {
        "name": (str, MISSING),
        "num_seeds": (int, 1),  # trained side by side in one program
        "schedule_updates": (int | None, None),  # null: as many as the run has
    },
)


@dataclasses.dataclass
class Settings:
    """Everything about a run."""

    game: GameSettings = MISSING
    learner: LEARNER_SETTINGS = MISSING  # type: ignore[valid-type]
    network: NETWORK_SETTINGS = MISSING  # type: ignore[valid-type]
    logger: LoggerSettings = MISSING
    evaluation: EvaluationSettings = dataclasses.field(default_factory=EvaluationSettings)
    seed: int = 0
    total_agent_rounds: int = 4_000_000  # the budget of each seed: rounds × agents × environments
    logging_interval: int = 10  # updates between two visits to the host
    checkpoint_interval: int = 100  # updates; taken at the first visit to the host from then on
    runs_dir: str = "runs"
    run_dir: str | None = None  # null: <runs_dir>/<date_time>_<game>_<learner>
    resume: str | None = None  # a run's folder to go on with
    resume_step: int | None = None  # null: its newest checkpoint


def register() -> None:
    """Tell hydra of the schemas; the files under `conf/` name them in their defaults."""
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    store.store(group="schema/game", name="dlb", node=DLB_SETTINGS)
    store.store(group="schema/learner", name="mappo", node=LEARNER_SETTINGS)
    store.store(group="schema/network", name="actor_critic", node=NETWORK_SETTINGS)
    store.store(group="schema/logger", name="console", node=LoggerSettings)
    store.store(group="schema/logger", name="wandb", node=WandbSettings)
    for kind, law in MODULATIONS.items():
        node = schema(f"{law.__name__}Settings", law, base=ModulationSettings)
        store.store(group="schema/arrival_modulation", name=kind, node=node)
