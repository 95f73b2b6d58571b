"""Plays policies in the same episodes, and says with intervals which is better.

`jaxdlb.evaluation.plots` draws what stands here; it is imported on its own, since it needs matplotlib.
"""

from jaxdlb.evaluation.rollouts import Recording, evaluate, evaluate_all, record
from jaxdlb.evaluation.statistics import Estimate, estimate, paired_difference
from jaxdlb.evaluation.tables import (
    COLUMNS,
    Evaluation,
    PolicyResult,
    compare,
    conclusion,
    from_json,
    to_json,
    to_markdown,
    to_text,
)
from jaxdlb.evaluation.tuning import contenders, tune

__all__ = [
    "COLUMNS",
    "Estimate",
    "Evaluation",
    "PolicyResult",
    "Recording",
    "compare",
    "conclusion",
    "contenders",
    "estimate",
    "evaluate",
    "evaluate_all",
    "from_json",
    "paired_difference",
    "record",
    "to_json",
    "to_markdown",
    "to_text",
    "tune",
]
