"""A whole segmentor: sizes, classes as an input, precision."""

import pytest
import torch
import torch.nn.functional as F

from cascade_core.model.queries import ClassQuery
from cascade_core.model.segmentor import trainable_parameter_count

from .small import CASCADE, NAIVE, segmentor

COSINE = {"trunk": "frozen", "num_prompts": 0, "decoder": "cosine"}
KINDS = [{}, CASCADE, NAIVE, {"trunk": "frozen", "num_prompts": 0, "decoder": "linear"}, COSINE]


@pytest.mark.parametrize("changes", KINDS)
@torch.no_grad()
def test_masks_of_square_pictures_have_the_configured_size(changes: dict) -> None:
    for side in (32, 48, 35):
        assert segmentor(**changes)(torch.randn(2, 3, side, side), torch.randn(5, 12)).shape == (2, 5, 32, 32)


@torch.no_grad()
def test_masks_of_rectangular_pictures_have_the_picture_s_size() -> None:
    model = segmentor(**CASCADE)
    assert model(torch.randn(1, 3, 32, 50), torch.randn(5, 12)).shape == (1, 5, 32, 50)
    assert model.grid_logits(torch.randn(1, 3, 32, 50), torch.randn(5, 12)).shape == (1, 5, 4, 6)


@torch.no_grad()
def test_masks_may_have_the_picture_s_size_always() -> None:
    model = segmentor(**COSINE, mask_size="input")
    for size in ((48, 48), (35, 35), (32, 50)):
        assert model(torch.randn(2, 3, *size), torch.randn(5, 12)).shape == (2, 5, *size)


@torch.no_grad()
def test_the_cosine_decoder_has_a_temperature_and_no_weights() -> None:
    model = segmentor(**COSINE, temperature=7.0)
    assert trainable_parameter_count(model) == 0 and not list(model.decoder.parameters())
    images, vectors = torch.randn(1, 3, 32, 32), torch.randn(5, 12)
    patches = model.trunk(images).patches
    cosines = F.cosine_similarity(vectors[None, :, None], patches[:, None], dim=-1)
    torch.testing.assert_close(model.grid_logits(images, vectors).flatten(2), 7 * cosines)


@torch.no_grad()
def test_masks_are_grid_logits_upsampled_bilinearly() -> None:
    model, images, vectors = segmentor(), torch.randn(1, 3, 32, 32), torch.randn(5, 12)
    expected = F.interpolate(
        model.grid_logits(images, vectors), size=(32, 32), mode="bilinear", align_corners=False
    )
    assert torch.equal(model(images, vectors), expected)


@pytest.mark.parametrize("changes", KINDS)
@torch.no_grad()
def test_classes_may_be_permuted_or_left_out_at_call_time(changes: dict) -> None:
    model, images, vectors = segmentor(**changes), torch.randn(1, 3, 32, 32), torch.randn(6, 12)
    all_masks = model(images, vectors)
    torch.testing.assert_close(model(images, vectors[[3, 0]]), all_masks[:, [3, 0]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [*KINDS, {"query": "text"}])
@torch.no_grad()
def test_prepared_classes_give_the_same_masks_whole_and_in_parts(changes: dict) -> None:
    model, images, vectors = segmentor(**changes), torch.randn(2, 3, 32, 32), torch.randn(5, 12)
    prepared, expected = model.prepare(vectors), model.grid_logits(images, vectors)
    assert len(prepared) == 5
    assert torch.equal(model.grid_logits(images, prepared), expected)
    assert torch.equal(model(images, prepared), model(images, vectors))
    features = model.trunk(images)
    parts = [model.decode(features, prepared[first : first + 2]) for first in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_prepared_classes_skip_the_text_half(monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmentor(**CASCADE)
    prepared = model.prepare(torch.randn(5, 12))
    monkeypatch.delattr(ClassQuery, "text_terms")
    assert model.grid_logits(torch.randn(1, 3, 32, 32), prepared).shape == (1, 5, 4, 4)


def test_vectors_of_another_width_are_not_prepared() -> None:
    with pytest.raises(ValueError, match=r"\(5, 11\), expected \[classes, 12\]"):
        segmentor().prepare(torch.randn(5, 11))


@pytest.mark.parametrize("shape", [(5, 11), (12,), (1, 5, 12)])
def test_class_vectors_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        segmentor()(torch.randn(1, 3, 32, 32), torch.randn(shape))


def test_the_refusal_names_both_widths() -> None:
    with pytest.raises(ValueError, match=r"\(5, 11\), expected \[classes, 12\]"):
        segmentor()(torch.randn(1, 3, 32, 32), torch.randn(5, 11))


@pytest.mark.parametrize("changes", KINDS)
@torch.no_grad()
def test_masks_under_bfloat16_autocast_are_float32_and_close(changes: dict) -> None:
    model, images = segmentor(**changes), torch.randn(1, 3, 32, 32)
    vectors = F.normalize(torch.randn(5, 12), dim=-1)
    exact = model(images, vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(images, vectors)
    assert mixed.dtype == torch.float32
    assert (mixed - exact).abs().max() <= 0.1 * exact.abs().max() + 0.05


def test_trainable_parameters_are_counted_with_the_dead_ones() -> None:
    model = segmentor()
    by_hand = sum(p.numel() for p in model.parameters() if p.requires_grad)
    dead = sum(p.numel() for name, p in model.named_parameters() if "unused_" in name)
    assert trainable_parameter_count(model) == by_hand
    assert 0 < dead < by_hand
