"""The table of an evaluation for people to read, on a terminal or in Markdown, with the conclusion in a sentence."""

import math
import textwrap
from collections.abc import Sequence

from jaxdlb.evaluation.comparison import compare
from jaxdlb.evaluation.results import Evaluation, PolicyResult, from_json, to_json
from jaxdlb.evaluation.roles import present, role_of
from jaxdlb.evaluation.statistics import Estimate

__all__ = [
    "Evaluation",
    "PolicyResult",
    "compare",
    "conclusion",
    "from_json",
    "to_json",
    "to_markdown",
    "to_text",
]

MAX_WIDTH = 140
DIFFERENCE = "utility above best heuristic"
# From wide to narrow: the largest number of decimals, and what precedes ±. The first layout that fits is used.
_LAYOUTS = ((4, " "), (3, " "), (3, ""), (2, " "), (2, ""), (1, ""), (0, ""))


def conclusion(evaluation: Evaluation) -> str:
    """One sentence per learned policy on who won: that policy, the best heuristic, or neither."""
    best = evaluation.best
    learned = [result for result in evaluation.results if result.kind == "learned"]
    if not learned:
        return f"The best heuristic is {best.name}, with a utility of {_written(best.columns['utility'])}."
    return " ".join(_verdict(result, best) for result in learned)


def to_text(evaluation: Evaluation) -> str:
    """A table at most `MAX_WIDTH` characters wide for the terminal, with a legend and the conclusion."""
    drawn = (_draw(evaluation, decimals, gap) for decimals, gap in _LAYOUTS)
    lines = next((lines for lines in drawn if len(lines[0]) <= MAX_WIDTH), None)
    if lines is None:
        lines = _draw(evaluation, *_LAYOUTS[-1], crop=True)
    prose = [_legend(evaluation), _measured(evaluation), "", conclusion(evaluation)]
    wrapped = [line for paragraph in prose for line in textwrap.wrap(paragraph, MAX_WIDTH) or [""]]
    return "\n".join([*(line.rstrip() for line in lines), *wrapped])


def to_markdown(evaluation: Evaluation) -> str:
    """The table in Markdown, with the conclusion below it."""
    shown = _shown(evaluation)
    headers = ["policy", *(evaluation.columns[name][0] for name in shown), DIFFERENCE]
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)]]
    for result in _ranked(evaluation):
        role = role_of(result, evaluation)
        name = f"`{result.name}` ({role.meaning})" if role.is_marked else f"`{result.name}`"
        lines.append([name, *(_written(*cell) for cell in _cells(result, evaluation, shown))])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{_measured(evaluation)}\n\n{conclusion(evaluation)}\n"


def _draw(evaluation: Evaluation, decimals: int, gap: str, crop: bool = False) -> list[str]:
    """The lines of the table, all of equal length; `crop` shortens names so that they fit in `MAX_WIDTH`."""
    shown, ranked = _shown(evaluation), _ranked(evaluation)
    names = [f"{role_of(result, evaluation).mark} {result.name}" for result in ranked]
    rows = [_cells(result, evaluation, shown) for result in ranked]
    columns = [_column(list(cells), decimals, gap) for cells in zip(*rows, strict=True)]
    headers = [evaluation.columns[name][0] for name in shown] + [DIFFERENCE]
    blocks = [_under(header, column) for header, column in zip(headers, columns, strict=True)]
    height = max(len(block) for block in blocks) - len(ranked)
    room = MAX_WIDTH - sum(len(block[0]) + 2 for block in blocks) if crop else math.inf
    widest = max(len("  policy"), int(min(max(map(len, names)), room)))
    names = [name if len(name) <= widest else f"{name[: widest - 1]}…" for name in names]
    blocks = [[" " * len(block[0])] * (height + len(ranked) - len(block)) + block for block in blocks]
    left = [*[""] * (height - 1), "  policy", *names]
    lines = ["  ".join([name.ljust(widest), *cells]) for name, *cells in zip(left, *blocks, strict=True)]
    rule = "─" * len(lines[0])
    return [rule, *lines[:height], rule, *lines[height:], rule]


