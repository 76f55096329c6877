"""The steps as Kubeflow components, in this package's image: each body only runs its step.

Those of `stated.py` follow from the steps' statements; the others join several steps in one pod, gather what loops
have made, or are about a pipeline's own run. What a step makes travels as an artifact; data sets and CLIP weights,
which are large, stay where they lie, and steps get their addresses. What has structure travels as JSON text, because
numbers in lists and dictionaries would arrive as floats. Bodies run in an interpreter of their own, so they import
what they use.
"""

from components.ops.champions import find_champions, take_champion
from components.ops.data import prepare, prepare_target
from components.ops.image import IMAGE, LIGHT_IMAGE
from components.ops.results import (
    ablation_report,
    compare_champions_with_accepted,
    compare_targets,
    compare_with_accepted,
    refuse_regression,
    report,
)
from components.ops.runs import close_run, grid, open_run, told
from components.ops.scoring import evaluate_target

__all__ = [
    "IMAGE",
    "LIGHT_IMAGE",
    "ablation_report",
    "close_run",
    "compare_champions_with_accepted",
    "compare_targets",
    "compare_with_accepted",
    "evaluate_target",
    "find_champions",
    "grid",
    "open_run",
    "prepare",
    "prepare_target",
    "refuse_regression",
    "report",
    "take_champion",
    "told",
]
