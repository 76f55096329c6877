"""Kubeflow components that run the steps; every body only imports and calls.

The components of `stated.py` follow from the steps' statements. The others join several steps in one pod, gather the
artifacts of a loop, or handle the pipeline's own run. A step's folder travels as an artifact. Data sets and CLIP
weights are large: they stay in place, and steps get their addresses. Lists and dictionaries travel as JSON text,
because kfp would turn the numbers in them into floats. kfp copies a body's source, so a body imports what it uses.
"""

from components.ops.data import evaluate_target, prepare, prepare_target
from components.ops.image import IMAGE, LIGHT_IMAGE
from components.ops.results import (
    ablation_report,
    compare_champions_with_accepted,
    compare_targets,
    compare_with_accepted,
    refuse_regression,
    report,
)
from components.ops.runs import close_run, find_champions, grid, open_run, take_champion, target_items

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
    "target_items",
]
