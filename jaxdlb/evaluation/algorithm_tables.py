"""A contest of algorithms for people and for programs: a table with what it says in words, CSV and JSON."""

import csv
import dataclasses
import io
import textwrap
from collections.abc import Sequence
from typing import Any

from jaxdlb.evaluation.algorithms import Contest, Task
from jaxdlb.evaluation.statistics import Estimate

HEADERS = {"interquartile_mean": "IQM", "median": "median", "mean": "mean", "optimality_gap": "optimality gap"}
FEW_SEEDS = 5  # percentile intervals of fewer in a task are too narrow to be relied on
WIDTH = 140
_WIDEST, _NARROW = 48, 24  # characters of a name: of what a row is about, and above a column


def shown(contest: Contest) -> list[str]:
    """The aggregates that a table shows: of a single task the median over tasks is the mean, and left out."""
    return [name for name in HEADERS if name != "median" or len(contest.tasks) > 1]


def to_text(contest: Contest) -> str:
    """The aggregates of every algorithm, how likely each is better than the next ones, and what each task was."""
    rows = [["algorithm", "seeds", *(HEADERS[name] for name in shown(contest))]]
    for name, standing in contest.standings.items():
        cells = [written(standing.aggregates[each]) for each in shown(contest)]
        rows.append([cut(name), str(len(standing.scores)), *cells])
    improved = [["algorithm", "over", "probability of improvement"]]
    improved += [[cut(ours), cut(theirs), written(each)] for (ours, theirs), each in likely(contest)]
    tasks = [["task", "scores 1", contest.column, *(cut(name, _NARROW) for name in contest.standings)]]
    tasks += [_task_row(task, contest) for task in contest.tasks]
    parts = [_ruled(rows), *([_ruled(improved)] if len(improved) > 1 else []), _ruled(tasks)]
    told = [line for paragraph in _told(contest) for line in textwrap.wrap(paragraph, WIDTH)]
    return "\n".join(["\n\n".join(parts), *told, "", *textwrap.wrap(conclusion(contest), WIDTH)])


def conclusion(contest: Contest) -> str:
    """Which algorithm is ahead, and which others can be told apart from it."""
    best, *others = contest.standings
    lead = (
        f"{best} has the best interquartile mean, {written(contest.standings[best].aggregates['interquartile_mean'])}"
    )
    apart = [name for name in others if contest.improvements[best, name].low > 0.5]
    level = [name for name in others if name not in apart]
    words = [f"more likely better than {', '.join(apart)}"] if apart else []
    words += [f"not to be told apart from {', '.join(level)} by how likely a seed of it is better"] if level else []
    return f"{lead}{'; it is ' if words else ''}{', and '.join(words)}."


def to_csv(contest: Contest) -> str:
    """A line for each algorithm, best first: its aggregates, and as `…_low` and `…_high` the ends of intervals."""
    names = list(HEADERS)
    header = ["algorithm", "seeds", "tasks", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))]
    rows = [
        [name, *each.scores.shape, *(end for key in names for end in dataclasses.astuple(each.aggregates[key]))]
        for name, each in contest.standings.items()
    ]
    return _csv([header, *rows])


def scores_to_csv(contest: Contest) -> str:
    """A line for each algorithm, task and training seed: the mean of the column over the episodes, and the score."""
    rows = [
        [name, task.name, seed, float(task.samples[name][seed].mean()), float(scores[seed, place])]
        for name, scores in ((name, each.scores) for name, each in contest.standings.items())
        for place, task in enumerate(contest.tasks)
        for seed in range(len(scores))
    ]
    return _csv([["algorithm", "task", "seed", "value", "score"], *rows])


def to_json(contest: Contest) -> dict[str, Any]:
    """All of it as JSON-compatible data."""
    return {
        "column": contest.column,
        "resamples": contest.resamples,
        "tasks": {task.name: _yardsticks(task) for task in contest.tasks},
        "levels": contest.levels.tolist(),
        "algorithms": {
            name: {
                "scores": each.scores.tolist(),
                **{key: dataclasses.asdict(value) for key, value in each.aggregates.items()},
                "profile": {
                    "share": each.profile.tolist(),
                    "low": each.band[0].tolist(),
                    "high": each.band[1].tolist(),
                },
            }
            for name, each in contest.standings.items()
        },
        "probability_of_improvement": [
            {"of": ours, "over": theirs, **dataclasses.asdict(each)}
            for (ours, theirs), each in contest.improvements.items()
        ],
    }


def scale(contest: Contest) -> str:
    """What a score means."""
    ones = sorted({task.one[0].partition("(")[0] for task in contest.tasks})
    who = f"{ones[0]} has" if len(ones) == 1 else "the best rule of each task has"
    if any(task.zero is not None for task in contest.tasks):
        zeros = sorted({task.zero[0].partition("(")[0] for task in contest.tasks if task.zero is not None})
        return f"0 is what {' or '.join(zeros)} has, and 1 what {who}"
    return f"the ratio to what {who}, above 1 where better"


def written(estimate: Estimate) -> str:
    """A value and both ends of its interval."""
    mean, low, high = map(_number, dataclasses.astuple(estimate))
    return f"{mean} [{low}, {high}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def cut(name: str, most: int = _WIDEST) -> str:
    """A name, cut where it is longer than that."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def likely(contest: Contest) -> list[tuple[tuple[str, str], Estimate]]:
    """Of each pair of algorithms the order in which the first is more likely better."""
    ranked = list(contest.standings)
    pairs = [(a, b) for place, a in enumerate(ranked) for b in ranked[place + 1 :]]
    turned = [pair if contest.improvements[pair].mean >= 0.5 else pair[::-1] for pair in pairs]
    return [(pair, contest.improvements[pair]) for pair in turned]


def _told(contest: Contest) -> list[str]:
    seeds = min(len(each.scores) for each in contest.standings.values())
    told = (
        f"Scores: {scale(contest)}. A score is that of one training seed in one task. In brackets: 95% intervals of "
        f"{contest.resamples:,} resamples of seeds and episodes within each task. Optimality gap: by how much scores "
        "fall short of 1; less is better."
    )
    few = f"With {seeds} training seed{'s' * (seeds != 1)} in each task, intervals by resampling are too narrow."
    return [told, *([few] if seeds < FEW_SEEDS else [])]


def _task_row(task: Task, contest: Contest) -> list[str]:
    own = [f"{task.samples[name].mean():.4g}" for name in contest.standings]
    return [cut(task.name), cut(task.one[0].partition("(")[0], _NARROW), f"{task.one[1].mean():.4g}", *own]


def _yardsticks(task: Task) -> dict[str, Any]:
    named = {"one": task.one, "zero": task.zero}
    return {
        key: None if each is None else {"policy": each[0], "value": float(each[1].mean())}
        for key, each in named.items()
    } | {"lower_is_better": task.lower_is_better, "num_episodes": len(task.one[1])}


def _ruled(rows: Sequence[Sequence[str]]) -> str:
    """Rows under their header, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    rule = "─" * len(lines[0])
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
