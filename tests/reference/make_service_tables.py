"""Makes `pacsltk.csv` and `simfaas.csv`: how nodes fare by two published programs, which the tests compare ours with.

    pip install pacsltk==0.2.0 simfaas==0.2.2
    python tests/reference/make_service_tables.py

They are no dependencies of the tests, since they bring dozens of packages of their own. Both files have a line for each
node: the rate of requests, T_w, T_c, T_I and M; and what the programs say. `simfaas` draws: of so many runs of so many
requests each there is the mean, and its standard error. The first tenth of each run is left out.
"""

import csv
import itertools
import warnings
from pathlib import Path

import numpy as np
from pacsltk.perfmodel import get_sls_warm_count_dist
from simfaas.ServerlessSimulator import ServerlessSimulator

HERE = Path(__file__).parent
NODE = ("rate", "warm_time", "cold_time", "idle_time", "instances")
NODES, RUNS, REQUESTS = 200, 8, 25_000


def random_nodes(random):
    """M 1 … 64, offered load 0.02 … 4 times M, T_I 0.3 … 100 times T_c, to four digits; those that pacsltk solves."""
    while True:
        instances = int(random.integers(1, 65))
        warm = 10 ** random.uniform(-2, 1)
        cold = warm * 10 ** random.uniform(0, 1)
        idle = cold * 10 ** random.uniform(-0.5, 2)
        rate = instances / warm * 10 ** random.uniform(-1.7, 0.6)
        yield *(float(f"{each:.4g}") for each in (rate, warm, cold, idle)), instances


def solved(node):
    """Both probabilities and the mean pool as pacsltk has them; None where it divides by zero."""
    rate, warm, cold, idle, instances = node
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found, _ = get_sls_warm_count_dist(
                rate, warm, cold, idle, maximum_concurrency=instances, faster_solution=False
            )
        except (ArithmeticError, RuntimeWarning, np.linalg.LinAlgError):
            return None
    return found["rejection_prob"], found["cold_prob"], found["avg_server_count"]


def simulated(node):
    """Both probabilities in one run of simfaas."""
    rate, warm, cold, idle, instances = node
    run = ServerlessSimulator(
        arrival_rate=rate,
        warm_service_rate=1 / warm,
        cold_service_rate=1 / cold,
        expiration_threshold=idle,
        max_time=REQUESTS / rate,
        maximum_concurrency=instances,
    )
    run.generate_trace(debug_print=False, progress=False)
    first = len(run.hist_times) // 10
    kinds = run.hist_req_rej_idxs, run.hist_req_cold_idxs, run.hist_req_warm_idxs
    rejected, started, warm_ones = (sum(each > first for each in kind) for kind in kinds)
    return np.array([rejected, started]) / (rejected + started + warm_ones)


def write(name, fields, lines):
    with (HERE / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*NODE, *fields])
        writer.writerows(lines)


def main():
    random = np.random.default_rng(0)
    nodes = ((node, solved(node)) for node in random_nodes(random))
    kept = ((node, found) for node, found in nodes if found is not None)
    write(
        "pacsltk.csv", ("reject_prob", "cold_prob", "pool_size"), [[*n, *f] for n, f in itertools.islice(kept, NODES)]
    )
    np.random.seed(0)  # simfaas draws from numpy's own state
    lines = []
    for instances, factor, loads in ((7, 8, (0.3, 0.6, 0.8, 1.0, 1.2)), (30, 16, (0.4, 0.7, 0.9, 1.0, 1.2))):
        for load in loads:
            node = (load * instances / 0.5, 0.5, 1.25, factor * 1.25, instances)
            runs = np.array([simulated(node) for _ in range(RUNS)])
            ends = np.stack([runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(RUNS)])
            lines.append([*node, *(f"{each:.6f}" for each in ends.T.ravel())])
            print(lines[-1])
    write("simfaas.csv", ("reject_prob", "reject_error", "cold_prob", "cold_error"), lines)


if __name__ == "__main__":
    main()
