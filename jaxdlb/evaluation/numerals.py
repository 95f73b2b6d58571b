"""Estimates as people read them: no digit that the interval does not vouch for."""

import math

from jaxdlb.evaluation.statistics import Estimate


def mean_and_error(estimate: Estimate | None, signed: bool = False, most_decimals: int = 4) -> tuple[str, str]:
    """The mean, and half of its interval ("" where there is none), with as many digits as the interval is good for."""
    if estimate is None or math.isnan(estimate.mean):
        return "–", ""
    half = estimate.half_width
    if not half > 0:
        return f"{estimate.mean:{'+' if signed else ''}.{min(most_decimals, 2)}f}" if estimate.mean else "0", ""
    lead = math.floor(math.log10(half))
    digits = 2 if half < 3 * 10**lead else 1  # one digit of an error beginning with 3 to 9 is exact enough
    decimals = min(max(digits - 1 - lead, 0), max(most_decimals, _for_two_digits(estimate.mean)))
    shown = max(half, 10.0**-decimals)  # an error is never written as 0
    return f"{estimate.mean:{'+' if signed else ''}.{decimals}f}", f"{shown:.{decimals}f}"


def _for_two_digits(number: float) -> int:
    """How many decimals it takes to show two digits of a number, were it written without an exponent."""
    return 1 - math.floor(math.log10(abs(number))) if number else 0


def written(estimate: Estimate | None, signed: bool = False) -> str:
    """The mean ± half of its interval; – where there is nothing."""
    mean, error = mean_and_error(estimate, signed, most_decimals=4)
    return f"{mean} ± {error}" if error else mean
