"""CAT-Seg's decoder against loops, and what must hold of it: order of classes, padding, best classes, windows, gradients."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from cascade_core.clip.dense import dense_tokens
from cascade_core.clip.text import TextTransformer
from cascade_core.clip.transformer import ResidualBlock
from cascade_core.clip.vision import VisionTransformer, resize_position_grid
from cascade_core.configs.cat_seg import LAST_BLOCK
from cascade_core.configs.config import OptimConfig
from cascade_core.configs.model import LastBlock
from cascade_core.configs.recipes import recipe
from cascade_core.engines.graph import Exportable
from cascade_core.errors import UserError
from cascade_core.model.aggregator import attention_mask, window_of
from cascade_core.model.build import build_segmentor
from cascade_core.model.cost_aggregation import DROPPED, CostDecoder
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor, trainable_parameter_count
from cascade_core.train.optim import build_optimizer

from .cost_in_loops import logits_of, may_see
from .small import CAT_SEG, CLIP, COST, TUNED, config, segmentor, visual


def _model(layers: int = 1, **cost: Any) -> Segmentor:
    """Return a model whose padding tokens are not the zeros with which they start."""
    model = segmentor(**CAT_SEG | {"decoder_layers": layers, "cost": COST.model_copy(update=cost)})
    generator = torch.Generator().manual_seed(2)
    for name, weight in model.decoder.named_parameters():
        if "padding" in name:
            torch.nn.init.normal_(weight, generator=generator)
    return model


def _images(side: int = 32, width: int | None = None, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, side, width or side, generator=torch.Generator().manual_seed(6))


def _vectors(classes: int = 3) -> Tensor:
    return torch.randn(classes, 12, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
@pytest.mark.parametrize(
    ("size", "layers", "cost"),
    [
        ((32, 32), 1, {}),
        ((16, 16), 2, {"window": 1}),
        ((24, 40), 1, {}),  # windows reach over the border, and pooling meets an odd grid
        ((32, 32), 1, {"window": 6, "pooling": 1}),
    ],
)
def test_the_logits_are_those_of_the_loops(size: tuple[int, int], layers: int, cost: dict[str, int]) -> None:
    model = _model(layers, **cost).double()
    features, vectors = model.trunk(_images(*size, batch=1).double()), _vectors().double()
    expected = logits_of(model.decoder, features, vectors)
    torch.testing.assert_close(model.decode(features, vectors).flatten(2), expected, atol=1e-9, rtol=1e-7)


@torch.no_grad()
def test_maps_have_four_cells_along_a_patch() -> None:
    model = _model()
    assert model.grid_logits(_images(32, 24), _vectors()).shape == (2, 3, 16, 12)
    assert model.grid_of((32, 24)) == (16, 12)
    assert segmentor().grid_of((32, 24)) == (4, 3)


@torch.no_grad()
def test_the_order_of_the_classes_changes_nothing_else() -> None:
    model, vectors, order = _model(2), _vectors(5), [3, 0, 4, 1, 2]
    whole = model.grid_logits(_images(), vectors)
    torch.testing.assert_close(model.grid_logits(_images(), vectors[order]), whole[:, order])


@torch.no_grad()
def test_a_class_depends_on_the_others_and_says_so() -> None:
    model, vectors = _model(), _vectors(4)
    whole = model.grid_logits(_images(), vectors)
    assert not torch.allclose(model.grid_logits(_images(), vectors[:2]), whole[:, :2], atol=1e-3)
    assert model.coupled_classes and not segmentor().coupled_classes
    assert all(one.coupled_classes == one.config.couples_classes for one in (model, segmentor()))


@torch.no_grad()
@pytest.mark.parametrize("classes", [3, 7])
def test_a_picture_has_its_logits_in_any_batch(classes: int) -> None:
    """Neither the padding nor the choice of the best classes looks at the other pictures."""
    model, images, vectors = _model(), _images(batch=3), _vectors(classes)
    alone = torch.cat([model.grid_logits(image[None], vectors) for image in images])
    torch.testing.assert_close(model.grid_logits(images, vectors), alone)


@torch.no_grad()
def test_one_class_too_many_drops_the_one_with_the_lowest_peak() -> None:
    settings = CAT_SEG | {"cost": COST.model_copy(update={"class_tokens": 256})}
    model, vectors = segmentor(**settings), _vectors(257)
    images = _images(16)
    logits = model.grid_logits(images, vectors)
    dropped = (logits == DROPPED).all(dim=(2, 3))
    cosines = F.normalize(vectors, dim=-1) @ model.trunk(images).patches.mT
    assert dropped.sum(dim=1).tolist() == [1, 1] and (logits == DROPPED).sum() == 2 * 8 * 8
    assert dropped.long().argmax(dim=1).tolist() == cosines.amax(dim=-1).argmin(dim=1).tolist()
    picture = model.grid_logits(images[:1], vectors[~dropped[0]])
    torch.testing.assert_close(logits[:1, ~dropped[0]], picture)


@pytest.mark.parametrize("grid", [(8, 8), (7, 10), (12, 9)])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_mask_is_that_of_brute_force(grid: tuple[int, int], shifted: bool) -> None:
    side, shift = window_of(grid, 4, shifted=shifted)
    mask = attention_mask(grid, side, shift)
    whole = [-(-length // side) * side for length in grid]
    across = whole[1] // side
    if mask is None:
        assert not shift and list(grid) == whole
        return

    def token(place: tuple[int, int]) -> tuple[int, int]:
        row, column = ((own - shift) % length for own, length in zip(place, whole, strict=True))
        return row // side * across + column // side, row % side * side + column % side

    places = list(product(*map(range, grid)))
    for one, other in product(places, places):
        (window, first), (same, second) = token(one), token(other)
        seen = window == same and bool(mask[window, first, second])
        assert seen == may_see(grid, side, shift, one, other)
    assert mask.any(dim=-1).all(), "a softmax needs at least one key"


@pytest.mark.parametrize(("grid", "expected"), [((24, 24), (12, 6)), ((12, 12), (12, 0)), ((8, 30), (8, 0))])
def test_a_small_grid_has_windows_of_its_own_side(grid: tuple[int, int], expected: tuple[int, int]) -> None:
    assert window_of(grid, 12, shifted=True) == expected
    assert window_of(grid, 12, shifted=False) == (expected[0], 0)


@torch.no_grad()
def test_the_last_block_adds_the_class_token_to_every_value() -> None:
    block = visual().blocks[-1]
    assert isinstance(block, ResidualBlock)
    tokens = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    values = F.linear(block.ln_1(tokens), block.attn.in_proj_weight[32:], block.attn.in_proj_bias[32:])
    mixed = block.attn.out_proj(values) + tokens[:, :1]
    expected = mixed + block.mlp(block.ln_2(mixed))
    torch.testing.assert_close(dense_tokens(block, tokens, LAST_BLOCK, (2, 2)), expected)


@torch.no_grad()
def test_positions_are_resized_by_the_plain_bicubic_factor() -> None:
    table = torch.randn(1 + 9, 4, generator=torch.Generator().manual_seed(1))
    grid = table[1:].T.reshape(1, 4, 3, 3)
    expected = F.interpolate(grid, size=(5, 4), mode="bicubic", align_corners=False)
    resized = resize_position_grid(table, 5, 4, kind="bicubic_exact")
    torch.testing.assert_close(resized, torch.cat([table[:1], expected.flatten(2)[0].T]))


@torch.no_grad()
def test_the_trunk_keeps_the_lengths_of_patch_embeddings() -> None:
    trunk = _model().trunk
    features = trunk(_images())
    tokens, grid = trunk.visual.embed(_images())
    *blocks, last = trunk.visual.blocks
    for block in blocks:
        tokens = block(tokens)
    tokens = dense_tokens(last, tokens, LAST_BLOCK, grid)
    raw = trunk.visual.ln_post(tokens[:, 1:]) @ trunk.visual.proj
    torch.testing.assert_close(features.patches * features.lengths[..., None], raw)


def test_gradients_reach_the_whole_head_and_nothing_of_clip() -> None:
    model = _model(2).train()
    model.grid_logits(_images(), _vectors()).square().sum().backward()
    without = {
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    }
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert without == frozen == {name for name, _ in model.named_parameters() if name.startswith("trunk.")}
    assert not names_without_gradient(model)


def test_a_graph_is_refused_with_the_part_that_follows_the_size() -> None:
    with pytest.raises(UserError, match="mini_cat_seg_frozen has no graph: its parts SpatialBlock follow"):
        Exportable(_model(), recipe("mini_cat_seg_frozen"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost": {"width": 8}}, "needs decoder='cost_aggregation'"),
        (
            {**CAT_SEG, "cost": {**COST.model_dump(), "guide_blocks": (2, 3)}},
            r"within 0\.\.2 of a 4-block CLIP",
        ),
        ({**CAT_SEG, "cost": {**COST.model_dump(), "guide_blocks": (2, 0)}}, "in ascending order"),
        ({**CAT_SEG, "decoder_heads": 3}, "decoder_heads=3 must divide cost.width=8"),
        ({**CAT_SEG, "fusion": "naive", "groups": ((1,),)}, "reads the last map only"),
        ({**CAT_SEG, "trunk": "deep_prompts", "num_prompts": 1}, "gives patches only"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_a_residual_of_the_class_token_needs_a_residual() -> None:
    with pytest.raises(ValidationError, match="residual_of='class_token' needs residual=true"):
        LastBlock(residual=False, residual_of="class_token")


def _on_meta(name: str) -> CostDecoder:
    settings = recipe(name).model
    with torch.device("meta"):
        model = build_segmentor(settings, VisionTransformer(settings.clip), seed=0)
    assert isinstance(model.decoder, CostDecoder)
    assert trainable_parameter_count(model) == trainable_parameter_count(model.decoder)
    return model.decoder


def test_weights_at_full_size_are_those_of_the_formulas() -> None:
    width, embed, clip = 128, 512, 768
    square, guided, norm = width * width + width, 2 * width * width + width, 2 * width
    mlp = 8 * width * width + 5 * width
    spatial = 2 * guided + 2 * square + 2 * norm + mlp
    classes = 2 * guided + square + 2 * norm + mlp + 2 * width
    layer = norm + 2 * spatial + classes
    guides = 49 * width + width + 9 * embed * width + width + embed * width + width
    enlarged = clip * 256 * 4 + 256 + 9 * 256 * 32 + 32 + clip * 128 * 16 + 128 + 9 * 128 * 16 + 16
    doubled = [
        c * (c - g) * 4 + (c - g) + 9 * c * o + 9 * o * o + 4 * o for c, g, o in ((128, 32, 64), (64, 16, 32))
    ]
    total = guides + 2 * layer + enlarged + sum(doubled) + 9 * 32 + 1
    assert total == 4_668_641
    assert trainable_parameter_count(_on_meta("cat_seg_frozen_voc12")) == total
    assert recipe("cat_seg_frozen_cocostuff").model == recipe("cat_seg_frozen_voc12").model


def test_weights_of_the_mini_recipe_are_so_many() -> None:
    assert trainable_parameter_count(_on_meta("mini_cat_seg_frozen")) == 133_177


def test_another_backbone_has_guides_at_the_same_depth() -> None:
    assert recipe("cat_seg_frozen_voc12", {"clip": "ViT-L-14"}).model.cost.guide_blocks == (7, 15)


def _tuned(templates: int = 1) -> tuple[Segmentor, Tensor, Tensor]:
    """Return a tuned model, tokens of three classes, and the vectors that its text tower makes of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        text = TextTransformer(CLIP)
        tokens = torch.randint(1, CLIP.vocab_size - 1, (3, templates, CLIP.context_length))
    tokens[..., 3] = CLIP.vocab_size - 1  # the end; nothing after it counts
    settings = config(**CAT_SEG, **TUNED)
    model = build_segmentor(settings, visual(), seed=1, text=text).eval()
    with torch.no_grad():
        each = [F.normalize(text.encode_text(tokens[:, place]), dim=-1) for place in range(templates)]
        vectors = F.normalize(torch.stack(each).mean(dim=0), dim=-1)
    return model, tokens.float(), vectors


