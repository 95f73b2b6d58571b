"""The round in C, compiled on the spot, says the same as the round in JAX; where it does not, the benchmark notices."""

import dataclasses

import pytest

import jaxdlb
from benchmarks import against_c, reference
from benchmarks.reference import NoCompilerError, Reference


def compiled(game):
    return Reference.compile(game.num_nodes, game.max_delay, game.capacity)


@pytest.mark.parametrize("num_nodes", [1, 5])
def test_both_say_the_same_of_a_cluster_in_which_everything_happens(num_nodes):
    game = jaxdlb.make("dlb", num_nodes=num_nodes, capacity=4)
    against_c.check(game, compiled(game), against_c.harsh_params(game), seed=3)


def test_both_say_the_same_beyond_the_size_where_thieves_take_turns():
    game = jaxdlb.make("dlb", num_nodes=40)
    against_c.check(game, compiled(game), game.default_params(), seed=4)


def test_a_disagreement_is_named(monkeypatch):
    game = jaxdlb.make("dlb", num_nodes=4, capacity=4)
    params = against_c.harsh_params(game)
    other = dataclasses.replace(params, drop_cost=params.drop_cost + 1)
    honest = Reference.params
    monkeypatch.setattr(Reference, "params", lambda self, _, num_clusters: honest(self, other, num_clusters))
    with pytest.raises(against_c.DisagreementError, match=r"reward|utility"):
        against_c.check(game, compiled(game), params, seed=0)


def test_without_a_compiler_a_sentence_says_so(monkeypatch):
    monkeypatch.setattr(reference.shutil, "which", lambda name: None)
    with pytest.raises(NoCompilerError, match="no C compiler was found; install gcc or clang"):
        Reference.compile(2, 1, 4)


def test_what_the_compiler_refuses_is_passed_on(monkeypatch):
    monkeypatch.setattr(reference, "OPTIONS", ("--no-such-option",))
    with pytest.raises(NoCompilerError, match=r"cannot compile dlb\.c"):
        Reference.compile(2, 1, 4)
