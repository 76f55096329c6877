"""Default parameters of the Kubeflow pipelines; a submitted pipeline has no params.yaml.

A test holds them equal to `params.yaml`, which configures the workflow on a workstation.
"""

import json

from cascade_core.configs.settings import SelfTrainingMode
from components.results.margins import Margins
from components.results.regression import USUAL

PROTOCOL = "mini-18-6"
SPLIT, GATE_SPLIT = "test2", "val"
"""The split that is reported, and the one by which the gate compares."""
SELF_TRAINING: SelfTrainingMode = "oracle"
RECIPES = ["mini_zegclip", "mini_cascade_clip"]
SEEDS = [0, 1, 2]
SHARDS = 4
"""The parts of a list of pictures to predict."""
ABLATION_RECIPES = [
    "mini_cascade_clip",
    "mini_naive_fusion",
    "mini_zegclip",
    "mini_zegclip_no_prompts",
    "mini_zegclip_no_rd",
]
IMAGE_SETS = json.dumps({"train": "train", "val": "val", "test": "test", "test2": "test2"})
MARGINS = json.dumps(Margins().model_dump())
THRESHOLDS = json.dumps(USUAL.model_dump())
"""Kubeflow parameters with structure are JSON texts."""
