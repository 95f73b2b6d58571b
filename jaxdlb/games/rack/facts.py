"""What is known of the task in each slot: the columns of `Tasks.facts`."""

import enum

import jax.numpy as jnp


class Fact(enum.IntEnum):
    """Columns of `Tasks.facts`; times from BORN on are in slices from the start of the coming one."""

    RUNTIME = 0  # ms of work
    IO_TIME = 1  # ms of I/O
    PAYLOAD = 2  # bytes
    BORN = 3  # when the task arrived in the rack
    LANDS = 4  # when it arrives at the node that it is bound for
    COMPUTED = 5  # when its work on a core is done; in the past before it has started


PASSES = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])  # by how much each column falls in a slice
