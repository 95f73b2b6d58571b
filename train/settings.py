"""What a user may set of a run besides its game, learner and network, as dataclasses that hydra checks against."""

import dataclasses
from typing import Any

from omegaconf import MISSING


@dataclasses.dataclass
class GameSettings:
    """A game; the group `game` says which."""

    name: str = MISSING  # in the registry, or package.module:ENTRY of a package of your own


@dataclasses.dataclass
class LearnerSettings:
    """A learner; the group `learner` says which."""

    name: str = MISSING  # in the registry
    num_seeds: int = 1  # seeds that train side by side in one program
    population: int | None = (
        None  # members with hyper-parameters of their own, of which the best are copied; null: none
    )


@dataclasses.dataclass
class LoggerSettings:
    """Where metrics go beside the progress on the terminal and metrics.csv; the group `logger` says which."""

    name: str = MISSING  # console or wandb


@dataclasses.dataclass
class WandbSettings(LoggerSettings):
    """Weights & Biases."""

    project: str = "jaxdlb"  # of wandb
    entity: str | None = None  # a user or team; null: the one logged in
    group: str | None = None  # runs that wandb shows together
    tags: list[str] = dataclasses.field(default_factory=list)  # of the run
    mode: str | None = None  # online, offline or disabled; null: what WANDB_MODE says, else online
    upload_checkpoint: bool = True  # the newest one as an artifact, when training ends


@dataclasses.dataclass
class SweepSettings:
    """Comparisons as one parameter of the game is swept, after the comparison itself."""

    over: str | None = None  # a parameter of the game, by path, that is one number or drawn; null: nothing is swept
    values: list[float] = dataclasses.field(default_factory=list)  # of it, ascending
    gain: str | None = None  # the column on the horizontal axis: what is gained; null: the parameter itself
    cost: str | None = None  # the column on the vertical axis, where less is better: what it costs
    up_to: float | None = None  # factors in cost are stated for values up to here; null: the one in the middle
    # folders of other runs in the same game, whose policies are drawn too, by the name of their learner
    beside: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class AcrossSettings:
    """A policy of its own for each of several values of one parameter of the game, all trained in one program."""

    over: str | None = None  # the parameter, by path, that is one number or drawn; null: one policy, as the game is
    values: list[float] = dataclasses.field(default_factory=list)  # of it, ascending


@dataclasses.dataclass
class FrontierSettings:
    """What is compared of policies trained at several values of a parameter (`across.over`); in all, less is better."""

    spent: str | None = None  # the column on the horizontal axis: what policies spend
    harm: str | None = None  # the column on the vertical axis: what is the worse the less they spend
    harms_besides: list[str] = dataclasses.field(default_factory=list)  # columns that are compared as well, by a table


@dataclasses.dataclass
class ParetoSettings:
    """The columns of the figure `pareto` (plots=pareto)."""

    across: str | None = None  # on the horizontal axis; less is better
    up: str | None = None  # on the vertical axis; less is better
    colour: str | None = "utility"  # of the markers


@dataclasses.dataclass
class EvaluationSettings:
    """How policies are compared, at the end of training and by train.evaluate."""

    enabled: bool = True  # compare at the end of training
    num_episodes: int = 64  # independent episodes of each policy
    num_rounds: int | None = None  # rounds of an episode; null: as many as the game asks for
    warmup: int | None = None  # rounds at the start of each episode that are left out; null: as the game asks
    # how learned policies act: drawn (at random, as in training) or greedy; verdict and drawings are of the first
    actions: list[str] = dataclasses.field(default_factory=lambda: ["drawn", "greedy"])
    seed: int = 1  # of the evaluation
    # after training, train the same learner once more with fresh news, for a row that tells what stale news costs
    fresh_news: bool = False
    heuristics: list[Any] | None = None  # names, or mappings of name and options; null: all, tuned
    # episodes of members of grids, and of finalists of searches over boxes; null: 256 agents' worth, at least 8
    tuning_episodes: int | None = None
    tuning_rounds: int = 800  # rounds of each, at most as many as an episode has; those that end by themselves do
    tuning_candidates: int = 48  # in each generation of a search, at most 12 for each option of the box
    tuning_generations: int = 24  # of a search
    held_out_episodes: int | None = (
        None  # that score each checkpoint; 0: its training utility does; null: 128 agents' worth
    )
    held_out_rounds: int = 1000  # rounds of each, at most as many as an episode has; those that end by themselves do
    held_out_greedy: bool = False  # whether agents are greedy there; else they draw, as in training
    recorded_rounds: int | None = None  # rounds that the pictures of a game show; null: as many as the game asks
    sweep: SweepSettings = dataclasses.field(default_factory=SweepSettings)
    frontier: FrontierSettings = dataclasses.field(default_factory=FrontierSettings)
    pareto: ParetoSettings = dataclasses.field(default_factory=ParetoSettings)


@dataclasses.dataclass
class DistributedSettings:
    """Where a run is trained: on which devices, by which processes; not kept with the run."""

    auto: bool = False  # the scheduler (SLURM, Open MPI, Kubernetes) says which processes there are
    coordinator: str | None = None  # host:port of process 0, where it listens; null: one process
    num_processes: int | None = None  # how many are started, with a coordinator
    process_id: int | None = None  # which of them this one is, from 0
    # of each process, over which the run is spread; null: all, of a CPU as many as it gains by
    devices: int | None = None
    timeout: float = 60.0  # seconds without a sign of life after which a process is given up, and the others end
    connect_timeout: float = 300.0  # seconds in which all processes must have come


@dataclasses.dataclass
class Settings:
    """Everything about a run."""

    game: GameSettings = MISSING
    learner: LearnerSettings = MISSING
    network: Any = MISSING
    logger: LoggerSettings = MISSING
    across: AcrossSettings = dataclasses.field(default_factory=AcrossSettings)
    evaluation: EvaluationSettings = dataclasses.field(default_factory=EvaluationSettings)
    distributed: DistributedSettings = dataclasses.field(default_factory=DistributedSettings)
    seed: int = 0  # of training
    total_agent_rounds: int = 4_000_000  # the budget of each seed: rounds × agents × environments
    logging_interval: int = 10  # updates between two visits to the host
    checkpoint_interval: int = (
        25  # updates; a checkpoint is taken, and scored, at the first visit to the host from then on
    )
    kept_checkpoints: int = 2  # the newest that stay on disk, beside the best
    # a figure besides those that are always drawn, or a list: timeline (each metric over time), animation, checkpoints
    # (the game's own figures of the policy at the first, the best and some other checkpoints that are kept), pareto
    # (two columns of every setting of every rule, and of what was learned, as evaluation.pareto says)
    plots: Any = None
    # by what a sweep compares its runs: evaluation.<column>, held_out.<column> or training.<metric>; null: the utility,
    # of the first of these three that the run has
    objective: str | None = None
    direction: str | None = None  # maximize or minimize the objective; null: as is better, where something says it
    runs_dir: str = "runs"  # where folders of runs are made
    run_dir: str | None = None  # this run's folder, new or empty; null: one by time, game and learner
    resume: str | None = None  # a run's folder to go on with; auto: start in run_dir, or go on with what is there
    resume_step: int | None = None  # the checkpoint to go on from; null: the newest
