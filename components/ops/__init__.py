"""The steps as Kubeflow components: each body only calls `components.<step>.run()`, in this package's image.

What a step makes travels as an artifact; data sets and CLIP weights, which are large, stay where they lie, and
steps get their addresses. What has structure travels as JSON text, because numbers in lists and dictionaries
would arrive as floats. Bodies run in an interpreter of their own, so they import what they use.
"""

from components.ops.champions import find_champions, gate, register, take_champion
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
from components.ops.scoring import evaluate, evaluate_target, profile
from components.ops.training import self_train, train

__all__ = [
    "IMAGE",
    "LIGHT_IMAGE",
    "ablation_report",
    "close_run",
    "compare_champions_with_accepted",
    "compare_targets",
    "compare_with_accepted",
    "evaluate",
    "evaluate_target",
    "find_champions",
    "gate",
    "grid",
    "open_run",
    "prepare",
    "prepare_target",
    "profile",
    "refuse_regression",
    "register",
    "report",
    "self_train",
    "take_champion",
    "told",
    "train",
]
