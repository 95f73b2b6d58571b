"""Checkpoints on disk: the learner's whole state, the policy apart from it, and what is needed to use either.

A checkpoints folder holds one folder a step, named by the number of updates made. In it lie `state` (everything that
training needs to go on), `policy` (what acting needs) and `about` (JSON: format, game, network, checksums). A step
appears under its name only when it is written whole.
"""

from jaxdlb.checkpoint.packing import FOLDER, CheckpointError, checksum, pack, unpack
from jaxdlb.checkpoint.reader import Location, load_policies, load_policy, locate, read_about, restore_state, steps
from jaxdlb.checkpoint.writer import Writer, describe, set_aside_after

__all__ = [
    "FOLDER",
    "CheckpointError",
    "Location",
    "Writer",
    "checksum",
    "describe",
    "load_policies",
    "load_policy",
    "locate",
    "pack",
    "read_about",
    "restore_state",
    "set_aside_after",
    "steps",
    "unpack",
]
