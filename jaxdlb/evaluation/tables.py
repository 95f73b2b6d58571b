"""The table of an evaluation for people to read, on a terminal or in Markdown, with the conclusion below it."""

import textwrap
from collections.abc import Sequence

from jaxdlb.evaluation.comparison import compare
from jaxdlb.evaluation.numerals import mean_and_error, written
from jaxdlb.evaluation.results import Evaluation, PolicyResult, from_json, to_json
from jaxdlb.evaluation.roles import present, role_of
from jaxdlb.evaluation.sentences import about_seeds, conclusion, episodes, notes
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
GAP_CLOSED = "gap closed, %"
_WHOLE, _LONG, _SHORT, _ANY = 1000, 36, 24, 1  # characters that a name is cropped to at the least
# From wide to narrow: the largest number of decimals, what precedes ±, how far names may be cropped, and how many
# digits a mean keeps however small it is. The first one that fits is used.
_LAYOUTS = (
    *((4, " ", _WHOLE, 2), (3, " ", _WHOLE, 2), (3, "", _WHOLE, 2), (2, " ", _WHOLE, 2), (2, "", _WHOLE, 2)),
    *((3, "", _LONG, 2), (2, " ", _LONG, 2), (2, "", _LONG, 2), (2, "", _SHORT, 2)),
    *((1, "", _ANY, 2), (0, "", _ANY, 2), (0, "", _ANY, 0)),
)


def to_text(evaluation: Evaluation) -> str:
    """A table at most `MAX_WIDTH` characters wide for the terminal, with a legend and the conclusion."""
    lines = _table(evaluation)
    told = ["", conclusion(evaluation)] if evaluation.best_heuristic is not None else []
    legend = [_legend(evaluation)] if _legend(evaluation) else []
    prose = [*legend, _measured(evaluation), *notes(evaluation), *told]
    wrapped = [line for paragraph in prose for line in textwrap.wrap(paragraph, MAX_WIDTH) or [""]]
    return "\n".join([*(line.rstrip() for line in lines), *wrapped])


def to_markdown(evaluation: Evaluation) -> str:
    """The table in Markdown, with the conclusion below it."""
    headers = ["policy", *_headers(evaluation)]
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)]]
    for result in evaluation.results:
        role = role_of(result, evaluation)
        name = f"`{result.name}` ({role.meaning})" if role.is_marked else f"`{result.name}`"
        lines.append([name, *(written(*cell) for cell in _cells(result, evaluation))])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    prose = [_measured(evaluation), *notes(evaluation), conclusion(evaluation)]
    return "\n\n".join([table, *filter(None, prose)]) + "\n"


def _table(evaluation: Evaluation) -> list[str]:
    """The lines of the table; where all columns beside each other would lose their digits, two halves, one below."""
    whole = _fitting(evaluation, slice(None), _LAYOUTS[:-1])
    if whole is not None:
        return whole
    middle = (len(_headers(evaluation)) + 1) // 2
    halves = slice(0, middle), slice(middle, None)
    drawn = [_fitting(evaluation, half, _LAYOUTS) or _draw(evaluation, half, *_LAYOUTS[-1]) for half in halves]
    width = max(len(lines[0]) for lines in drawn)
    return [line.ljust(width, "─" if line == lines[0] else " ") for lines in drawn for line in lines]


def _fitting(evaluation: Evaluation, columns: slice, layouts: Sequence[tuple[int, str, int, int]]) -> list[str] | None:
    """The lines of these columns in the first layout that fits in `MAX_WIDTH`, if any does."""
    drawn = (_draw(evaluation, columns, *layout) for layout in layouts)
    return next((lines for lines in drawn if len(lines[0]) <= MAX_WIDTH), None)


def _draw(evaluation: Evaluation, drawn: slice, decimals: int, gap: str, shortest: int, digits: int) -> list[str]:
    """The lines of the columns `drawn`, all of equal length; names longer than `shortest` are cropped to fit."""
    ranked = evaluation.results
    names = [f"{role_of(result, evaluation).mark} {result.name}" for result in ranked]
    rows = [_cells(result, evaluation)[drawn] for result in ranked]
    headers = _headers(evaluation)[drawn]
    columns = [_column(list(cells), decimals, gap, digits) for cells in zip(*rows, strict=True)]
    blocks = [_under(header, column) for header, column in zip(headers, columns, strict=True)]
    height = max(len(block) for block in blocks) - len(ranked)
    room = MAX_WIDTH - sum(len(block[0]) + 2 for block in blocks)
    widest = max(len("  policy"), min(max(map(len, names)), max(room, shortest)))
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


def _column(cells: list[tuple[Estimate | None, bool]], decimals: int, gap: str, digits: int) -> list[str]:
    """The cells of one column, with their ± aligned."""
    texts = [mean_and_error(estimate, signed, decimals, digits) for estimate, signed in cells]
    mean_width, error_width = (max(len(text[side]) for text in texts) for side in (0, 1))
    join = {True: f"{gap}±", False: " " * (len(gap) + 1)}
    return [f"{mean:>{mean_width}}{join[bool(error)]}{error:<{error_width}}" for mean, error in texts]


def _headers(evaluation: Evaluation) -> list[str]:
    """The headers of a row's `_cells`."""
    closed = [GAP_CLOSED] if evaluation.gap is not None else []
    difference = [DIFFERENCE] if evaluation.best_heuristic is not None else []
    return [*(evaluation.columns[name][0] for name in evaluation.shown), *closed, *difference]


def _cells(result: PolicyResult, evaluation: Evaluation) -> list[tuple[Estimate | None, bool]]:
    """The estimates in a row, and whether each is written with its sign."""
    cells = [(result.columns.get(name), False) for name in evaluation.shown]
    if evaluation.gap is not None:
        cells.append((evaluation.gap.closed[result.name], False))
    if evaluation.best_heuristic is None:
        return cells
    return [*cells, (None if result.name == evaluation.best_heuristic else result.differences["utility"], True)]


def _legend(evaluation: Evaluation) -> str:
    return "   ".join(f"{role.mark} {role.meaning}" for role in present(evaluation) if role.is_marked)


def _measured(evaluation: Evaluation) -> str:
    return (
        f"Means of {episodes(evaluation)}; ± is half the width of the 95% interval. "
        f"All policies play the same episodes. {about_seeds(evaluation)}"
    ).rstrip()
