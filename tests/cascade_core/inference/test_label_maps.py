"""Label maps of batches, and prefetching."""

import threading
from collections.abc import Iterator

import pytest
import torch

from cascade_core.batches.prefetch import prefetch
from cascade_core.batches.samples import Batch
from cascade_core.configs.config import EvalConfig
from cascade_core.inference.label_maps import label_maps, predictions
from tests.pixel_segmentor import pixels

WHOLE = EvalConfig(mode="whole", short_side=None)
SLIDE = EvalConfig(mode="slide", short_side=None, crop_size=8, stride=6, batch_size=2)


def images(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("evaluate", [WHOLE, SLIDE], ids=["whole", "slide"])
def test_the_highest_logit_wins_without_resizing(evaluate: EvalConfig) -> None:
    labels = label_maps(pixels(), images(10, 14), evaluate=evaluate, size=(10, 14))
    assert torch.equal(labels, images(10, 14).argmax(dim=1))


def test_predictions_come_at_the_size_of_the_labels() -> None:
    batch = Batch(
        names=("a", "b"),
        images=images(8, 10),
        labels=torch.zeros(2, 16, 20, dtype=torch.long),
        padding=torch.zeros(2, 8, 10, dtype=torch.bool),
    )
    ((returned, predicted),) = predictions(pixels(), [batch], evaluate=WHOLE)
    assert returned.names == batch.names and torch.equal(returned.labels, batch.labels)
    assert predicted.shape == batch.labels.shape


def test_prefetching_keeps_the_order() -> None:
    made, third = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    reading = prefetch(items())
    assert next(reading) == 0
    assert third.wait(timeout=30)
    assert list(reading) == [1, 2, 3, 4] and made == list(range(5))


def test_an_error_is_raised_in_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no such picture")

    reading = prefetch(items())
    assert next(reading) == 1
    with pytest.raises(ValueError, match="no such picture"):
        next(reading)


def test_prefetching_ends_with_its_reader() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    reading = prefetch(items(), depth=2)
    assert next(reading) == 0
    reading.close()
    assert len(made) <= 4 and list(prefetch([])) == []
