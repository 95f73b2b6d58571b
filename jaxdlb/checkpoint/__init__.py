"""Checkpoints on disk: the learner's complete state, a separate copy of the policy, and what is needed to use either.

A checkpoints folder holds one folder per step, named after the number of updates made. It contains `state` (everything
needed to continue training), `policy` (what acting needs) and `about` (JSON: format, game, network, checksums). A step
appears under its name only once it is completely written.
"""

from jaxdlb.checkpoint.packing import FOLDER, CheckpointError, checksum, pack, unpack
from jaxdlb.checkpoint.reader import (
    Location,
    best_step,
    load_policies,
    load_policy,
    locate,
    policy_name,
    read_about,
    restore_state,
    steps,
)
from jaxdlb.checkpoint.writer import Writer, describe, set_aside_after

__all__ = [
    "FOLDER",
    "CheckpointError",
    "Location",
    "Writer",
    "best_step",
    "checksum",
    "describe",
    "load_policies",
    "load_policy",
    "locate",
    "pack",
    "policy_name",
    "read_about",
    "restore_state",
    "set_aside_after",
    "steps",
    "unpack",
]
