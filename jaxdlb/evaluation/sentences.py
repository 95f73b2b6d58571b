"""The conclusion of an evaluation in sentences: who won in utility, and in what else the game is judged by."""

import math
from collections.abc import Iterable

from jaxdlb.evaluation import remarks
from jaxdlb.evaluation.numerals import written
from jaxdlb.evaluation.remarks import left_out, with_unit
from jaxdlb.evaluation.results import BoundResult, Evaluation, PolicyResult
from jaxdlb.evaluation.statistics import Estimate
from jaxdlb.game import Verdict

LEAST_FOR_QUARTILES = 4  # seeds: the interquartile mean of fewer is the mean
# By the outcome in utility: where nothing that is judged disagrees with it, and where something does.
_STANDING = {1: "beats", -1: "is beaten by", 0: "cannot be told apart from"}
_IN_UTILITY = {
    1: "is better in utility than",
    -1: "is worse in utility than",
    0: "cannot be told apart in utility from",
}


def conclusion(evaluation: Evaluation) -> str:
    """Who won, in a sentence for each learned policy that no other row speaks for: it, the best heuristic, or neither.

    Training seeds have one sentence together, that of the row over them. Where nobody is judged, there is none.
    The best heuristic is so by its utility; the heuristic that is furthest ahead of it in what else is judged, as in
    response time, has a sentence too.
    """
    if evaluation.best_heuristic is None:
        return ""
    sentences = [_verdict(result, evaluation) for result in (*evaluation.learned, *_ahead_elsewhere(evaluation))]
    return " ".join(sentences if evaluation.learned else [_leader(evaluation), *sentences])


def episodes(evaluation: Evaluation) -> str:
    """What was played, as in "64 episodes of 2,000 rounds, the first 200 left out"."""
    left_out = f", the first {evaluation.warmup:,.10g} left out"
    if evaluation.ended:
        return f"{evaluation.num_episodes:,} episodes, each to its own end{left_out if evaluation.warmup else ''}"
    length = f"{evaluation.num_rounds:,.10g}"
    each = f"of duration {length}" if evaluation.by_time else f"of {length} rounds"
    return f"{evaluation.num_episodes:,} episodes {each}{left_out}"


def about_seeds(evaluation: Evaluation) -> str:
    """What the interval of a row over training seeds covers, and its interquartile means; "" if there is no such row.

    Rows that another one speaks for, and what fewer than `LEAST_FOR_QUARTILES` seeds have, are left out.
    """
    if not evaluation.is_over_seeds:
        return ""
    covered = "The interval of a row over several seeds covers both which seeds trained and which episodes were played."
    speaking = [each for each in evaluation.results if each.part_of is None and each.num_seeds >= LEAST_FOR_QUARTILES]
    return " ".join([covered, *(_interquartile(each, evaluation) for each in speaking if each.interquartile)])


def _interquartile(result: PolicyResult, evaluation: Evaluation) -> str:
    """The interquartile means of what is judged, with both ends of their intervals, which need not be symmetric."""
    numbers = [
        _with_unit(name, f"{each.mean:.4g} [{each.low:.4g}, {each.high:.4g}]", evaluation)
        for name, each in result.interquartile.items()
        if name in _judged(result, evaluation)
    ]
    return f"Interquartile mean over the seeds, {result.name}: {', '.join(numbers)}."


def notes(evaluation: Evaluation) -> list[str]:
    """What to know besides the table: what it lacks, what went wrong, and what frames the policies, as far as known."""
    frame = limits(evaluation), about_gap(evaluation), price_of_staleness(evaluation)
    told = left_out(evaluation.columns[name][0] for name in evaluation.left_out), *warned(evaluation), *frame
    return [each for each in told if each]


def warned(evaluation: Evaluation) -> list[str]:
    """A sentence for each column that ought to be 0 for all policies, and is not."""
    warnings = {name: (evaluation.columns[name][0], warning) for name, warning in evaluation.warnings.items()}
    return remarks.warned(warnings, ((result.name, means(result)) for result in evaluation.results))


def means(result: PolicyResult) -> dict[str, float]:
    """By column."""
    return {name: each.mean for name, each in result.columns.items()}


