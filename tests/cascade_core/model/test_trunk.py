"""The trunk: the tokens that enter each block, and the features it returns."""

import pytest
import torch
import torch.nn.functional as F

from cascade_core.model.trunk import Trunk

from .small import CASCADE, segmentor

Blocks = list[torch.Tensor]


def _around_blocks(trunk: Trunk, images: torch.Tensor) -> tuple[Blocks, Blocks, Blocks]:
    """Record the tokens and the prompts that enter each block, and its outputs."""
    entered, prompts, left = [], [], []
    hooks = []
    for block in trunk.visual.blocks:

        def record(_: object, inputs: tuple[torch.Tensor, ...], outputs: torch.Tensor) -> None:
            entered.append(inputs[0])
            prompts.append(inputs[1])
            left.append(outputs)

        hooks.append(block.register_forward_hook(record))
    trunk(images)
    for hook in hooks:
        hook.remove()
    return entered, prompts, left


@torch.no_grad()
def test_prompts_are_replaced_before_every_block() -> None:
    trunk = segmentor().trunk
    entered, prompts, left = _around_blocks(trunk, torch.randn(2, 3, 32, 32))
    for index, tokens in enumerate(entered):
        assert tokens.shape == (2, 1 + 16, 16)
        torch.testing.assert_close(prompts[index], trunk.prompts.tokens(index, 2))
        assert not index or torch.equal(tokens, left[index - 1])


@torch.no_grad()
def test_prompts_enter_behind_the_first_norm() -> None:
    trunk = segmentor().trunk
    images = torch.randn(1, 3, 32, 32)
    entered, _, _ = _around_blocks(trunk, images)
    embedded, _ = trunk.visual.embed(images, class_embedding_count=2)
    assert torch.equal(entered[0], embedded)


@torch.no_grad()
def test_a_frozen_trunk_with_one_class_embedding_is_clip() -> None:
    """At CLIP's own picture size, so that the position grid is untouched."""
    model = segmentor(trunk="frozen", num_prompts=0, double_class_embedding=False, image_size=24)
    images = torch.randn(2, 3, 24, 24)
    features = model.trunk(images)
    expected = F.normalize(model.trunk.visual.encode_image(images), dim=-1)
    torch.testing.assert_close(features.global_embedding, expected)


@torch.no_grad()
def test_final_maps_go_through_the_prompts_norm_and_then_clip_s() -> None:
    trunk = segmentor().trunk
    images = torch.randn(1, 3, 32, 32)
    _, _, left = _around_blocks(trunk, images)
    final = trunk.visual.ln_post(trunk.prompts.prompt_norm(left[-1])) @ trunk.visual.proj
    features = trunk(images)
    torch.testing.assert_close(features.global_embedding, F.normalize(final[:, 0], dim=-1))
    torch.testing.assert_close(features.patches, F.normalize(final[:, -16:], dim=-1))


@torch.no_grad()
def test_tapped_blocks_return_patches_after_the_prompts_norm() -> None:
    trunk = segmentor(**CASCADE).trunk
    images = torch.randn(1, 3, 32, 32)
    _, _, left = _around_blocks(trunk, images)
    features = trunk(images)
    assert len(features.mid_tokens) == 3
    for block, tokens in enumerate(features.mid_tokens):
        torch.testing.assert_close(tokens, trunk.prompts.prompt_norm(left[block])[:, -16:])


@torch.no_grad()
def test_features_have_unit_length() -> None:
    features = segmentor().trunk(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(features.global_embedding.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(features.patches.norm(dim=-1), torch.ones(2, 16))


@pytest.mark.parametrize("height_width", [(32, 32), (40, 24), (37, 50)])
def test_the_grid_is_the_picture_in_whole_patches(height_width: tuple[int, int]) -> None:
    height, width = height_width
    features = segmentor().trunk(torch.randn(1, 3, height, width))
    assert features.grid == (height // 8, width // 8)
    assert features.patches.shape[1] == (height // 8) * (width // 8)


def test_only_the_prompts_of_a_trunk_train() -> None:
    trains = {name for name, parameter in segmentor().trunk.named_parameters() if parameter.requires_grad}
    assert trains == {
        f"prompts.{name}"
        for name in (
            "prompt_embeddings",
            "deep_prompt_embeddings",
            "prompt_proj.weight",
            "prompt_proj.bias",
            "prompt_norm.weight",
            "prompt_norm.bias",
        )
    }


def test_nothing_of_a_frozen_trunk_trains() -> None:
    trunk = segmentor(trunk="frozen", num_prompts=0).trunk
    assert not any(parameter.requires_grad for parameter in trunk.parameters())
