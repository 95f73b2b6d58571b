"""An evaluation as one self-contained HTML file: no network access, no other files, no scripts."""

import base64
import os
from collections.abc import Mapping
from html import escape
from typing import Any

from jaxdlb.drawing import svg
from jaxdlb.drawing.layout import true_minus
from jaxdlb.drawing.style import DARK
from jaxdlb.drawing.svg import Drawable
from jaxdlb.evaluation.numerals import mean_and_error
from jaxdlb.evaluation.results import Evaluation, PolicyResult
from jaxdlb.evaluation.roles import ROLES, role_name
from jaxdlb.evaluation.sentences import about_seeds, conclusion, notes
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.evaluation.tables import DIFFERENCE, GAP_CLOSED
from jaxdlb.writing import write_whole

MIME_TYPES = {b"\x89PNG": "image/png", b"GIF8": "image/gif"}
SVG = "image/svg+xml"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    evaluation: Evaluation,
    figures: Mapping[str, Drawable | bytes],
    config_text: str,
) -> None:
    """Write the report of an evaluation: conclusion, table, `figures` by caption, settings and the run's configuration.

    A figure is either a matplotlib figure, drawn once for light and once for dark mode, or the bytes of a PNG or GIF,
    included unchanged. The file appears complete or not at all: it is written under a temporary name and then moved.

    Raises:
        ValueError: a figure given as bytes is neither a PNG nor a GIF.
        OSError: the file cannot be written.
    """
    page = PAGE.format(
        title=escape(title),
        style=ROLE_COLOURS + STYLE,
        conclusion=escape(conclusion(evaluation)),
        table=_table(evaluation),
        notes="\n".join(f'<p class="notes">{escape(each)}</p>' for each in notes(evaluation)),
        columns=_definitions(dict(evaluation.columns[name] for name in evaluation.shown)),
        about_seeds=escape(about_seeds(evaluation)),
        figures="\n".join(_figure(caption, figure) for caption, figure in figures.items()),
        settings=_definitions(_settings(evaluation)),
        config=escape(config_text),
    )
    write_whole(path, page)


def _table(evaluation: Evaluation) -> str:
    """One row per policy, best utility first."""
    closed = [GAP_CLOSED] if evaluation.gap is not None else []
    headers = ["policy", *(evaluation.columns[name][0] for name in evaluation.shown), *closed, DIFFERENCE]
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    rows = "\n".join(_row(result, evaluation) for result in evaluation.results)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(result: PolicyResult, evaluation: Evaluation) -> str:
    role = role_name(result, evaluation)
    badge = f' <span class="badge">{escape(ROLES[role].badge)}</span>' if ROLES[role].badge else ""
    name = f'<th scope="row">{escape(result.name).replace("_", "_<wbr>")}{badge}</th>'
    cells = [_cell(result.columns.get(column)) for column in evaluation.shown]
    if evaluation.gap is not None:
        cells.append(_cell(evaluation.gap.closed[result.name]))
    cells.append("<td>–</td>" if role == "best" else _cell(result.differences["utility"]))
    return f'<tr class="{role}{" bold" if ROLES[role].bold else ""}">{name}{"".join(cells)}</tr>'


def _cell(estimate: Estimate | None) -> str:
    """A mean and, if there is one, half the width of its 95% interval."""
    mean, error = mean_and_error(estimate)
    return f"<td>{true_minus(mean)}{f' <small>± {error}</small>' if error else ''}</td>"


def _settings(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "independent episodes": f"{evaluation.num_episodes:,}",
        "rounds per episode": "to its own end" if evaluation.ended else f"{evaluation.num_rounds:,}",
        "rounds left out as warm-up": f"{evaluation.warmup:,}",
    } | dict(evaluation.settings)


def _definitions(entries: Mapping[str, Any]) -> str:
    pairs = "\n".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in entries.items())
    return f"<dl>\n{pairs}\n</dl>"


def _figure(caption: str, figure: Drawable | bytes) -> str:
    shown = _picture(caption, figure) if isinstance(figure, bytes) else _light_and_dark(caption, figure)
    paper = "white" if isinstance(figure, bytes) else ""
    return f'<figure><div class="wide {paper}">{shown}</div>\n<figcaption>{escape(caption)}</figcaption></figure>'


def _picture(caption: str, image: bytes) -> str:
    mime = next((mime for start, mime in MIME_TYPES.items() if image.startswith(start)), None)
    if mime is None:
        raise ValueError(f"the figure {caption!r} is neither a PNG nor a GIF; it must be one, or a matplotlib figure")
    return f'<img alt="{escape(caption)}" src="{_data(mime, image)}">'


def _light_and_dark(caption: str, figure: Drawable) -> str:
    """The figure in two versions; the reader's browser chooses by light or dark mode."""
    light = svg.to_svg(figure)
    dark = _data(SVG, svg.darkened(light).encode())
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{escape(caption)}" src="{_data(SVG, light.encode())}"></picture>'
    )


def _data(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


ROLE_COLOURS = "\n".join(
    f".{name} {{ --role: {role.colour}; --dark-role: {DARK[role.colour]}; }}" for name, role in ROLES.items()
)

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #22303c; --quiet: #5d6b78; --line: #dfe4e8; --tint: #fdf1e8;
  --panel: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14191f; --ink: #e3e8ed; --quiet: #9aa7b4; --line: #2e3843; --tint: #33241a; --panel: #1d242c; }
  tr, .conclusion { --role: var(--dark-role) !important; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 82rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
.conclusion, dl, p { max-width: 64rem; }
.conclusion { font-size: 1.1rem; border-left: 4px solid var(--role); margin: 0; padding: .25rem 0 .25rem 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .4rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; white-space: normal; min-width: 5rem; color: var(--quiet); font-weight: 600; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
tbody th { font-weight: 500; white-space: normal; overflow-wrap: anywhere; width: 22rem; min-width: 9rem; }
@media (min-width: 60rem) { tbody th { min-width: 13.5rem; } }
tr.learned td, tr.learned th:first-child { background: var(--tint); }
tr.bold th, tr.bold td { font-weight: 700; }
small { color: var(--quiet); font-weight: 400; }
.badge { display: inline-block; font-size: .72rem; font-weight: 600; padding: 0 .45em; border-radius: 1em;
  border: 1.5px solid var(--role); white-space: nowrap; }
figure { margin: 0 0 2rem; }
figure .wide { border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
figure .white { background: #fff; }
img { display: block; width: 100%; max-width: 56rem; min-width: 30rem; height: auto; margin: 0 auto; }
figcaption { color: var(--quiet); font-size: .9rem; padding-top: .5rem; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1.25rem; font-size: .9rem;
  margin: 0; }
dt { color: var(--quiet); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: 1rem; } summary { cursor: pointer; font-weight: 600; }
pre { background: var(--panel); border-radius: .5rem; padding: 1rem; overflow-x: auto; font-size: .82rem; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="conclusion learned">{conclusion}</p>
<h2>Every policy in the same episodes</h2>
<div class="wide" role="region" aria-label="results" tabindex="0">
{table}
</div>
{notes}
<details><summary>What the columns mean</summary>
{columns}
<p>Means over the episodes; ± is half the width of the 95% interval. {about_seeds}</p>
</details>
<h2>Figures</h2>
{figures}
<h2>How it was measured</h2>
{settings}
<details><summary>Configuration of the run</summary>
<pre>{config}</pre>
</details>
</main>
</body>
</html>
"""
