"""Chains small enough for a linear programme, which knows nothing of how they are solved otherwise."""

import functools

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

import jaxdlb
from jaxdlb.games.dlb.common import CommonInformation
from jaxdlb.theory import chain as chains

FRESH = {"heartbeat_period": 1, "transfer_delay": 0}


def cluster(rates, load, capacity, **fields):
    game = jaxdlb.make("dlb", num_nodes=len(rates), capacity=capacity)
    return game, game.default_params(completion_prob=np.array(rates), load=load, **FRESH, **fields)


@functools.cache
def chain_of(rates, load, capacity):
    return chains.build(CommonInformation(*cluster(rates, load, capacity)))


def best_average(following, worth, likely):
    """The best average reward of a Markov decision process, by the linear programme over shares of rounds.

    In state s one of D decisions is made, which leads to `following` [S, D, E], with the probabilities `likely`
    [S, D, E], and is worth `worth` [S, D].
    """
    size, decisions, _ = following.shape
    rows = [np.repeat(np.arange(size * decisions), following.shape[2]), np.arange(size * decisions)]
    come = sparse.csr_matrix((likely.ravel(), (following.ravel(), rows[0])), shape=(size, size * decisions))
    leave = sparse.csr_matrix((np.ones(size * decisions), (rows[1] // decisions, rows[1])), shape=come.shape)
    equal = sparse.vstack([(come - leave)[1:], np.ones((1, size * decisions))])  # the balance left out follows
    found = linprog(-worth.ravel(), A_eq=equal, b_eq=np.append(np.zeros(size - 1), 1.0), method="highs")
    assert found.success, found.message
    return -found.fun