def _under(header: str, column: list[str]) -> list[str]:
    """The column's cells under its header, right-aligned; the header is wrapped to keep the column narrow."""
    words = textwrap.wrap(header, max(len(column[0]), *map(len, header.split())))
    width = max(map(len, words + column))
    return [line.rjust(width) for line in words + column]


def _column(cells: list[tuple[Estimate | None, bool]], decimals: int, gap: str) -> list[str]:
    """The cells of one column, with their ± aligned."""
    written = [mean_and_error(estimate, signed, decimals) for estimate, signed in cells]
    mean_width, error_width = (max(len(cell[side]) for cell in written) for side in (0, 1))
    join = {True: f"{gap}±", False: " " * (len(gap) + 1)}
    return [f"{mean:>{mean_width}}{join[bool(error)]}{error:<{error_width}}" for mean, error in written]


def _cells(result: PolicyResult, evaluation: Evaluation, shown: Sequence[str]) -> list[tuple[Estimate | None, bool]]:
    """The estimates in a row, and whether each is written with its sign."""
    difference = None if result.name == evaluation.best_heuristic else result.difference
    return [*((result.columns.get(name), False) for name in shown), (difference, True)]


def mean_and_error(estimate: Estimate | None, signed: bool = False, most_decimals: int = 4) -> tuple[str, str]:
    """The mean and half the width of its interval ("" if it has none), to the precision that the interval supports."""
    if estimate is None or math.isnan(estimate.mean):
        return "–", ""
    half = estimate.half_width
    if not half > 0:
        return f"{estimate.mean:{'+' if signed else ''}.{min(most_decimals, 2)}f}" if estimate.mean else "0", ""
    lead = math.floor(math.log10(half))
    digits = 2 if half < 3 * 10**lead else 1  # for an error that begins with 3 to 9, one digit is enough
    decimals = min(max(digits - 1 - lead, 0), most_decimals)
    shown = max(half, 10.0**-decimals)  # never write an error as 0
    return f"{estimate.mean:{'+' if signed else ''}.{decimals}f}", f"{shown:.{decimals}f}"


def _written(estimate: Estimate | None, signed: bool = False) -> str:
    mean, error = mean_and_error(estimate, signed, most_decimals=4)
    return f"{mean} ± {error}" if error else mean


def _ranked(evaluation: Evaluation) -> list[PolicyResult]:
    return sorted(evaluation.results, key=lambda result: -result.columns["utility"].mean)


def _shown(evaluation: Evaluation) -> list[str]:
    return [name for name in evaluation.columns if any(name in result.columns for result in evaluation.results)]


def _legend(evaluation: Evaluation) -> str:
    return "   ".join(f"{role.mark} {role.meaning}" for role in present(evaluation) if role.is_marked)


def _measured(evaluation: Evaluation) -> str:
    return (
        f"Means of {evaluation.num_episodes:,} episodes of {evaluation.num_rounds:,} rounds, the first "
        f"{evaluation.warmup:,} left out; ± is half the width of the 95% interval. All policies play the same episodes."
    )


def _verdict(result: PolicyResult, best: PolicyResult) -> str:
    """Which of the two is better by their paired difference, and by how much."""
    difference = f"paired difference {_written(result.difference, signed=True)}"
    if result.difference.low > 0:
        return f"{result.name} beats the best heuristic, {best.name}: {_against(result, best)}; {difference}."
    if result.difference.high < 0:
        return f"The best heuristic, {best.name}, beats {result.name}: {_against(best, result)}; {difference}."
    both = f"{result.name} and the best heuristic, {best.name}, cannot be told apart"
    return f"{both}: {_against(result, best)}; {difference}."


def _against(first: PolicyResult, second: PolicyResult) -> str:
    """Both utilities, how many times closer to 0 the first is and, if the game has them, both response times."""
    sentence = f"utility {_versus(first, second, 'utility')}"
    ours, theirs = (result.columns["utility"].mean for result in (first, second))
    if theirs < ours < 0:
        sentence += f", {theirs / ours:.1f} times closer to 0"
    if all("response_time" in result.columns for result in (first, second)):
        sentence += f", response time {_versus(first, second, 'response_time')} rounds"
    return sentence


def _versus(first: PolicyResult, second: PolicyResult, column: str) -> str:
    return " against ".join(mean_and_error(result.columns[column], False, 4)[0] for result in (first, second))
