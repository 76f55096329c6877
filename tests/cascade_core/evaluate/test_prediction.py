"""Label maps from scores: inference modes, resizing, and going through a data set."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_core.config import EvalConfig
from cascade_core.data.datasets import Batch
from cascade_core.evaluate.prediction import label_maps, predictions, resized_best
from cascade_core.evaluate.sliding import slide

WHOLE = EvalConfig(mode="whole", short_side=None)
SLIDE = EvalConfig(mode="slide", short_side=None, crop_size=8, stride=6, batch_size=2)


def predict(images: Tensor) -> Tensor:
    """Three scores whose best class changes over the picture and over the window."""
    ramp = torch.linspace(-1, 1, images.shape[-1]).expand(images.shape[0], 1, *images.shape[-2:])
    return torch.cat([images[:, :1], images[:, 1:2] * ramp, images[:, 2:3] + ramp], dim=1)


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", [1, 5, 32, 33, 70])
def test_resizing_in_parts_equals_resizing_at_once(classes: int) -> None:
    scores = torch.randn(2, classes, 9, 12, generator=torch.Generator().manual_seed(classes))
    at_once = F.interpolate(scores, size=(21, 17), mode="bilinear", align_corners=False).argmax(dim=1)
    assert torch.equal(resized_best(scores, (21, 17))[1], at_once)


def test_the_first_of_equal_classes_wins_across_parts() -> None:
    scores = torch.ones(1, 40, 4, 4)
    assert int(resized_best(scores, (8, 8), classes_at_once=7)[1].max()) == 0


def test_whole_pictures_are_predicted_in_one_go() -> None:
    predicted = label_maps(predict, images(8, 10), evaluate=WHOLE, num_classes=3, size=(8, 10))
    assert torch.equal(predicted, predict(images(8, 10)).argmax(dim=1))


def test_sliding_predicts_each_picture_by_its_windows() -> None:
    pictures = images(10, 14)
    predicted = label_maps(predict, pictures, evaluate=SLIDE, num_classes=3, size=(20, 28))
    for picture, labels in zip(pictures, predicted, strict=True):
        scores = slide(predict, picture[None], crop=8, stride=6, num_classes=3)
        assert torch.equal(labels, resized_best(scores, (20, 28))[1][0])


def test_predictions_come_at_the_size_of_the_labels() -> None:
    batch = Batch(
        names=("a", "b"),
        images=images(8, 10),
        labels=torch.zeros(2, 16, 20, dtype=torch.long),
        padding=torch.zeros(2, 8, 10, dtype=torch.bool),
    )
    ((returned, predicted),) = predictions(
        predict, [batch], evaluate=WHOLE, num_classes=3, device=torch.device("cpu")
    )
    assert returned is batch
    assert predicted.shape == batch.labels.shape


def test_prediction_records_no_gradients() -> None:
    weight = torch.ones(1, requires_grad=True)
    recorded: list[bool] = []

    def predict_with_weight(pictures: Tensor) -> Tensor:
        scores = predict(pictures) * weight
        recorded.append(scores.requires_grad)
        return scores

    label_maps(predict_with_weight, images(8, 8), evaluate=WHOLE, num_classes=3, size=(8, 8))
    assert recorded == [False]
