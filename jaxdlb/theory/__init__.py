"""What can be said of the games without playing them: closed forms, and small chains solved exactly."""

from jaxdlb.theory.queues import (
    independent_imbalance,
    join_shortest_queue_of_two,
    many_server_response,
    many_server_waiting_probability,
    one_node_law,
    one_node_load,
    one_node_variance,
    one_server_response,
    one_server_response_quantile,
    pooled_queue_law,
    power_of_d_limit,
    power_of_d_tail,
)

__all__ = [
    "independent_imbalance",
    "join_shortest_queue_of_two",
    "many_server_response",
    "many_server_waiting_probability",
    "one_node_law",
    "one_node_load",
    "one_node_variance",
    "one_server_response",
    "one_server_response_quantile",
    "pooled_queue_law",
    "power_of_d_limit",
    "power_of_d_tail",
]