def about_gap(evaluation: Evaluation) -> str:
    """From where to where the gap is measured; "" if there is none."""
    gap = evaluation.gap
    return "" if gap is None else f"The gap is that in utility from {gap.baseline}, 0%, to {gap.optimum}, 100%."


def limits(evaluation: Evaluation) -> str:
    """What no policy can do better than, in a sentence for each column with a bound; "" if there is none."""
    return " ".join(_limit(name, bound, evaluation) for name, bound in evaluation.bounds.items())


def price_of_staleness(evaluation: Evaluation) -> str:
    """What stale news costs a learner, beside the same learner with fresh news; "" if that was not asked for."""
    price = evaluation.staleness
    if price is None:
        return ""
    rows = {result.name: result for result in evaluation.results}
    stale, fresh = rows[price.of], rows[price.fresh]
    difference = price.differences["utility"]
    cost = written(Estimate(-difference.mean, -difference.high, -difference.low))
    numbers = f"utility {written(stale.columns['utility'])} against {written(fresh.columns['utility'])}"
    others = [_slowed(name, stale, fresh, evaluation) for name in evaluation.verdicts if name in price.differences]
    told = "; ".join([f"{numbers} of {fresh.name} in the same episodes with fresh news", *filter(None, others)])
    if difference.high < 0:
        return f"Stale news costs {stale.name} {cost} a round{_further(stale, fresh)}: {told}."
    if difference.low > 0:
        return f"{stale.name} ends above the same learner with fresh news, so that no price shows: {told}."
    return f"What stale news costs {stale.name}, {cost} a round, cannot be told apart from nothing: {told}."


def _further(stale: PolicyResult, fresh: PolicyResult) -> str:
    """By how much a utility is further from 0 than another, if both are below it."""
    ours, theirs = (each.columns["utility"].mean for each in (stale, fresh))
    return f" ({100 * (ours / theirs - 1):.0f}% further from 0)" if max(ours, theirs) < 0 else ""


def _slowed(name: str, stale: PolicyResult, fresh: PolicyResult, evaluation: Evaluation) -> str:
    """Both numbers of a column beside the utility and their paired difference; "" where there is none."""
    assert evaluation.staleness is not None
    difference, verdict = evaluation.staleness.differences[name], evaluation.verdicts[name]
    if math.isnan(difference.mean):
        return ""
    ours, theirs = stale.columns[name], fresh.columns[name]
    numbers = _with_unit(name, f"{written(ours)} against {written(theirs)}", evaluation)
    remark = _by_percent(ours, theirs, _sign(difference, verdict.lower_is_better), verdict)
    return f"{numbers}, {remark}, paired difference {written(difference, signed=True)}"


def _limit(name: str, bound: BoundResult, evaluation: Evaluation) -> str:
    """The bound of a column, whose it is, and how near the nearest policy comes to it."""
    label, _, unit = evaluation.columns[name][0].partition(", ")
    which = f"no policy {bound.binds}".rstrip()
    number = f"{written(bound.value)} {unit}".rstrip()
    side = "below" if bound.is_least else "above"
    told = f"{label[:1].upper()}{label[1:]}: {which} has a mean {side} {number}, that of {bound.of}"
    played = [each for each in evaluation.results if name in each.columns and each.kind != "fresh"]
    values = [(each.columns[name].mean, each.name) for each in played]
    known = [each for each in values if not math.isnan(each[0])]
    if not known:
        return f"{told}."
    nearest, who = min(known) if bound.is_least else max(known)
    return f"{told}; the nearest, {who}, has {_times(nearest, bound.value.mean)}."


def _times(mean: float, limit: float) -> str:
    """How a mean stands to its bound, as in "1.30 times as much"; the mean itself if there is no such ratio."""
    return f"{mean / limit:.2f} times as much" if mean * limit > 0 else f"{mean:.4g}"


def _leader(evaluation: Evaluation) -> str:
    best = evaluation.best
    numbers = [_with_unit(name, written(best.columns[name]), evaluation) for name in _judged(best, evaluation)]
    return f"The best heuristic is {best.name}: {', '.join(numbers)}."


