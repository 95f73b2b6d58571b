"""What is written: animated GIFs, and figures as SVG for light and for dark paper."""

import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from jaxdlb.drawing import animation, gif, style, svg


def contrast(colour, other):
    """The ratio of WCAG 2: of luminances, each with a little stray light."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted([luminance(colour), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def frames_of(path):
    with Image.open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            yield np.asarray(image.convert("RGB"))


def test_a_gif_keeps_the_named_colours_exactly(tmp_path):
    colours = np.array([[34, 48, 60], [213, 94, 0], [255, 255, 255], [37, 50, 61]], np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (60, 40, 3)).astype(np.uint8)
    frame = np.concatenate([np.broadcast_to(colours[:3, None], (3, 40, 3)), noise])
    gif.write_gif(tmp_path / "x.gif", [frame, frame[::-1]], colours[:3], 0.05)
    shown = list(frames_of(tmp_path / "x.gif"))
    assert len(shown) == 2
    np.testing.assert_array_equal(shown[0][:3], frame[:3])


def test_an_animation_draws_what_moves_where_it_is_and_keeps_what_stands(tmp_path):
    figure = Figure(figsize=(2, 1), dpi=50, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(0, 1))
    axes.set_axis_off()
    axes.axhspan(0, 0.2, color=style.BLUE)
    (moving,) = axes.plot([], [], marker="s", color=style.VERMILION, markersize=8)
    animation.write(
        tmp_path / "x.gif", figure, [moving], lambda time: moving.set_data([time], [0.6]), np.array([2.0, 7.0]), 0.2
    )
    frames = list(frames_of(tmp_path / "x.gif"))
    vermilion, blue = (np.rint(255 * np.array(to_rgb(colour))) for colour in (style.VERMILION, style.BLUE))
    places = [np.argwhere(np.all(frame == vermilion, axis=-1)).mean(axis=0) for frame in frames]
    np.testing.assert_allclose(places, [[20, 20], [20, 70]], atol=1.5)
    assert all(np.all(frame[45:, 2:-2] == blue) for frame in frames)


def drawing():
    figure = Figure(figsize=(2, 1), facecolor="white")
    axes = figure.add_subplot()
    axes.plot([0, 1], color=style.VERMILION)
    axes.plot([1, 0], color="#123456")
    axes.set_title("a title", color=style.INK)
    axes.set_xlabel("<&--> a label in black")
    return figure


def test_a_figure_gives_the_same_svg_each_time_and_changes_no_settings():
    before = dict(rcParams)
    assert svg.to_svg(drawing()) == svg.to_svg(drawing())
    assert dict(rcParams) == before


def test_for_dark_paper_the_house_colours_and_black_change_and_others_stay():
    light = svg.to_svg(drawing())
    dark = svg.darkened(light)
    assert style.VERMILION in light and style.INK in light and style.DARK[style.VERMILION] not in light
    assert style.DARK[style.VERMILION] in dark and style.DARK[style.INK] in dark
    assert not {style.VERMILION, style.INK, "#000000"} & set(re.findall(r"#[0-9a-f]{6}", dark))
    assert "#123456" in dark
    assert re.search(rf'<svg fill="{style.DARK["#000000"]}"', dark)
    references = re.findall(r'href="#([^"]+)"', dark)
    assert references and all(f'id="{reference}"' in dark for reference in references)


@pytest.mark.parametrize(
    "colour", [style.INK, style.GREY, style.BLUE, style.GREEN, style.VERMILION, style.PURPLE, style.OCHRE, style.VIOLET]
)
def test_what_carries_meaning_stands_out_from_either_paper(colour):
    least = {style.INK: 7.0, style.GREY: 4.5}.get(colour, 2.9)  # of graphics WCAG 2 asks 3, of text 4.5
    assert contrast(colour, style.PAPER) > least
    assert contrast(style.DARK[colour], style.DARK[style.PAPER]) > least


def test_styles_and_layouts_are_known_without_the_plotting_library():
    program = "import sys, jaxdlb, jaxdlb.evaluation, jaxdlb.evaluation.report, jaxdlb.drawing.style"
    program += ", jaxdlb.drawing.layout; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
