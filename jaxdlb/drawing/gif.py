"""Animated GIFs from pictures that are mostly flat colour."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

Picture = UInt8[np.ndarray, "H W 3"]


def write_gif(
    path: str | os.PathLike[str], frames: Sequence[Picture], colours: UInt8[np.ndarray, "K 3"], seconds_per_frame: float
) -> None:
    """Write `frames` as a GIF that loops for ever; `colours` (at most 128) are kept exactly, others approximately."""
    shown, index_of = _palette(colours, frames[:: max(1, len(frames) // 6)])
    images = [Image.fromarray(index_of[_coarse(frame)]) for frame in frames]
    for image in images:
        image.putpalette(shown.tobytes())
    milliseconds = round(1000 * seconds_per_frame)
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)


def _coarse(image: UInt8[np.ndarray, "*S 3"]) -> Int[np.ndarray, "*S"]:
    """The colour of each pixel as one number below 2^15: five bits of red, green and blue."""
    red, green, blue = np.moveaxis(image >> 3, -1, 0).astype(np.int64)
    return red << 10 | green << 5 | blue


def _palette(
    needed: UInt8[np.ndarray, "K 3"], images: Sequence[UInt8[np.ndarray, "H W 3"]], size: int = 128
) -> tuple[UInt8[np.ndarray, "P 3"], UInt8[np.ndarray, " C"]]:
    """The `needed` colours and the most frequent others, and for each `_coarse` colour the index of the nearest one.

    All frames of an animation share one palette, so that nothing flickers and still parts compress well.
    """
    times = np.bincount(np.concatenate([_coarse(image).ravel() for image in images]), minlength=2**15)
    times[_coarse(needed)] = 0
    shades = np.arange(2**15)
    every = (np.stack([shades >> 10, shades >> 5 & 31, shades & 31], axis=1) * 255) // 31
    colours = np.concatenate([needed.astype(np.int64), every[np.argsort(-times, kind="stable")]])[:size]
    distance = np.sum(every**2, axis=1)[:, None] - 2 * every @ colours.T + np.sum(colours**2, axis=1)
    nearest = np.argmin(distance, axis=1).astype(np.uint8)
    nearest[_coarse(needed)] = np.arange(len(needed))
    return colours.astype(np.uint8), nearest
