"""What can be said of the games without playing them: closed forms, and small chains solved exactly."""

from jaxdlb.theory.queueing import (
    erlang_b,
    erlang_c,
    independent_imbalance,
    join_shortest_queue_of_two,
    mm1_response_law,
    mm1_response_quantile,
    mmc_response,
    one_node_law,
    one_node_load,
    one_node_variance,
    pollaczek_khinchine,
    pooled_queue_law,
    power_of_d_limit,
    power_of_d_tail,
)

__all__ = [
    "erlang_b",
    "erlang_c",
    "independent_imbalance",
    "join_shortest_queue_of_two",
    "mm1_response_law",
    "mm1_response_quantile",
    "mmc_response",
    "one_node_law",
    "one_node_load",
    "one_node_variance",
    "pollaczek_khinchine",
    "pooled_queue_law",
    "power_of_d_limit",
    "power_of_d_tail",
]
