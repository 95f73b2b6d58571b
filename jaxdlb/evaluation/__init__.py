"""Plays policies in the same episodes, and says with intervals which is better.

`jaxdlb.evaluation.plots` draws what stands here; it is imported on its own, since it needs matplotlib.
"""

from jaxdlb.evaluation.comparison import Fresh
from jaxdlb.evaluation.results import to_csv, to_table_csv
from jaxdlb.evaluation.rollouts import columns_of, evaluate, evaluate_all, sums
from jaxdlb.evaluation.statistics import Estimate, crossed, estimate, paired_difference
from jaxdlb.evaluation.tables import (
    Evaluation,
    PolicyResult,
    compare,
    conclusion,
    from_json,
    to_json,
    to_markdown,
    to_text,
)
from jaxdlb.evaluation.tuning import Tuned, tune

__all__ = [
    "Estimate",
    "Evaluation",
    "Fresh",
    "PolicyResult",
    "Tuned",
    "columns_of",
    "compare",
    "conclusion",
    "crossed",
    "estimate",
    "evaluate",
    "evaluate_all",
    "from_json",
    "paired_difference",
    "sums",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_table_csv",
    "to_text",
    "tune",
]
