"""The report: one file that stands alone, says what the evaluation says and cannot be broken by a name."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxdlb.drawing.style import DARK, VERMILION
from jaxdlb.evaluation.report import write_report
from jaxdlb.evaluation.results import BoundResult, Evaluation, PolicyResult
from jaxdlb.evaluation.roles import ROLES
from jaxdlb.evaluation.sentences import limits
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.evaluation.tables import conclusion

COLUMNS = {
    "utility": ("utility", "the more, the better"),
    "response_time": ("response time, rounds", "from arrival to completion"),
    "drops": ("drops per round", "tasks lost"),
}

HOSTILE = "<script src='http://evil.example/x.js'>alert(1)</script>&\"{title}"
VOID = {"meta", "img", "br", "wbr", "source"}


def estimates(utility):
    columns = {name: Estimate(0.5, 0.4, 0.6) for name in COLUMNS}
    return columns | {"utility": Estimate(utility, utility - 1, utility + 1), "drops": Estimate(float("nan"), 0.0, 0.0)}


def evaluation(best="work_stealing"):
    rows = [("mappo", "learned", -4.0), ("oracle_shortest_expected_delay", "oracle", -5.0)]
    rows += [(best, "heuristic", -20.0), ("local", "heuristic", -300.0)]
    results = tuple(
        PolicyResult(
            name=name,
            kind=kind,
            columns=estimates(utility),
            differences={"utility": Estimate(utility + 20.0, utility + 19, utility + 21)},
        )
        for name, kind, utility in rows
    )
    return Evaluation(
        results=results,
        best_heuristic=best,
        columns=COLUMNS,
        num_episodes=64,
        num_rounds=2000,
        warmup=200,
        settings={"seed": 7},
    )


def drawing():
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1], color=VERMILION)
    return figure


class Page(HTMLParser):
    """The elements of a page, checked to be well nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def write(tmp_path, **changes):
    arguments = {
        "title": "dlb, trained with mappo",
        "evaluation": evaluation(),
        "figures": {"Utilities": drawing()},
        "config_text": "game:\n  name: dlb\n",
    }
    path = tmp_path / "report.html"
    write_report(path, **(arguments | changes))
    return path.read_text(encoding="utf-8")


def test_the_report_is_well_formed_and_needs_no_other_resource(tmp_path):
    text = write(tmp_path)
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "base"}
    sources = [
        value for _, attrs in page.elements for name, value in attrs.items() if name in ("src", "href", "srcset")
    ]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert text.startswith("<!DOCTYPE html>")
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements


def test_the_table_holds_every_policy_the_best_first_with_its_mean_error_and_mark(tmp_path):
    text = write(tmp_path)
    rows = [re.sub(r"<[^>]+>", " ", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.S)]
    assert [header in rows[0] for header, _ in COLUMNS.values()] == [True, True, False]
    assert [row.split()[0].rstrip("_") for row in rows[1:]] == ["mappo", "oracle", "work", "local"]
    assert "learned" in rows[1] and "oracle" in rows[2].split() and "best heuristic" in rows[3]
    assert re.search(r"−4\.0\s+± 1\.0", rows[1])
    assert re.search(r"16\.0\s+± 1\.0", rows[1])  # the paired difference
    assert re.search(r"−300\.0\s+± 1\.0", rows[4])
    assert [row.count("–") for row in rows[1:]] == [0, 0, 1, 0]  # the best heuristic's difference to itself
    assert "Left out, since some episodes leave nothing to divide by: “drops per round”." in text
    assert "tasks lost" not in text  # among the meanings of the columns


def test_conclusion_settings_and_configuration_are_told(tmp_path):
    texts = [text for _, text in Page(write(tmp_path)).texts]
    told = [conclusion(evaluation()), "game:\n  name: dlb\n", "2,000", "200", "64", "seed", "7"]
    assert all(text in texts for text in told)


def test_what_no_policy_can_be_better_than_stands_below_the_table(tmp_path):
    bound = BoundResult("one <queue>", "", is_least=True, value=Estimate(0.4, 0.3, 0.5))
    limited = dataclasses.replace(evaluation(), bounds={"response_time": bound})
    told = [text for _, text in Page(write(tmp_path, evaluation=limited)).texts]
    assert limits(limited) in told
    assert "no policy has" not in " ".join(text for _, text in Page(write(tmp_path)).texts)


def test_hostile_names_are_shown_and_not_obeyed(tmp_path):
    text = write(
        tmp_path,
        title=HOSTILE,
        evaluation=evaluation(best=HOSTILE),
        figures={HOSTILE: drawing()},
        config_text=HOSTILE,
    )
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"script"}
    shown = "".join(data for _, data in page.texts)
    assert shown.count(HOSTILE) == 6  # title twice, conclusion, table, caption, configuration
    assert HOSTILE in [attrs.get("alt") for tag, attrs in page.elements if tag == "img"]


def embedded(text, attribute):
    found = re.findall(rf'{attribute}="data:(image/[a-z+]+);base64,([^"]+)"', text)
    return [(mime, base64.b64decode(data)) for mime, data in found]


def test_a_figure_is_embedded_for_light_and_for_dark_paper_and_the_browser_chooses(tmp_path):
    text = write(tmp_path)
    ((light_mime, light),) = embedded(text, "src")
    ((dark_mime, dark),) = embedded(text, "srcset")
    assert light_mime == dark_mime == "image/svg+xml"
    assert all(ElementTree.fromstring(each).tag.endswith("svg") for each in (light, dark))
    assert VERMILION in light.decode() and DARK[VERMILION] in dark.decode()
    assert ("source", "(prefers-color-scheme: dark)") in [
        (tag, attributes.get("media")) for tag, attributes in Page(text).elements
    ]


def test_the_same_evaluation_gives_the_same_report(tmp_path):
    assert write(tmp_path) == write(tmp_path)


def test_pictures_are_embedded_as_what_they_are_on_white(tmp_path):
    pictures = {}
    for kind in ("PNG", "GIF"):
        file = io.BytesIO()
        Image.new("P", (3, 2)).save(file, format=kind)
        pictures[kind] = file.getvalue()
    text = write(tmp_path, figures=pictures)
    assert embedded(text, "src") == [("image/png", pictures["PNG"]), ("image/gif", pictures["GIF"])]
    assert text.count('class="wide white"') == 2


def test_every_role_has_its_colours_and_its_rows_their_role(tmp_path):
    text = write(tmp_path)
    for name, role in ROLES.items():
        assert f".{name} {{ --role: {role.colour}; --dark-role: {DARK[role.colour]}; }}" in text
    rows = re.findall(r'<tr class="([a-z ]+)">', text)
    assert rows == ["learned bold", "oracle", "best bold", "heuristic"]


def test_a_report_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    old = write(tmp_path)
    with pytest.raises(ValueError, match="neither a PNG nor a GIF"):
        write(tmp_path, figures={"broken": b"<svg/>"})
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path, config_text="\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == old
