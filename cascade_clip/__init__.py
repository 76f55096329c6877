"""The public Python API for zero-shot semantic segmentation with ZegCLIP and Cascade-CLIP (docs/python.md).

These names are stable; everything else may move. Serving code in a registered version imports only this package.
"""

from cascade_clip.models import Predictor, evaluate, load
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.recipes import recipe, recipe_names
from cascade_core.data.picture_names import FORMATS
from cascade_core.data.pictures import decode_image
from cascade_core.errors import UserError
from cascade_core.inference.prediction import MAX_LABELS, ClassArea, Prediction
from cascade_core.model.segmentor import Segmentor
from cascade_core.predictor import eval_settings
from cascade_core.scoring.scores import Scores
from cascade_core.shipped.contents import example_pictures

PICTURE_FORMATS = tuple(FORMATS)
"""The formats of pictures that every reader decodes, by Pillow's names."""

__all__ = [
    "MAX_LABELS",
    "PICTURE_FORMATS",
    "CheckpointManifest",
    "ClassArea",
    "Prediction",
    "Predictor",
    "Scores",
    "Segmentor",
    "UserError",
    "decode_image",
    "eval_settings",
    "evaluate",
    "example_pictures",
    "load",
    "recipe",
    "recipe_names",
]
