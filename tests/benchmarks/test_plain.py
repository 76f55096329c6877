"""Evaluation against a plain version of the published computation: the same label maps and the same counts."""

from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import plain
from cascade_core.batches.samples import Batch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import Precision
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.ssim import ssim_loss
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.scoring.confusion import ConfusionMatrix
from tests.devices import ON_EACH_DEVICE
from tests.tiny import TINY_CLIP, tiny_config

CASCADE = tiny_config(mode="slide")
ZEGCLIP = CASCADE.model_copy(
    update={"model": CASCADE.model.model_copy(update={"fusion": "none", "groups": ()})}
)
SEEN, CLASSES, CROP = [0, 2, 3], 5, 32
ROUNDING: dict[Precision, float] = {"fp32": 1e-5, "bf16": 0.02}
METHODS = {"zegclip": ZEGCLIP, "cascade_clip": CASCADE}


@cache
def _model(method: str, device: torch.device) -> Segmentor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        segmentor = build_segmentor(METHODS[method].model, VisionTransformer(TINY_CLIP), seed=0)
    return segmentor.to(device).eval()


def _batch(rng: torch.Generator, image_size: tuple[int, int], labels: Tensor) -> Batch:
    images = torch.randn(len(labels), 3, *image_size, generator=rng)
    return Batch(("",) * len(labels), images, labels, torch.zeros(len(labels), *image_size, dtype=torch.bool))


def _labels(rng: torch.Generator, size: tuple[int, int]) -> Tensor:
    """Draw label maps of two pictures: one with ignored pixels and an absent class, one without labels."""
    ids = torch.randint(1, CLASSES + 1, size, generator=rng)
    return torch.stack([ids.masked_fill(ids == CLASSES, IGNORE), torch.full(size, IGNORE)])


def _counted(predicted: Tensor, truth: Tensor) -> Tensor:
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for row, column in zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if row != IGNORE:
            counts[row, column] += 1
    return counts


sides, sizes = st.integers(CROP, 91), st.integers(1, 70)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ROUNDING)
@ON_EACH_DEVICE
@settings(max_examples=12)
@given(
    image_size=st.tuples(sides, sides),
    size=st.tuples(sizes, sizes),
    at_once=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
@example(image_size=(32, 32), size=(7, 1), at_once=1, seed=0)
@example(image_size=(32, 50), size=(32, 50), at_once=2, seed=0)
@torch.no_grad()
def test_evaluation_predicts_the_published_label_maps(
    method: str,
    precision: Precision,
    device: torch.device,
    image_size: tuple[int, int],
    size: tuple[int, int],
    at_once: int,
    seed: int,
) -> None:
    model, rng = _model(method, device), torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(CLASSES, 16, generator=rng), dim=-1).to(device)
    batch = _batch(rng, image_size, _labels(rng, size))
    vocabulary = Vocabulary(model, vectors, "sigmoid", seen=SEEN, seen_penalty=0.1)
    evaluate = CASCADE.evaluate.model_copy(update={"precision": precision, "batch_size": at_once})
    ((moved, predicted),) = predictions(vocabulary, [batch], evaluate=evaluate)
    windows = {"seen": SEEN, "seen_penalty": 0.1, "size": size, "crop": CROP, "stride": 24}
    for image, labels in zip(moved.images.split(1), predicted.split(1), strict=True):
        published = plain.score_maps(model, image, vectors, **windows)
        best = published.gather(1, labels[:, None])[:, 0]
        # If two classes are equal up to rounding, either may win.
        torch.testing.assert_close(best, published.amax(dim=1), atol=ROUNDING[precision], rtol=0)
    confusion = ConfusionMatrix(CLASSES, device=device)
    confusion.update(predicted, moved.labels)
    assert torch.equal(confusion.counts, _counted(predicted, batch.labels))


def test_the_structural_loss_agrees_with_convolutions() -> None:
    rng = torch.Generator().manual_seed(0)
    grids, labels = torch.randn(2, CLASSES, 6, 6, generator=rng), _labels(rng, (80, 70))
    ours = ssim_loss(grids, labels, mask_size=(80, 70), ignored_as_negative=[True, True])
    torch.testing.assert_close(ours, plain.structural_loss(grids, labels), rtol=1e-4, atol=1e-5)
