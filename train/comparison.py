"""Learned policies against heuristics: the evaluation, its figures, and the files that hold them."""

import itertools
import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdlb import checkpoint, evaluation, recording
from jaxdlb.evaluation import Evaluation, Fresh, Tuned, series
from jaxdlb.evaluation.report import write_report
from jaxdlb.evaluation.series import Series
from jaxdlb.policies import Family, Policy
from jaxdlb.recording import Recording
from jaxdlb.theory import chain as chains
from jaxdlb.theory import deterministic, table
from jaxdlb.theory.optimal import team
from jaxdlb.writing import named, quantity, write_whole

from . import build, tuning_cache
from .build import Scenario
from .countdown import Countdown
from .loggers import Row

TRAINED = "agent_rounds of training"  # in the settings that a run keeps with its comparison
OF_AGENT = "/agent_"  # in the name of a metric, between what it is and the agent whose it is
FIGURES = "figures"  # their folder, beside the table
JSON = "evaluation.json"  # the last file to be written: where it is, all the others are
_CLUSTER, _EPISODE = 2**31, 2**31 + 1  # folded into an evaluation's key: no episode of it is numbered so high

Learned = Mapping[str, Sequence[Policy]]  # by way to act: a policy for each training seed
_SOLVED_SOON = 600 * 2**20  # bytes of a chain whose optimum takes some seconds: of 2 nodes with 48 tasks, of 3 with 6
_STATES_FOUND_SOON = 20_000  # of an episode that takes some seconds to solve
_PANELS = 4  # checkpoints, the best aside, that are drawn beside each other
_ANIMATED, _FRAMES = 25, 4  # rounds of an animation, and pictures a round
Figures = Mapping[
    str, tuple[str, Any]
]  # file name without its end: caption and matplotlib figure, or the bytes of a GIF


def heuristics(scenario: Scenario, settings: Any) -> list[Policy]:
    """The heuristics that an evaluation's `settings` list; without a list all, tuned on the clusters to train on."""
    return list(labelled_heuristics(scenario, settings).values())


def rules(scenario: Scenario, settings: Any) -> list[Policy]:
    """Who plays beside what was learned: the heuristics, and where it can be had soon, what is optimal."""
    return [*heuristics(scenario, settings), *optimal(scenario)]


def optimal(scenario: Scenario) -> list[Policy]:
    """The optimal policy of the one cluster to evaluate on; none of a game that is not solved within seconds.

    That is the team optimum, or of a game that ends and in which nothing is left to chance, the best sequence.
    """
    if not scenario.is_one:
        return []
    try:
        return _optimal(scenario)
    except (ValueError, ArithmeticError):  # not covered or too large, which shows before much is built; or unsolved
        return []


def _optimal(scenario: Scenario) -> list[Policy]:
    entry, cluster = scenario.entry, (scenario.game, scenario.params)
    if entry.common is not None:
        chain = chains.build(entry.common(*cluster), limit=_SOLVED_SOON)
        return [table.prescriptions(chain, team(chain)[1])]
    if entry.episode is not None:
        return [deterministic.solve(entry.episode(*cluster), most_states=_STATES_FOUND_SOON).policy()]
    return []


def labelled_heuristics(scenario: Scenario, settings: Any) -> dict[str, Policy]:
    """The same by what they are called on any clusters: those that are tuned by their families' names."""
    families = scenario.entry.heuristics
    if settings.heuristics is not None:
        return {policy.name: policy for policy in build.heuristics(settings.heuristics, families)}
    return tuned(scenario, settings, families)


