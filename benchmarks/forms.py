"""What the less obvious forms of the code gain: a program with an obvious form in the place of ours, over ours.

    python -m benchmarks.forms
    python -m benchmarks.forms --num-nodes 16 64 --network --json -

The obvious forms stand in `reference/plain.py`, where the tests find them too. Each takes the place of ours while a
program is traced, one form a program: a round of `dlb` under random actions, or an update of MAPPO. All programs of a
size are timed side by side. What gains less than 5% everywhere is better written the obvious way.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax

if not __package__:  # run as a file: the repository's root is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import jaxdlb
from benchmarks import devices, games, learners, report, timing
from benchmarks.reference import plain
from jaxdlb.learners import MAPPOConfig
from jaxdlb.mechanics import chance, heartbeats, indexing, stealing
from jaxdlb.networks.torsos import Affine

ROUNDS_A_CALL = 128
UPDATE_NODES = 8  # nodes of the game in which an update is timed
WORTHWHILE = 1.05  # what an obvious form must cost for ours to stay
_OURS = "ours"


@dataclasses.dataclass(frozen=True)
class Form:
    """What we write otherwise, how the obvious form goes, and which of our functions, by owner, it replaces."""

    what: str
    obvious: str
    owner: Any
    replaced: dict[str, Callable[..., Any]]

    @property
    def name(self) -> str:
        return f"{self.what}: {self.obvious}"

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts, what is traced has the obvious form in it."""
        with contextlib.ExitStack() as replacements:
            for name, obvious in self.replaced.items():
                replacements.enter_context(mock.patch.object(self.owner, name, obvious))
            yield


OF_A_ROUND = (
    Form("adding at indices", "scatter", indexing, {"add_at": plain.add_at}),
    Form("heartbeats due", "one remainder", heartbeats, {"sends_now": plain.sends_now}),
    Form("stealing", "all pairs", stealing, {"serve_requests": plain.serve_all_pairs}),
    Form("stealing", "sorted", stealing, {"serve_requests": plain.serve_sorted}),
    Form("random numbers", "jax.random", chance, {"uniforms": plain.uniforms, "fold_in": plain.fold_in}),
)
OF_AN_UPDATE = (Form("kernels [out, in]", "[in, out]", Affine, {"__call__": plain.Affine.__call__}),)


def of_a_round(num_nodes: int, options: argparse.Namespace) -> dict[str, Any]:
    """A round as it is and with each obvious form."""
    game = jaxdlb.make("dlb", num_nodes=num_nodes)
    num_envs = max(options.nodes // num_nodes, jax.device_count())

    def prepare() -> timing.Chain:
        return games.prepare(game, games.Variant("random", "reward"), num_envs, ROUNDS_A_CALL, options.seed)[1]

    sizes = {"num_nodes": num_nodes, "num_envs": num_envs}
    return {"program": "round", **sizes, "obvious_over_ours": compare(OF_A_ROUND, prepare, options)}


def of_an_update(network: str, options: argparse.Namespace) -> dict[str, Any]:
    """An update of MAPPO with this network as it is and with each obvious form."""
    defaults = MAPPOConfig()
    setting = learners.Setting(
        network=network,
        num_nodes=UPDATE_NODES,
        num_envs=max(options.agents // UPDATE_NODES, 1),
        rollout_length=options.rollout_length,
        num_epochs=defaults.num_epochs,
        num_minibatches=16,
        critic=defaults.critic,
    )

    def prepare() -> timing.Chain:
        learner = learners.make_learner(setting)
        state = jax.jit(learner.init)(jax.random.key(options.seed))
        update = timing.compile_program(learner.update, state, donate=(0,))
        return timing.Chain(lambda carry: update.run(carry[0]), (state, None))

    sizes = {"network": network, "num_nodes": UPDATE_NODES, "num_envs": setting.num_envs}
    return {"program": "update", **sizes, "obvious_over_ours": compare(OF_AN_UPDATE, prepare, options)}


def compare(
    forms: Sequence[Form], prepare: Callable[[], timing.Chain], options: argparse.Namespace
) -> dict[str, timing.Spread]:
    """The time of the program that is prepared with each obvious form in place, over that of the program as it is."""
    runs = {_OURS: prepare()}
    for form in forms:
        with form.in_place():
            runs[form.name] = prepare()
    timings = timing.measure(runs, repeats=options.repeats, min_seconds=options.min_seconds)
    return {form.name: timings[form.name].ratio(timings[_OURS]) for form in forms}


def to_text(results: list[dict[str, Any]]) -> str:
    """The results as tables: a row for each form."""
    rounds = {f"N = {result['num_nodes']}": result for result in results if result["program"] == "round"}
    updates = {result["network"]: result for result in results if result["program"] == "update"}
    text = _table("a round with", OF_A_ROUND, rounds)
    if updates:
        text += "\n" + _table("an update with", OF_AN_UPDATE, updates)
    return text + (
        "\nTime with the obvious form over time with ours: median (least–greatest) of the repeats, repeat by repeat.\n"
        f"Ours stays where a median is at least {WORTHWHILE:g}.\n"
    )


def _table(title: str, forms: Sequence[Form], results: Mapping[str, dict[str, Any]]) -> str:
    rows = []
    for form in forms:
        costs = [result["obvious_over_ours"][form.name] for result in results.values()]
        stays = max(cost.median for cost in costs) >= WORTHWHILE
        rows.append([form.name, *map(report.with_range, costs), "yes" if stays else "no"])
    return report.table([title, *results, "ours stays"], rows)


def _parser() -> report.Parser:
    parser = report.Parser("What the less obvious forms of the code gain over the obvious ones.")
    parser.set_defaults(repeats=31)
    parser.add_argument("--num-nodes", type=report.count, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--nodes", type=report.count, default=4096, help="nodes of all environments of a round")
    parser.add_argument("--network", choices=learners.HIDDEN, nargs="*", default=list(learners.HIDDEN))
    parser.add_argument(
        "--agents", type=report.count, default=learners.AGENTS_AT_ONCE, help="agents of all environments of an update"
    )
    parser.add_argument("--rollout-length", type=report.count, default=MAPPOConfig().rollout_length)
    return parser


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    options = _parser().parse_args()
    devices.prepare(spread=True)
    results = []
    for num_nodes in options.num_nodes:
        report.progress(f"a round, N = {num_nodes}")
        results.append(of_a_round(num_nodes, options))
    for network in options.network:
        report.progress(f"an update, {network}")
        results.append(of_an_update(network, options))
    report.publish(options.json, jax.devices()[0], vars(options), results, to_text(results))


if __name__ == "__main__":
    main()
