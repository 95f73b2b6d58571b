"""What can be said of the games without playing them: closed forms, and small chains solved exactly."""

from jaxdlb.theory.queues import (
    independent_imbalance,
    join_shortest_queue_of_two,
    one_node_law,
    one_node_load,
    one_node_variance,
    pooled_queue_law,
    power_of_d_limit,
    power_of_d_tail,
)

__all__ = [
    "independent_imbalance",
    "join_shortest_queue_of_two",
    "one_node_law",
    "one_node_load",
    "one_node_variance",
    "pooled_queue_law",
    "power_of_d_limit",
    "power_of_d_tail",
]
