"""Estimates as people read them: no digit that the interval does not vouch for."""

import math

from jaxdlb.evaluation.statistics import Estimate


def mean_and_error(
    estimate: Estimate | None, signed: bool = False, most_decimals: int = 4, least_digits: int = 2
) -> tuple[str, str]:
    """The mean, and half of its interval ("" where there is none), with as many digits as the interval is good for.

    At most `most_decimals`, or, if that is more, as many of at most four as it takes to show the mean's `least_digits`.
    """
    if estimate is None or math.isnan(estimate.mean):
        return "–", ""
    half = estimate.half_width
    if not half > 0:
        return f"{estimate.mean:{'+' if signed else ''}.{min(most_decimals, 2)}f}" if estimate.mean else "0", ""
    lead = math.floor(math.log10(half))
    digits = 2 if half < 3 * 10**lead else 1  # one digit of an error beginning with 3 to 9 is exact enough
    decimals = min(max(digits - 1 - lead, 0), max(most_decimals, _for_digits(estimate.mean, least_digits)))
    shown = max(half, 10.0**-decimals)  # an error is never written as 0
    return f"{estimate.mean:{'+' if signed else ''}.{decimals}f}", f"{shown:.{decimals}f}"


def _for_digits(number: float, digits: int) -> int:
    """How many decimals it takes to show that many digits of a number, at most four."""
    return min(digits - 1 - math.floor(math.log10(abs(number))), 4) if number and digits else 0


def written(estimate: Estimate | None, signed: bool = False) -> str:
    """The mean ± half of its interval; – where there is nothing."""
    mean, error = mean_and_error(estimate, signed, most_decimals=4)
    return f"{mean} ± {error}" if error else mean
