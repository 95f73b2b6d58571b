"""What the tests of the documentation read of its pages: blocks of code, tables, spans of code, links, headings."""

import dataclasses
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for `train` and `benchmarks`, which are not installed

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- table: (.+) -->")
_CELLS = re.compile(r"(?<!\\)\|")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of code, and the line of the page that it begins in."""

    line: int
    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: its header, its rows, and the name that a comment above it gives, if one does."""

    name: str | None
    header: list[str]
    rows: list[list[str]]

    def column(self, title: str) -> list[str]:
        """The cells under the only header that begins with `title`."""
        (place,) = [k for k, each in enumerate(self.header) if each.startswith(title)]
        return [row[place] for row in self.rows]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """The blocks of a page in a language, in order."""
    text = page.read_text(encoding="utf-8")
    found = [match for match in _BLOCK.finditer(text) if match[2] == language]
    return [Block(text.count("\n", 0, match.start(3)) + 1, match[3]) for match in found]


def prose(page):
    """A page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def tables(page):
    """The tables of a page, in order."""
    found, above = [], ""
    lines = iter([*prose(page).splitlines(), ""])
    for line in lines:
        if not line.startswith("|"):
            above = line
            continue
        header, rows = _split(line), []
        next(lines)  # the rule
        for row in lines:
            if not row.startswith("|"):
                break
            rows.append(_split(row))
        marker = _MARKER.fullmatch(above)
        found.append(Table(marker and marker[1], header, rows))
        above = ""
    return found


def _split(line):
    return [cell.strip() for cell in _CELLS.split(line)[1:-1]]


def spans(text):
    """The spans of inline code, which may run over the end of a line but not of a paragraph."""
    paragraphs = re.split(r"\n\s*\n", text)
    return [" ".join(span.split()) for paragraph in paragraphs for span in re.findall(r"`([^`]+)`", paragraph)]


def links(page):
    """The targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", prose(page)))


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