def tuned(scenario: Scenario, settings: Any, families: Mapping[str, Family]) -> dict[str, Policy]:
    """The best member of each family on the clusters to train on, by name; progress goes to stderr.

    What has been tuned before, on the same clusters and by the same settings, is taken from the user's cache folder.
    """
    lengths = build.lengths(settings, scenario.entry).up_to(settings.tuning_rounds)
    sizes = {
        "num_episodes": settings.tuning_episodes,
        "num_rounds": lengths.num_rounds,
        "warmup": lengths.warmup,
        "population": settings.tuning_candidates,
        "elites": max(settings.tuning_candidates // 6, 1),
        "generations": settings.tuning_generations,
    }
    places = tuning_cache.places(scenario, families, settings.seed, sizes)
    known = {name: tuning_cache.read(places[name], family) for name, family in families.items()}
    unknown = {name: families[name] for name, each in known.items() if each is None}
    key, progress = jax.random.key(settings.seed), Countdown("tuning the heuristics")
    found = evaluation.tune(scenario.game, unknown, scenario.train, key, **sizes, progress=progress)
    if any(each.agent_rounds for each in found.values()):
        progress.ended(_spent(found.values(), counted=not lengths.ends))
    for name, each in found.items():
        tuning_cache.keep(places[name], each)
    return {name: (known[name] or found[name]).policy for name in families}


def _spent(found: Iterable[Tuned], counted: bool) -> str:
    """What tuning took: with agent-rounds, where it is known how many an episode has."""
    played = [each for each in found if each.agent_rounds]
    agent_rounds = f" in {quantity(sum(each.agent_rounds for each in played))} agent-rounds" if counted else ""
    candidates, seconds = sum(each.candidates for each in played), max(each.seconds for each in played)
    return f"heuristics tuned: {len(played)}, by {candidates:,} candidates{agent_rounds}, {seconds:.0f} s"


def learned(folder: Path, scenario: Scenario, settings: Any, step: int | None = None) -> Learned:
    """The policies of a run's checkpoint, by each way to act that an evaluation's `settings` list, the first first."""
    return {
        how: checkpoint.load_policies(folder, game=scenario.game, step=step, greedy=how == "greedy")
        for how in settings.actions
    }


def step_of(located: checkpoint.Location) -> int:
    """The step whose policies are loaded: the best in episodes held out, where none is asked for."""
    return checkpoint.best_step(located.folder) if located.step is None else located.step


def everyone(rules: Sequence[Policy], learned: Learned) -> list[Policy]:
    """Who plays: the rules, and every training seed's policy in every way to act."""
    return [*rules, *itertools.chain.from_iterable(learned.values())]


def compare(
    scenario: Scenario,
    settings: Any,
    rules: Sequence[Policy],
    learned: Learned,
    about: Mapping[str, Any],
    fresh: Fresh | None = None,
) -> Evaluation:
    """Play on the clusters to evaluate on; `about` is kept with the result.

    Where there are several training seeds, each way to act has a row over them. The first way to act is judged in the
    conclusion, and the others are its variants. What is `fresh` plays with fresh news, beside that first way to act.
    """
    rows = {how: row(how, len(policies)) for how, policies in learned.items()}
    first, *others = rows.values()
    lengths = build.lengths(settings, scenario.entry)
    return evaluation.compare(
        scenario.game,
        everyone(rules, learned),
        scenario.test,
        jax.random.key(settings.seed),
        num_episodes=settings.num_episodes,
        num_rounds=lengths.num_rounds,
        warmup=lengths.warmup,
        seeds={rows[how]: [each.name for each in seeds] for how, seeds in learned.items() if len(seeds) > 1},
        variants=dict.fromkeys(others, first),
        fresh=fresh,
        baseline=scenario.entry.baseline,
        settings=about,
    )


def beaten(result: Evaluation) -> list[str]:
    """The rows that speak for a learner, and whose utility is below that of the best heuristic, beyond doubt."""
    return [each.name for each in result.learned if each.differences["utility"].high < 0]


def row(how: str, num_seeds: int, *, fresh: bool = False) -> str:
    """The name of the row that tells how a run's learner did by a way to act, or how it did with fresh news."""
    name = checkpoint.policy_name(greedy=how == "greedy", fresh=fresh)
    return name if num_seeds == 1 else f"{name} ({num_seeds} seeds)"


def figures(
    result: Evaluation,
    scenario: Scenario,
    settings: Any,
    policies: Sequence[Any],
    rows: Sequence[Row] = (),
    held_out: Sequence[Row] = (),
    asked: Collection[str] = (),
) -> dict[str, tuple[str, Any]]:
    """Utilities and, given the `rows` of metrics.csv (and of held_out.csv), learning curves; the game's own figures.

    Those, and the timeline where it is `asked` for, show the best heuristic and the first learned policy.
    """
    from jaxdlb.evaluation import plots

    made: dict[str, tuple[str, Any]] = {
        "utilities": ("Every policy by all that is judged, with 95% intervals", plots.utilities(result))
    }
    if rows:
        made["learning_curve"] = (
            "Training, against the heuristics",
            _learning_curve(result, rows, held_out),
        )
        made |= _agents(rows)
    learned = [policy for policy in policies if policy.kind == "learned"]
    best = [policy for policy in policies if policy.name == result.best_heuristic]
    shown = [*learned[:1], *best]
    recordings = _recordings(scenario, settings, shown)
    made |= _of_game(scenario, recordings)
    if "animation" in asked:
        made["animation"] = ("The learned policy and the best heuristic, animated", _animation(scenario, recordings))
    if "timeline" in asked:
        num_rounds = build.lengths(settings, scenario.entry).recorded
        played = over_time(scenario, shown, settings.seed, num_rounds=num_rounds)
        made |= timelines(scenario, played)
    return made


def of_game(scenario: Scenario, settings: Any, policies: Sequence[Policy]) -> dict[str, tuple[str, Any]]:
    """The game's own figures of these policies in the same episode; none where it has no viewer."""
    return _of_game(scenario, _recordings(scenario, settings, policies))


def of_checkpoints(folder: Path, scenario: Scenario, settings: Any) -> dict[str, tuple[str, Any]]:
    """The game's own figures of the learned policy at the checkpoints in a folder: the first, the best, and others."""
    known, best = checkpoint.steps(folder), checkpoint.best_step(folder)
    between = np.linspace(0, len(known) - 1, min(_PANELS, len(known))).round().astype(int)
    recordings, num_rounds = {}, build.lengths(settings, scenario.entry).recorded
    for step in sorted({best, *(known[place] for place in between)}):
        policy = learned(folder, scenario, settings, step)[settings.actions[0]][0]
        name = f"update {step}" + (", best" if step == best else "")
        recordings[name] = record(scenario, policy, settings.seed, num_rounds)
    drawn = _of_game(scenario, recordings)
    return {f"checkpoints_{name}": (f"{caption}: checkpoints", figure) for name, (caption, figure) in drawn.items()}


def _recordings(scenario: Scenario, settings: Any, policies: Sequence[Policy]) -> dict[str, Recording]:
    """What the pictures of a game show; nothing where it has no viewer."""
    if scenario.entry.viewer is None:
        return {}
    num_rounds = build.lengths(settings, scenario.entry).recorded
    return {each.name: record(scenario, each, settings.seed, num_rounds) for each in policies}


def _of_game(scenario: Scenario, recordings: Mapping[str, Recording]) -> dict[str, tuple[str, Any]]:
    return {} if scenario.entry.viewer is None else scenario.entry.viewer().figures(recordings)


def _animation(scenario: Scenario, recordings: Mapping[str, Recording]) -> bytes:
    """A GIF of the last of the recorded rounds, side by side; of all of them, where episodes end by themselves."""
    viewer, lengths = scenario.entry.viewer, scenario.entry.lengths
    assert viewer is not None
    num_rounds = min(each.num_rounds for each in recordings.values())
    first_round = 0 if lengths.ends else max(num_rounds - _ANIMATED, 0)
    shown = lengths.recorded if lengths.ends else _ANIMATED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "animation.gif"
        viewer().animation(
            recordings, path, first_round=first_round, num_frames=_FRAMES * shown, frames_per_round=_FRAMES
        )
        return path.read_bytes()


def timelines(scenario: Scenario, played: Mapping[str, Series], warmup: float = 0.0) -> dict[str, tuple[str, Any]]:
    """Each metric over time, by the name of the policy that played; until `warmup` the background is shaded."""
    from jaxdlb.evaluation import timelines

    return timelines.figures(played, scenario.game.metrics, warmup)


def record(scenario: Scenario, policy: Policy, seed: int, num_rounds: int) -> Recording:
    """One episode of one of the clusters to evaluate on, the same for every policy."""
    return recording.record(scenario.game, policy, *_episode(scenario, seed), num_rounds)


def over_time(scenario: Scenario, policies: Sequence[Policy], seed: int, **length: Any) -> dict[str, Series]:
    """The series of the episode that `record` records; `length` as `series.play` takes it."""
    return series.play(scenario.game, policies, *_episode(scenario, seed), **length)


def _episode(scenario: Scenario, seed: int) -> tuple[Any, jax.Array]:
    """A cluster of those to evaluate on, and the key of an episode on it."""
    cluster_key, episode_key = (jax.random.fold_in(jax.random.key(seed), k) for k in (_CLUSTER, _EPISODE))
    return jax.jit(scenario.test)(cluster_key), episode_key


def write(folder: Path, title: str, result: Evaluation, drawn: Figures, config_text: str) -> dict[str, Path]:
    """Write evaluation.json, samples.csv, table.txt, report.html and the figures; return the figures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = dict(drawn.values())  # by caption
    write_report(folder / "report.html", title=title, evaluation=result, figures=pictures, config_text=config_text)
    return write_table_and_figures(folder, result, drawn)


def write_table_and_figures(folder: Path, result: Evaluation, drawn: Figures) -> dict[str, Path]:
    """Write evaluation.json, samples.csv, table.txt and the figures; return the figures' paths."""
    paths = write_figures(folder, drawn)
    write_whole(folder / "samples.csv", evaluation.to_csv(result))
    write_whole(folder / "table.txt", evaluation.to_text(result) + "\n")
    write_whole(folder / JSON, json.dumps(evaluation.to_json(result), indent=2) + "\n")
    return paths


def write_figures(folder: Path, drawn: Figures) -> dict[str, Path]:
    """Write the figures of a folder; return their paths."""
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    return {name: _save(folder / FIGURES / name, figure) for name, (_, figure) in drawn.items()}


def _save(place: Path, figure: Any) -> Path:
    """Write a picture as what it is, and return where."""
    path = place.with_name(f"{place.name}.{'gif' if isinstance(figure, bytes) else 'png'}")
    with named(path):
        if isinstance(figure, bytes):
            path.write_bytes(figure)
        else:
            figure.savefig(path)
    return path


def _learning_curve(result: Evaluation, rows: Sequence[Row], held_out: Sequence[Row]) -> Any:
    from jaxdlb.evaluation import plots

    num_seeds = 1 + int(max(row["seed"] for row in rows))
    levels = {each.name: each.columns["utility"].mean for each in result.results if each.kind == "heuristic"}
    seconds = [row["seconds"] for row in rows[::num_seeds]]
    curve = _curve(rows, num_seeds)
    if not held_out:
        return plots.learning_curve(*curve, levels, seconds=seconds)
    others = [
        plots.Judged(
            result.columns[name][0],
            *_curve(held_out, num_seeds, name),
            level=result.best.columns[name].mean,
            name=result.best.name,
            lower_is_better=verdict.lower_is_better,
        )
        for name, verdict in result.verdicts.items()
    ]
    judged = _curve(held_out, num_seeds)
    return plots.learning_curve(*curve, levels, seconds=seconds, held_out=judged, others=others)


def _agents(rows: Sequence[Row]) -> dict[str, tuple[str, Any]]:
    """The learning curves of single agents, where metrics tell of them and they are not all the same."""
    from jaxdlb.evaluation import agents_plot

    names = [name for name in rows[0] if OF_AGENT in name]
    num_seeds = 1 + int(max(row["seed"] for row in rows))
    values = {f"agent {name.partition(OF_AGENT)[2]}": _curve(rows, num_seeds, name)[1] for name in names}
    if not names or np.ptp([*values.values()], axis=0).max() == 0:
        return {}
    what = names[0].partition(OF_AGENT)[0]
    figure = agents_plot.curves(_curve(rows, num_seeds)[0], values, what)
    return {"agents": ("Training, agent by agent", figure)}


def _curve(rows: Sequence[Row], num_seeds: int, column: str = "utility") -> tuple[np.ndarray, np.ndarray]:
    """Agent-rounds [T] and the values of a column [S, T]."""
    agent_rounds = np.array([row["agent_rounds"] for row in rows[::num_seeds]])
    return agent_rounds, np.array([row[column] for row in rows]).reshape(-1, num_seeds).T
