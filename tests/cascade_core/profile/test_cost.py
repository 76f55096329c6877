"""Counts of the profile, compared with sums by hand and the papers' figures."""

import pytest
import torch

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe, recipe_names
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.profile.cost import multiply_adds, multiply_adds_by_part, parameters


def on_meta(config: RunConfig) -> Segmentor:
    """Build a full-size model on the meta device."""
    with torch.device("meta"):
        return build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)


def norms_and_upsampling(config: RunConfig, num_classes: int) -> float:
    """Return what the authors' counter adds, in billions: 5 per normalised element, 4 per upsampled one, twice.

    It also counts operations that this project omits: those on prompt tokens as queries in a block (queries,
    attention, output and perceptron), CLIP's projection of them, and the mapping of all patches to keys in the last
    decoder layer, which maps the classes' queries here.
    """
    clip, prompts = config.model.clip, config.model.num_prompts
    patches = (config.model.image_size // clip.patch_size) ** 2
    tokens = 1 + prompts + patches
    normalised = (1 + patches + (2 * clip.layers + 2) * tokens) * clip.width
    normalised += 2 * (config.model.decoder_layers - 1) * num_classes * clip.embed_dim
    upsampled = 2 * num_classes * config.model.image_size**2
    of_prompts = clip.layers * (10 * clip.width**2 + 2 * tokens * clip.width) + clip.width * clip.embed_dim
    of_keys = (patches - num_classes) * clip.embed_dim**2 - num_classes * clip.embed_dim
    return (5 * normalised + 4 * upsampled + prompts * of_prompts + of_keys) / 1e9


@pytest.mark.parametrize(
    ("name", "num_classes", "published"), [("zegclip_voc12", 20, 110.4), ("zegclip_cocostuff", 171, 123.9)]
)
def test_the_published_figure_is_ours_with_norms_and_upsampling(
    name: str, num_classes: int, published: float
) -> None:
    config = recipe(name)
    ours = multiply_adds(on_meta(config), image_size=512, num_classes=num_classes)["total"]
    assert ours < published
    assert round(ours + norms_and_upsampling(config, num_classes), 1) == published


def test_parts_sum_to_the_total_and_the_trunk_grows_with_prompts() -> None:
    parts = multiply_adds(on_meta(recipe("mini_cascade_clip")), image_size=64, num_classes=24)
    assert parts["total"] == pytest.approx(parts["trunk"] + parts["decoder"])
    frozen = multiply_adds(on_meta(recipe("mini_zegclip_no_prompts")), image_size=64, num_classes=24)
    prompted = multiply_adds(on_meta(recipe("mini_zegclip")), image_size=64, num_classes=24)
    assert frozen["trunk"] < prompted["trunk"]
    assert frozen["decoder"] == prompted["decoder"]


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("mini_")])
def test_every_method_is_counted_without_its_weights(name: str) -> None:
    config = recipe(name)
    parts = multiply_adds(on_meta(config), image_size=64, num_classes=24, num_templates=3)
    assert parts["trunk"] > 0 and parts["decoder"] > 0


def test_a_linear_map_costs_its_two_products() -> None:
    parts = multiply_adds(on_meta(recipe("mini_linear")), image_size=64, num_classes=24)
    assert parts["decoder"] == pytest.approx((64 * 64 * 64 + 24 * 64 * 64) / 1e9)


def test_parts_sum_to_the_multiply_adds_of_the_whole() -> None:
    model, images, vectors = on_meta(recipe("cascade_voc12")), (1, 3, 512, 512), (20, 512)
    parts = multiply_adds_by_part(
        model, torch.empty(images, device="meta"), torch.empty(vectors, device="meta")
    )
    whole = multiply_adds(model, image_size=512, num_classes=20)["total"]
    assert sum(parts.values()) == pytest.approx(whole)
    assert parts["patch embedding"] == pytest.approx(1024 * 768 * 3 * 16**2 / 1e9)
    assert parts["mid projections"] == pytest.approx(6 * 1024 * (768 + 1) * 512 / 1e9)
    assert parts["feed-forward"] > parts["decoders"] > parts["norms"] == 0


def test_counting_allocates_nothing_and_moves_no_weights() -> None:
    config = recipe("mini_zegclip")
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    multiply_adds(segmentor, image_size=64, num_classes=24)
    assert {parameter.device.type for parameter in segmentor.parameters()} == {"cpu"}


def test_dead_weights_are_those_without_gradient() -> None:
    config = recipe("mini_cascade_clip")
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    segmentor(torch.randn(1, 3, 64, 64), torch.randn(24, 64)).sum().backward()
    trained = [parameter for parameter in segmentor.parameters() if parameter.requires_grad]
    counted = parameters(segmentor)
    assert counted.dead == sum(parameter.numel() for parameter in trained if parameter.grad is None) > 0
    assert counted.trainable == sum(parameter.numel() for parameter in trained) < counted.total
