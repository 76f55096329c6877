"""Labels of a picture block by block are those of the whole picture."""

import numpy as np
import pytest
import torch

from cascade_core.configs.config import EvalConfig
from cascade_core.errors import UserError
from cascade_core.inference import blocks
from cascade_core.inference.blocks import BlockLabeller
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.tiles import Span
from cascade_core.inference.views import Picture, views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import parse_background
from tests.cascade_core.model.small import CASCADE, segmentor

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SLIDE = EvalConfig(mode="slide", short_side=None, crop_size=32, stride=20, batch_size=4)


def vocabulary(num_classes: int = 6) -> Vocabulary:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(num_classes, 12), dim=-1)
    return Vocabulary(segmentor(**CASCADE), vectors, "sigmoid", seen=[0, 1, 2], seen_penalty=0.02)


def picture(height: int, width: int) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "evaluate",
    [
        SLIDE,
        SLIDE.model_copy(update={"background": parse_background("threshold=0.6")}),
        SLIDE.model_copy(update={"average": "logits"}),
    ],
    ids=["dropped", "threshold", "logits"],
)
def test_blocks_give_the_labels_of_the_whole_picture(
    evaluate: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SIDE", 45)
    model, whole = vocabulary(), picture(118, 95)
    expected, expected_confidence = label_photographs(
        model, [whole], views=views(), evaluate=evaluate, mean=MEAN, std=STD
    )
    labeller = BlockLabeller(model, (118, 95), evaluate, MEAN, STD)
    areas: list[tuple[Span, Span]] = []

    def read(rows: Span, columns: Span) -> Picture:
        areas.append((rows, columns))
        return whole[slice(*rows), slice(*columns)]

    ids, confidence = np.full((118, 95), -9), np.zeros((118, 95))
    for rows, columns in labeller:
        block = labeller.label(rows, columns, read)
        ids[slice(*rows), slice(*columns)] = block.ids
        confidence[slice(*rows), slice(*columns)] = block.confidence
    assert len(areas) == len(labeller.rows()) * len(labeller.columns()) == 9
    assert max(last - first for area in areas for first, last in area) <= 40 + 2 * 32
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_allclose(confidence, expected_confidence[0], atol=1e-5)


def test_what_needs_the_whole_picture_is_refused() -> None:
    with pytest.raises(UserError, match="refine='pamr' needs the whole picture"):
        BlockLabeller(vocabulary(), (64, 64), SLIDE.model_copy(update={"refine": "pamr"}), MEAN, STD)
    with pytest.raises(UserError, match="5 x 64 pixels, less than a patch"):
        BlockLabeller(vocabulary(), (64, 5), SLIDE, MEAN, STD)