def _verdict(result: PolicyResult, evaluation: Evaluation) -> str:
    """How a policy stands to the best heuristic by their paired differences, and in what these disagree."""
    outcomes = {name: _outcome(result, name, evaluation) for name in _judged(result, evaluation)}
    contrary = [name for name, outcome in outcomes.items() if outcome not in (0, outcomes["utility"])]
    standing = (_IN_UTILITY if contrary else _STANDING)[outcomes["utility"]]
    words = " and ".join(_remark(result, name, outcomes[name], evaluation) for name in contrary)
    but = f", but is {words}" if contrary else ""
    numbers = "; ".join(_comparison(result, name, outcome, evaluation) for name, outcome in outcomes.items())
    return f"{result.name} {standing} the best heuristic, {evaluation.best_heuristic}{but}: {numbers}."


def _judged(result: PolicyResult, evaluation: Evaluation) -> list[str]:
    """The columns that a policy is judged by: its utility, and what else there is a number for."""
    others = [name for name in evaluation.verdicts if name in result.differences]
    return ["utility", *(name for name in others if not math.isnan(result.differences[name].mean))]


def _outcome(result: PolicyResult, name: str, evaluation: Evaluation) -> int:
    """1 where a policy is better in a column than the best heuristic, −1 where worse, 0 where the interval holds 0."""
    is_cost = name in evaluation.verdicts and evaluation.verdicts[name].lower_is_better
    return _sign(result.differences[name], is_cost)


def _sign(difference: Estimate, lower_is_better: bool) -> int:
    """1 where a difference is for the better, −1 where for the worse, 0 where its interval holds 0."""
    higher = (difference.low > 0) - (difference.high < 0)
    return -higher if lower_is_better else higher


def _ahead_elsewhere(evaluation: Evaluation) -> Iterable[PolicyResult]:
    """Of each column judged beside the utility, the heuristic that is furthest ahead of the best one, if any is."""
    found = {}
    for name, verdict in evaluation.verdicts.items():
        ahead = [
            result
            for result in evaluation.results
            if result.kind == "heuristic" and name in result.differences and _outcome(result, name, evaluation) > 0
        ]
        for result in sorted(ahead, key=lambda each: each.columns[name].mean, reverse=not verdict.lower_is_better)[:1]:
            found[result.name] = result
    return found.values()


def _comparison(result: PolicyResult, name: str, outcome: int, evaluation: Evaluation) -> str:
    """Both numbers of a column, by how much they differ, and the paired difference, with their intervals."""
    ours, theirs = (each.columns[name] for each in (result, evaluation.best))
    numbers = _with_unit(name, f"{written(ours)} against {written(theirs)}", evaluation)
    remark = _remark(result, name, outcome, evaluation)
    paired = f"paired difference {written(result.differences[name], signed=True)}"
    return ", ".join(part for part in (numbers, remark, paired) if part)


def _with_unit(name: str, numbers: str, evaluation: Evaluation) -> str:
    """Numbers of a column with its name before and its unit behind, both from its header."""
    return with_unit(evaluation.columns[name][0], numbers)


def _remark(result: PolicyResult, name: str, outcome: int, evaluation: Evaluation) -> str:
    """By how much a policy differs from the best heuristic in a column, in words."""
    ours, theirs = (each.columns[name] for each in (result, evaluation.best))
    if name == "utility":
        return _closeness(ours, theirs, outcome)
    return _by_percent(ours, theirs, outcome, evaluation.verdicts[name])


def _closeness(ours: Estimate, theirs: Estimate, outcome: int) -> str:
    """Which utility is closer to 0 and how many times, if both are below it and can be told apart."""
    if outcome == 0 or max(ours.mean, theirs.mean) >= 0:
        return ""
    if outcome > 0:
        return f"{theirs.mean / ours.mean:.1f} times closer to 0"
    return f"{ours.mean / theirs.mean:.1f} times further from 0"


def _by_percent(ours: Estimate, theirs: Estimate, outcome: int, verdict: Verdict) -> str:
    """As in "18% slower": by the ratio of the means, if there is one."""
    if outcome == 0:
        return "not to be told apart"
    word = verdict.better if outcome > 0 else verdict.worse
    if not (ours.mean > 0 and theirs.mean > 0):
        return word
    percent = 100 * abs(ours.mean / theirs.mean - 1)
    if percent < 0.1:
        return f"less than 0.1% {word}"
    return f"{percent:,.0f}% {word}" if percent >= 10 else f"{percent:.2g}% {word}"
