"""The content of a training-free model's checkpoint: a segmentor around CLIP's image tower, and its manifest."""

from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor


def training_free_model(tower: VisionTransformer, config: RunConfig) -> tuple[Segmentor, CheckpointManifest]:
    """Return the segmentor around a copy of CLIP's image tower, and its manifest, in which all classes are unseen."""
    segmentor = build_segmentor(config.model, tower, seed=config.seed).eval()
    classes = config.data.split.classes
    manifest = CheckpointManifest(
        config=config,
        setting="training_free",
        iteration=0,
        total_iterations=0,
        classes=classes,
        unseen=classes,
        provenance={"clip": "weights"},
    )
    return segmentor, manifest
