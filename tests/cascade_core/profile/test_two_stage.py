"""The two-stage baseline labels toy pictures."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cascade_core.clip.vision import VisionTransformer
from cascade_core.profile.two_stage import (
    LOGIT_SCALE,
    CropClassifier,
    JoinedMasks,
    RegionCrops,
    Regions,
    TwoStage,
)
from tests.tiny import TINY_CLIP


class FixedProposals(nn.Module):
    """Return the same masks for every picture."""

    def __init__(self, masks: Tensor) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, image: Tensor) -> Tensor:
        return self.masks


@pytest.fixture(scope="module")
def visual() -> VisionTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisionTransformer(TINY_CLIP).eval()


def halves() -> tuple[Tensor, Tensor]:
    """Return a picture of two noisy halves, and their masks."""
    left = torch.zeros(24, 32, dtype=torch.bool)
    left[:, :20] = True
    noise = torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(0))
    return noise + torch.where(left, 4.0, -4.0), torch.stack([left, ~left])


@given(
    count=st.sampled_from([1, 2, 6, 7]),
    height=st.integers(5, 40),
    width=st.integers(5, 40),
    seed=st.integers(0, 9),
)
def test_every_pixel_is_in_exactly_one_region(count: int, height: int, width: int, seed: int) -> None:
    image = torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))
    masks = Regions(count, stride=3)(image)
    assert masks.shape == (count, height, width)
    assert (masks.sum(dim=0) == 1).all()


def test_regions_of_a_flat_picture_are_a_grid() -> None:
    masks = Regions(6)(torch.zeros(3, 32, 48))
    expected = torch.arange(2).repeat_interleave(16)[:, None] * 3 + torch.arange(3).repeat_interleave(16)
    assert torch.equal(masks.int().argmax(dim=0), expected)


def test_regions_follow_colours() -> None:
    image, masks = halves()
    regions = Regions(2, stride=1)(image)
    assert torch.equal(regions, masks) or torch.equal(regions, masks.flip(0))


def test_a_crop_is_its_region_only_at_clip_s_size() -> None:
    image = torch.arange(3 * 4 * 6, dtype=torch.float32).reshape(3, 4, 6)
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    mask[0, 1:3, 2:4] = True
    mask[0, 1, 2] = False
    crop = RegionCrops(2)(image, mask)[0]
    expected = image[:, 1:3, 2:4].clone()
    expected[:, 0, 0] = 0
    assert torch.equal(crop, expected)


def test_crops_are_classified_as_clip_classifies_pictures(visual: VisionTransformer) -> None:
    crops, vectors = torch.randn(40, 3, 32, 32), torch.randn(5, 16)
    with torch.no_grad():
        probabilities = CropClassifier(visual)(crops, vectors)
        for crop, row in zip(crops[::13], probabilities[::13], strict=True):
            cosine = F.cosine_similarity(visual.encode_image(crop[None]), vectors)
            torch.testing.assert_close(row, (LOGIT_SCALE * cosine).softmax(dim=0), rtol=1e-4, atol=1e-5)


def test_overlapping_masks_add_their_scores() -> None:
    probabilities = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    masks = torch.tensor([[[True, True, False, False]], [[False, True, True, False]]])
    scores = JoinedMasks()(probabilities, masks)
    assert torch.equal(scores[0, 0], torch.tensor([0.75, 1.25, 0.5, 0.0]))
    assert torch.equal(scores[1, 0], torch.tensor([0.25, 0.75, 0.5, 0.0]))


def test_each_region_gets_the_class_of_its_crop_s_vector(visual: VisionTransformer) -> None:
    image, masks = halves()
    model = TwoStage(visual, FixedProposals(masks)).eval()
    with torch.no_grad():
        vectors = visual.encode_image(model.crops(image, masks))
        scores = model(image[None], vectors)
    assert torch.equal(scores.argmax(dim=1)[0], (~masks[0]).long())
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(1, 24, 32))


def test_pictures_of_a_batch_are_labelled_independently(visual: VisionTransformer) -> None:
    model, vectors = TwoStage(visual, Regions(4)).eval(), torch.randn(3, 16)
    pictures = torch.randn(2, 3, 32, 24)
    with torch.no_grad():
        batched = model(pictures, vectors)
        single = [model(picture[None], vectors)[0] for picture in pictures]
    torch.testing.assert_close(batched, torch.stack(single))


def test_empty_proposals_label_nothing(visual: VisionTransformer) -> None:
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    scores = TwoStage(visual, FixedProposals(masks))(torch.randn(1, 3, 16, 16), torch.randn(4, 16))
    assert torch.equal(scores, torch.zeros(1, 4, 16, 16))
