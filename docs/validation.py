"""Writes the tables of the page of validation, simulation against theory: `python -m docs.validation`.

It plays every case with fixed keys, three minutes or so on two cores, and rewrites the tables of `docs/validation.md`
in place.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from docs import tables, validation_chains, validation_tails
from docs.tables import ROOT, Rows
from docs.validation_cases import AT_ONCE, ENTRY, Case, Effort, table, theoretical
from jaxdlb import theory
from jaxdlb.evaluation.bounds import NOBODY
from jaxdlb.games import GAMES
from jaxdlb.policies import make_heuristic

PAGE = ROOT / "docs" / "validation.md"


def one_node() -> list[Case]:
    """A node alone: mean load and response time in closed form."""
    return [
        _case(
            f"p = {p:g}, q = {q:g}",
            ("local", {}),
            {"num_nodes": 1, "capacity": 1000},
            {"arrival_prob": p, "completion_prob": q},
            {"queue_length": theory.one_node_load(p, q), "response_time": theory.one_node_load(p, q) / p},
            Effort(256, 8000, 1000),
        )
        for p, q in ((0.3, 0.5), (0.45, 0.6), (0.8, 0.9))
    ]


def independent_nodes() -> list[Case]:
    """Uneven nodes that keep their tasks: the sum of nodes alone, and their imbalance."""
    p, q = (0.15, 0.3, 0.5, 0.6), (0.3, 0.5, 0.7, 0.9)
    load = sum(theory.one_node_load(*node) for node in zip(p, q, strict=True))
    exact = {
        "queue_length": load / len(p),
        "response_time": load / sum(p),
        "imbalance": theory.independent_imbalance(p, q),
    }
    sizes, params = {"num_nodes": 4, "capacity": 1000}, {"arrival_prob": p, "completion_prob": q}
    return [_case("`local`, N = 4", ("local", {}), sizes, params, exact, Effort(256, 8000, 1000))]


def join_shortest_queue() -> list[Case]:
    """Two nodes that send every task to the shorter queue: the chain on their loads, solved."""
    capacity, loads = 30, np.arange(31)
    cases = []
    for p, q in (((0.4, 0.4), (0.5, 0.5)), ((0.5, 0.2), (0.3, 0.6)), ((0.1, 0.8), (0.9, 0.9))):
        law = theory.join_shortest_queue_of_two(p, q, capacity)
        load = float(np.sum(law * np.add.outer(loads, loads)))
        difference = np.subtract.outer(loads / q[0], loads / q[1])
        exact = {
            "queue_length": load / 2,
            "response_time": load / sum(p),
            "imbalance": float(np.sum(law * difference**2)) / 4,
        }
        params = AT_ONCE | {"arrival_prob": p, "completion_prob": q}
        sizes = {"num_nodes": 2, "capacity": capacity}
        name = f"p = {p[0]:g}, {p[1]:g}; q = {q[0]:g}, {q[1]:g}"
        cases.append(_case(name, ("join_shortest_queue", {}), sizes, params, exact, Effort(256, 4000, 500)))
    return cases


def power_of_d() -> list[Case]:
    """Many equal nodes and the best of two or three: the mean-field limit, which few nodes miss by some 1/N."""
    cases = []
    for choices, sizes in ((2, (10, 100, 1000)), (3, (100,))):
        law = theory.power_of_d_limit(0.45, 0.5, choices, longest=25)
        load = float(law @ np.arange(26))
        exact = {"queue_length": load, "response_time": load / 0.45}
        for num_nodes in sizes:
            effort = Effort(max(2000 // num_nodes, 8), 1000, 300)
            params = AT_ONCE | {"arrival_prob": 0.45, "completion_prob": 0.5}
            name = f"the best of {choices}, N = {num_nodes:,}"
            policy = ("power_of_d", {"d": choices - 1})  # besides the node itself
            cases.append(_case(name, policy, {"num_nodes": num_nodes, "capacity": 64}, params, exact, effort))
    return cases


def pooled_queue() -> list[Case]:
    """One queue that all nodes serve, the bound of every table: the chain on the tasks present, solved."""
    cases = []
    for load in (0.5, 0.9):
        game = ENTRY.game(num_nodes=8)  # type: ignore[call-arg]
        params = game.default_params(load=load)
        p, q = (np.asarray(each, np.float64) for each in (params.arrival_prob, params.completion_prob))
        present = float(theory.pooled_queue_law(p, q, 400) @ np.arange(401))
        bound = game.columns["response_time"].bound
        assert bound is not None
        exact = {"present": present, "response_time": present / float(np.sum(p))}
        name = f"N = 8, load {load:g}"
        cases.append(Case(name, bound.game, params, NOBODY, exact, Effort(256, 4000, 500)))
    return cases


def servers_of_the_rack() -> list[Case]:
    """One server in continuous time: the laws of M/M/1, M/M/c and M/G/1 queues; slices of half a mean task."""
    constant, rare = {"kind": "constant", "value": 1.0}, {"kind": "bimodal", "short": 0.5, "long": 5.5}
    heavy = {"kind": "pareto", "least": 0.75, "shape": 4.0}
    cases = [
        ("M/M/1, load 0.7", 0.7, 1, {"kind": "exponential", "average": 1.0}, 2.0),
        ("M/M/8, load 0.8", 6.4, 8, {"kind": "exponential", "average": 1.0}, 2.0),
        ("M/D/1, load 0.8", 0.8, 1, constant, 1.0),
        ("M/G/1, bimodal, load 0.6", 0.6, 1, rare, 0.9 * 0.25 + 0.1 * 5.5**2),
        ("M/G/1, Pareto, load 0.6", 0.6, 1, heavy, 2 * 0.75**2),
    ]
    return [_server(*case) for case in cases]


def _server(name: str, rate: float, cores: int, runtime: dict[str, Any], mean_square: float) -> Case:
    """One server whose tasks take 1 ms on average."""
    entry = GAMES["rack"]
    sizes = {"num_nodes": 1, "max_cores": cores, "max_io_cores": 1, "max_tasks": 1024, "max_arrivals": 24}
    game: Any = entry.game(**sizes)
    params = game.default_params(arrival_rate=rate, core_perf=1.0, runtime=runtime, dt=0.5, heartbeat_period=10.0)
    exact = {"throughput": rate, "cpu_utilisation": rate / cores}
    if cores > 1:
        exact["response_time"] = theory.mmc_response(rate, 1.0, cores)
    else:
        exact["response_time"] = 1.0 + theory.pollaczek_khinchine(rate, 1.0, mean_square)
    if cores == 1 and runtime["kind"] == "exponential":
        exact |= {f"p{share}": theory.mm1_response_quantile(rate, 1.0, share / 100) for share in (50, 95, 99)}
    return Case(name, game, params, make_heuristic(entry.heuristics, "local"), exact, Effort(128, 20_000, 1000))


def _case(
    name: str,
    policy: tuple[str, dict[str, Any]],
    sizes: dict[str, Any],
    params: dict[str, Any],
    exact: dict[str, float],
    effort: Effort,
) -> Case:
    """A case of a heuristic, given by its name and options."""
    game = ENTRY.game(**sizes)
    heuristic = make_heuristic(ENTRY.heuristics, policy[0], **policy[1])
    return Case(name, game, game.default_params(**params), heuristic, exact, effort)


SECTIONS: dict[str, Callable[[], list[Case]]] = {
    "validation one node": one_node,
    "validation independent nodes": independent_nodes,
    "validation join shortest queue": join_shortest_queue,
    "validation power of d": power_of_d,
    "validation pooled queue": pooled_queue,
    "validation servers": servers_of_the_rack,
}


def slow_rounds() -> Rows:
    """Power of two in ever slower rounds, and its limit in continuous time: shares of nodes with at least k tasks."""
    load, most, speeds = 0.9, 5, (0.5, 0.05, 0.01)
    laws = [theory.power_of_d_limit(load * q, q, choices=2, longest=25) for q in speeds]
    tails = [np.cumsum(law[::-1])[::-1] for law in laws] + [theory.power_of_d_tail(load, 2, most)]
    header = ["at least", *(f"q = {q:g}" for q in speeds), "in continuous time"]
    return [header, *([str(k), *(theoretical(tail[k]) for tail in tails)] for k in range(1, most + 1))]


def _played(cases: Callable[[], list[Case]]) -> Rows:
    return table(cases())


TABLES: dict[str, Callable[[], Rows]] = {
    **{name: partial(_played, cases) for name, cases in SECTIONS.items()},
    "validation power of two": validation_tails.table,
    "validation slow rounds": slow_rounds,
    "validation chains": validation_chains.laws,
    "validation heuristics": validation_chains.heuristics,
}


def main() -> int:
    """Play everything and write the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(tables.with_tables(text, TABLES), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
