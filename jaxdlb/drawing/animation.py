"""Animations: what never moves is drawn once, and each frame draws only the rest on top of it."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

from jaxdlb.drawing import gif, style
from jaxdlb.drawing.gif import Picture

Times = Float[np.ndarray, " F"]
NAMED = (style.PAPER, style.INK, style.GREY, style.PALE, style.BLUE, style.GREEN, style.VERMILION)
NUM_SHADES = 24  # shades of a colour map that an animation reproduces exactly


def write(
    path: str | os.PathLike[str],
    figure: Figure,
    moving: Sequence[Artist],
    move: Callable[[float], Any],
    times: Times,
    seconds_per_frame: float,
    *,
    colours: Sequence[str] = (),
    colour_map: str | None = None,
) -> None:
    """Write `figure` as an animated GIF with one frame for each of `times`.

    `move(time)` puts each of the `moving` artists, listed in drawing order, where it belongs at that time. The named
    colours of `style`, `colours` and those of `colour_map` are reproduced exactly.
    """
    named = to_rgba_array([*NAMED, *colours])[:, :3]
    hinted = style.FAINT * named + (1 - style.FAINT)
    mapped = colormaps[colour_map](np.linspace(0, 1, NUM_SHADES))[:, :3] if colour_map else named[:0]
    kept = np.rint(255 * np.concatenate([named, hinted, mapped])).astype(np.uint8)
    gif.write_gif(path, list(frames(figure, moving, move, times)), kept, seconds_per_frame)


def frames(figure: Figure, moving: Sequence[Artist], move: Callable[[float], Any], times: Times) -> Iterator[Picture]:
    """The picture at each of `times`."""
    canvas = FigureCanvasAgg(figure)
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    for time in times:
        move(float(time))
        canvas.restore_region(background)
        for artist in moving:
            figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
