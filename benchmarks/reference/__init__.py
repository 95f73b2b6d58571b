"""The round of the `dlb` game in plain C (`dlb.c`), compiled on the spot and called through ctypes."""

import ctypes
import dataclasses
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).with_name("dlb.c")
OPTIONS = ("-std=c11", "-O3", "-march=native", "-shared", "-fPIC")
COUNTS = (
    "arrivals",
    "completions",
    "migrations",
    "steal_requests",
    "steals",
    "drops",
    "total_load",
    "total_in_transit",
    "nodes_up",
)
_PER_NODE = ("arrival_prob", "completion_prob", "failure_prob", "repair_prob")
_WEIGHTS = ("migration_cost", "steal_cost", "imbalance_weight", "holding_weight", "drop_cost", "selfishness")
_DELAYS = ("transfer_delay", "heartbeat_period", "heartbeat_delay")
_NOTHING_SENT = -1


class NoCompilerError(Exception):
    """The C reference cannot be compiled here; the message says why."""


def _compiler() -> str:
    for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        found = shutil.which(name)
        if found:
            return found
    raise NoCompilerError("no C compiler was found; install gcc or clang, or name one in CC")


@dataclasses.dataclass(frozen=True)
class Reference:
    """The compiled reference for one number of nodes."""

    num_nodes: int
    max_delay: int
    library: ctypes.CDLL
    compiler: str

    @classmethod
    def compile(cls, num_nodes: int, max_delay: int, capacity: int) -> "Reference":
        """The reference for these sizes.

        Raises:
            NoCompilerError: there is no compiler, or it fails.
        """
        compiler = _compiler()
        sizes = [f"-DNUM_NODES={num_nodes}", f"-DMAX_DELAY={max_delay}", f"-DCAPACITY={capacity}"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "dlb.so"
            done = subprocess.run(
                [compiler, *OPTIONS, *sizes, "-o", str(path), str(SOURCE)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise NoCompilerError(f"{compiler} cannot compile {SOURCE.name}: {done.stderr.strip()}")
            library = ctypes.CDLL(str(path))
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
        return cls(num_nodes, max_delay, library, version.splitlines()[0] if version else compiler)

    def params(self, params: Any, num_clusters: int) -> np.ndarray:
        """The parameters of `num_clusters` clusters alike, from those of one cluster of the JAX game."""
        per_node: list[tuple] = [(name, "f4", self.num_nodes) for name in _PER_NODE]
        rest: list[tuple] = [(name, "f4") for name in _WEIGHTS] + [(name, "i4") for name in _DELAYS]
        fields = [*per_node, *rest, ("heartbeat_phase", "i4", self.num_nodes)]
        packed = np.zeros(num_clusters, np.dtype(fields, align=True))
        for name, *_ in fields:
            packed[name] = np.asarray(getattr(params, name))
        packed["heartbeat_phase"] %= packed["heartbeat_period"][:, None]
        return packed

    def clusters(self, state: Any) -> np.ndarray:
        """Clusters in the states (leading axis: the cluster) of the JAX game; nothing may be under way."""
        nodes, slots = self.num_nodes, (self.max_delay + 1, self.num_nodes)
        fields: list[tuple] = [(name, "i4") for name in ("round", "slot")]
        fields += [(name, "i4", nodes) for name in ("load", "under_way", "heard_load", "heard_age")]
        fields += [(name, "u1", nodes) for name in ("arrived", "completed", "alive")]
        fields += [("in_transit", "i4", slots), ("heartbeats", "i4", slots)]
        clusters = np.zeros(len(state.round), np.dtype(fields, align=True))
        for name in ("round", "load", "heard_load", "heard_age", "arrived", "completed", "alive"):
            clusters[name] = np.asarray(getattr(state, name))
        clusters["heartbeats"] = _NOTHING_SENT
        return clusters

    def in_transit(self, clusters: np.ndarray) -> np.ndarray:
        """Tasks under way by remaining time, as the JAX game has them: int32 [E, D, N]."""
        rows = (clusters["slot"][:, None] + np.arange(self.max_delay)) % (self.max_delay + 1)
        return clusters["in_transit"][np.arange(len(clusters))[:, None], rows]

    def tallies(self, num_clusters: int) -> np.ndarray:
        """Sums of nothing yet."""
        sums: list[tuple] = [("imbalance", "f8"), ("utility", "f8"), ("counts", "i8", len(COUNTS))]
        return np.zeros(num_clusters, np.dtype([("reward", "f8", self.num_nodes), *sums], align=True))

    def play_given(
        self, params: np.ndarray, clusters: np.ndarray, action: dict[str, np.ndarray], chance: dict[str, np.ndarray]
    ) -> np.ndarray:
        """One round in place, and its tallies.

        `action` is as played (dispatch, steal: int32 [E, N]); `chance` is what chance decided (alive, arrived,
        completed: bool [E, N], as they are after the round).
        """
        tallies = self.tallies(len(clusters))
        actions = [np.ascontiguousarray(action[name], np.int32) for name in ("dispatch", "steal")]
        events = [np.ascontiguousarray(chance[name], np.uint8) for name in ("alive", "arrived", "completed")]
        self._call("play_given", len(clusters), params, clusters, *actions, *events, tallies)
        return tallies

    def play_random(
        self, params: np.ndarray, clusters: np.ndarray, random_states: np.ndarray, tallies: np.ndarray, num_rounds: int
    ) -> None:
        """Rounds in place with the reference's own chance and random legal actions; `random_states` uint64 [E]."""
        self._call("play_random", len(clusters), num_rounds, random_states, params, clusters, tallies)

    def _call(self, function: str, *arguments: Any) -> None:
        passed = [
            argument.ctypes.data_as(ctypes.c_void_p) if isinstance(argument, np.ndarray) else ctypes.c_int64(argument)
            for argument in arguments
        ]
        getattr(self.library, function)(*passed)
