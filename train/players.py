"""Who plays, as the key `policy` of a launcher says: rules, and the learned policy of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdlb import checkpoint
from jaxdlb.policies import Policy, find_family

from . import build, comparison, compose, evaluate
from .build import Scenario

LEARNED = "learned"


def settings(overrides: Sequence[str], schema: type) -> tuple[Any, Any, checkpoint.Location | None]:
    """What was composed, the settings, and the step to load: of the run that `checkpoint=…` names, if it names one.

    Without a run the settings are those of the command line, and there is no step.

    Raises:
        ValueError, OmegaConfBaseException: no such run, or an override that is wrong.
    """
    if any(text.startswith("checkpoint=") for text in overrides):
        return evaluate.from_run(overrides, schema)
    given = compose.from_conf(overrides, schema)
    return given, compose.settings(given, overrides), None


def entries(policy: Any, scenario: Scenario) -> list[Any]:
    """The entries of `policy`: a name, a name with options, or a list of these; null is the learned policy.

    Raises:
        ValueError: none, or an entry that names no heuristic of the game, or options that it refuses.
    """
    wanted = policy if isinstance(policy, list) else [policy or LEARNED]
    if not wanted:
        raise ValueError("policy is empty; it must be learned, a heuristic, or a list of these")
    for entry in wanted:
        if entry != LEARNED:
            build.heuristic(entry, "policy", scenario.entry.heuristics)
    return wanted


def learned(settings: Any, scenario: Scenario, located: checkpoint.Location | None) -> Policy:
    """The learned policy of a run, that of the training seed `seed_index`, in the first way of `evaluation.actions`.

    Raises:
        ValueError: no run was named, or no seed of that number.
    """
    if located is None:
        raise ValueError(f"checkpoint is not given; it must be where policy is {LEARNED} (a heuristic needs none)")
    greedy = settings.evaluation.actions[0] == "greedy"
    found = checkpoint.load_policies(located.folder, game=scenario.game, step=located.step, greedy=greedy)
    if not 0 <= settings.seed_index < len(found):
        raise ValueError(f"seed_index is {settings.seed_index}; it must be an integer in [0, {len(found) - 1}]")
    return found[settings.seed_index]


def policies(
    wanted: Sequence[Any], learned: Policy | None, scenario: Scenario, evaluation: Any, *, tune: bool
) -> list[Policy]:
    """Who the entries ask for; `tune` those heuristics that are named without options, as in the tables."""
    families = scenario.entry.heuristics
    untuned = {entry: find_family(families, entry) for entry in wanted if isinstance(entry, str) and entry != LEARNED}
    tuned: Mapping[str, Policy] = comparison.tuned(scenario, evaluation, untuned) if tune and untuned else {}

    def who(entry: Any) -> Policy:
        if entry == LEARNED:
            assert learned is not None
            return learned
        return tuned[entry] if isinstance(entry, str) and tune else build.heuristic(entry, "policy", families)

    return [who(entry) for entry in wanted]