@torch.no_grad()
@pytest.mark.parametrize("templates", [1, 2])
def test_tokens_give_the_logits_of_their_vectors(templates: int) -> None:
    model, tokens, vectors = _tuned(templates)
    frozen = segmentor(**CAT_SEG)
    frozen.decoder.load_state_dict(model.decoder.state_dict())
    expected = frozen.grid_logits(_images(), vectors)
    torch.testing.assert_close(model.grid_logits(_images(), tokens), expected)
    prepared = model.prepare(tokens)
    torch.testing.assert_close(prepared.vectors, vectors)
    torch.testing.assert_close(model.grid_logits(_images(), prepared), expected)
    with pytest.raises(UserError, match=r"shape \(3, 12\), expected \[classes, templates, 5\]"):
        model.prepare(vectors)
    with pytest.raises(UserError, match="not ids of CLIP 'small', which has 9"):
        model.prepare(tokens + 1)


def test_gradients_reach_queries_and_values_of_both_towers() -> None:
    model, tokens, _ = _tuned()
    model.train()
    (maps,) = model.training_maps(_images(), tokens)
    maps.square().sum().backward()
    reached = {
        name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()
    }
    # The last block of the image tower keeps every token's own value: nothing reads its queries.
    queries = {f"trunk.visual.blocks.{block}.attn.query_weight" for block in range(3)}
    values = {f"trunk.visual.blocks.{block}.attn.value_weight" for block in range(4)}
    of_text = {f"text.blocks.0.attn.{part}_weight" for part in ("query", "value")}
    head = {f"decoder.{name}" for name, _ in model.decoder.named_parameters()}
    assert reached == queries | values | of_text | head
    assert reached == {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert not names_without_gradient(model)
    groups = build_optimizer(model, OptimConfig()).param_groups
    assert {group["name"]: (group["lr"], len(group["params"])) for group in groups} == {
        "decoder": (2e-4, len(head)),
        "clip": (2e-6, 9),
    }


def test_weights_that_train_at_full_size_count_both_towers() -> None:
    settings = recipe("cat_seg_voc12").model
    assert recipe("cat_seg_cocostuff").model == settings
    with torch.device("meta"):
        model = build_segmentor(settings, VisionTransformer(settings.clip), seed=0)
    assert trainable_parameter_count(model) == 4_668_641 + 23 * 768**2 + 24 * 512**2 == 24_526_049


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "tokens"}, "text='tokens' needs tuned='queries_values'"),
        ({**TUNED, "decoder": "optimal_transport"}, "use text='templates'"),
    ],
)
def test_tokens_need_a_text_tower_that_trains(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)
