"""`jaxdlb.make` and `jaxdlb.heuristic` find by name, and say what they know when asked for something else."""

import dataclasses

import numpy as np
import pytest

import jaxdlb
from jaxdlb.games.dlb import DLB

SIZES = ["num_nodes", "capacity", "max_delay", "imbalance", "heartbeats"]


def test_make_gives_the_game_of_that_name_with_its_sizes():
    assert jaxdlb.make("dlb") == DLB()
    assert jaxdlb.make("dlb", num_nodes=3, heartbeats="per_link") == DLB(num_nodes=3, heartbeats="per_link")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chess", r"^game is 'chess'; it must be one of dlb\b(?!.*did you mean)"),
        ("dbl", r"^game is 'dbl'; it must be one of dlb\b.*; did you mean 'dlb'\?$"),
        ("DLB", r"^game is 'DLB'; it must be one of dlb"),
        ("", r"^game is ''; it must be one of dlb"),
    ],
)
def test_an_unknown_game_is_refused_with_the_known_ones_and_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        jaxdlb.make(name)


def test_an_unknown_size_is_refused_with_the_known_ones():
    assert [field.name for field in dataclasses.fields(DLB)] == SIZES
    sizes = ", ".join(SIZES)
    with pytest.raises(
        ValueError, match=rf"^nodes is not a size of dlb; its sizes are {sizes}; did you mean num_nodes\?$"
    ):
        jaxdlb.make("dlb", nodes=3)
    with pytest.raises(ValueError, match=rf"^zzz is not a size of dlb; its sizes are {sizes}$"):
        jaxdlb.make("dlb", zzz=3)


@pytest.mark.parametrize(("size", "least"), [("num_nodes", 1), ("capacity", 1), ("max_delay", 0)])
def test_sizes_are_whole_numbers_from_their_least_value(size, least):
    assert getattr(jaxdlb.make("dlb", **{size: least}), size) == least
    assert getattr(jaxdlb.make("dlb", **{size: np.int64(9)}), size) == 9
    for bad in (least - 1, -7, 2.5, 3.0, True, "8", None, float("nan")):
        with pytest.raises(ValueError) as refusal:
            jaxdlb.make("dlb", **{size: bad})
        assert str(refusal.value) == f"{size} is {bad!r}; it must be an integer ≥ {least}"


@pytest.mark.parametrize(
    ("size", "choices"), [("imbalance", "variance, mean_absolute, range"), ("heartbeats", "shared, per_link")]
)
def test_named_choices_are_refused_with_the_list_of_them(size, choices):
    for choice in choices.split(", "):
        assert getattr(jaxdlb.make("dlb", **{size: choice}), size) == choice
    for bad in ("", "xyz", None, 1):
        with pytest.raises(ValueError) as refusal:
            jaxdlb.make("dlb", **{size: bad})
        assert str(refusal.value) == f"{size} is {bad!r}; it must be one of {choices}"
