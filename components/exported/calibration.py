"""The inputs that calibrate an int8 graph: windows of the user's pictures, as evaluation cuts them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cascade_core.configs.config import EvalConfig
from cascade_core.data.pictures import read_image
from cascade_core.engines.check import Inputs
from cascade_core.inference.views import Picture, View
from cascade_core.inference.vocabulary import Vocabulary
from components.pictures.picture_files import picture_files


def calibration_pictures_in(folder: Path, most: int, *, out: Path) -> list[Path]:
    """Return at most `most` pictures below a folder, evenly spread over it; those in `out` do not count.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    paths = [picture.path for picture in picture_files([folder], out=out)]
    return [paths[i * len(paths) // most] for i in range(most)] if len(paths) > most else paths


def calibration_inputs(
    pictures: Sequence[Path], vocabulary: Vocabulary, evaluate: EvalConfig
) -> list[Inputs]:
    """Read the pictures as the model sees them: whole, or the middle window of each.

    Raises:
        UserError: a picture is not readable.
    """
    patch = vocabulary.segmentor.config.clip.patch_size
    vectors, penalties = (tensor.cpu().numpy() for tensor in (vocabulary.class_vectors, vocabulary.penalties))
    return [(_window(read_image(path), evaluate, patch), vectors, penalties) for path in pictures]


def _window(picture: Picture, evaluate: EvalConfig, patch: int) -> np.ndarray:
    view = View()
    size = view.size(
        picture.shape[:2],
        short_side=evaluate.short_side,
        patch_size=2 * patch,
        keep_ratio=evaluate.keep_ratio,
    )
    levels = view.of(picture, size)
    if evaluate.mode != "whole":
        sides = [min(side, evaluate.crop_size) for side in size]
        top, left = ((side - own) // 2 for side, own in zip(size, sides, strict=True))
        levels = levels[top : top + sides[0], left : left + sides[1]]
    return levels.transpose(2, 0, 1)[None].astype(np.float32)
