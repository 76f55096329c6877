"""The mask head: memories, Gaussian weights, sums."""

import math

import pytest
import torch
import torch.nn.functional as F

from cascade_core.model.aggregation import gaussian_weights
from cascade_core.model.cascade import MidProjections

from .small import CASCADE, NAIVE, segmentor


def test_gaussian_weights_are_the_published_three() -> None:
    expected = [math.exp(-2), math.exp(-0.5), 1.0]
    assert gaussian_weights(3).tolist() == pytest.approx(expected)
    assert expected == pytest.approx([0.135335, 0.606531, 1.0], abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_gaussian_weights_rise_to_one_at_the_last_level(count: int) -> None:
    weights = gaussian_weights(count)
    assert weights[-1] == 1
    assert torch.all(weights.diff() > 0)


def test_middle_maps_are_norm_then_projection_then_unit_length() -> None:
    torch.manual_seed(0)
    mid = MidProjections(2, 6, 4)
    tokens = (torch.randn(1, 3, 6), torch.randn(1, 3, 6))
    for level, patches in enumerate(mid(tokens)):
        expected = mid.norms[level](tokens[level]) @ mid.projections[level]
        torch.testing.assert_close(patches, F.normalize(expected, dim=-1))


@torch.no_grad()
def test_memories_are_weighted_group_sums_and_the_last_map() -> None:
    model = segmentor(**CASCADE)
    model.decoder.group_weights[0].copy_(torch.tensor([0.3, -0.7]))
    features = model.trunk(torch.randn(2, 3, 32, 32))
    levels = model.decoder.mid(features.mid_tokens)
    first, second, last = model.decoder.memories(features)
    torch.testing.assert_close(first, 0.3 * levels[0] - 0.7 * levels[1])
    torch.testing.assert_close(second, levels[2])
    assert last is features.patches


@torch.no_grad()
def test_naive_fusion_sums_all_levels_with_equal_weights() -> None:
    model = segmentor(**NAIVE)
    features = model.trunk(torch.randn(2, 3, 32, 32))
    (memory,) = model.decoder.memories(features)
    torch.testing.assert_close(memory, sum(model.decoder.mid(features.mid_tokens)) + features.patches)
    assert len(model.decoder.stages) == 1
    assert not list(model.decoder.group_weights)


@torch.no_grad()
def test_without_groups_the_memory_is_the_last_map() -> None:
    model = segmentor()
    features = model.trunk(torch.randn(1, 3, 32, 32))
    assert model.decoder.memories(features) == [features.patches]
    assert model.decoder.mid is None


@torch.no_grad()
def test_masks_of_the_stages_are_summed_not_averaged() -> None:
    model, vectors = segmentor(**CASCADE), torch.randn(4, 12)
    features = model.trunk(torch.randn(1, 3, 32, 32))
    parts = []
    for stage, memory in zip(model.decoder.stages, model.decoder.memories(features), strict=True):
        queries = stage.query(features.global_embedding, vectors, stage.query.text_terms(vectors))
        parts.append(stage.decoder(queries, memory, features.grid))
    assert len(parts) == 3
    torch.testing.assert_close(model.decoder(features, vectors), parts[0] + parts[1] + parts[2])


def test_the_decoders_of_a_cascade_start_different() -> None:
    first, second, third = (
        stage.decoder.layers[0].linear1.weight for stage in segmentor(**CASCADE).decoder.stages
    )
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_group_weights_train() -> None:
    assert all(weights.requires_grad for weights in segmentor(**CASCADE).decoder.group_weights)
