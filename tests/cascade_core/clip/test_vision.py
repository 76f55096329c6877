"""The image tower, compared with definitions in loops and with open_clip's tower."""

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP

from cascade_core.clip.vision import VisionTransformer, bicubic, resize_position_grid
from cascade_core.clip.weights import ClipModel, clip_from_openai
from cascade_core.configs.model import ClipConfig
from tests.cascade_core.clip.reference import open_clip_model

CONFIG = ClipConfig(
    name="small",
    image_size=48,
    patch_size=16,
    width=32,
    layers=3,
    heads=4,
    embed_dim=24,
    text_width=16,
    text_layers=2,
    text_heads=2,
    context_length=9,
    vocab_size=30,
)


def _pair(config: ClipConfig) -> tuple[CLIP, ClipModel]:
    """Return open_clip's model with random weights, norms and biases included, and ours with the same weights."""
    torch.manual_seed(3)
    theirs = open_clip_model(config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return theirs, clip_from_openai(theirs.state_dict(), config)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_image_embeddings_equal_open_clip_s(activation: str) -> None:
    theirs, ours = _pair(CONFIG.model_copy(update={"activation": activation}))
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(
        ours.visual.encode_image(images), theirs.encode_image(images), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("side", [32, 80])
@torch.no_grad()
def test_only_the_position_grid_depends_on_the_picture_size(side: int) -> None:
    theirs, ours = _pair(CONFIG)
    resized = open_clip_model(CONFIG, image_size=side)
    grid = side // CONFIG.patch_size
    positions = resize_position_grid(theirs.visual.positional_embedding, grid, grid)
    resized.load_state_dict({**theirs.state_dict(), "visual.positional_embedding": positions})
    images = torch.randn(2, 3, side, side)
    torch.testing.assert_close(
        ours.visual.encode_image(images), resized.encode_image(images), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_text_embeddings_equal_open_clip_s(activation: str) -> None:
    theirs, ours = _pair(CONFIG.model_copy(update={"activation": activation}))
    end = CONFIG.vocab_size - 1
    tokens = torch.tensor([[1, 5, 7, end, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8, end]])
    torch.testing.assert_close(ours.text.encode_text(tokens), theirs.encode_text(tokens), atol=1e-5, rtol=0)


def test_the_two_activations_differ() -> None:
    images = torch.randn(1, 3, 48, 48)
    _, quick = _pair(CONFIG)
    exact = ClipModel(CONFIG.model_copy(update={"activation": "gelu"}))
    exact.load_state_dict(quick.state_dict())
    assert not torch.allclose(quick.visual.encode_image(images), exact.visual.encode_image(images), atol=1e-4)


def _bilinear(grid: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Interpolate a [rows, columns, width] grid bilinearly, with aligned pixel centres and repeated borders."""
    rows, columns, _ = grid.shape
    resized = torch.empty(height, width, grid.shape[2])
    for y in range(height):
        for x in range(width):
            row = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1)
            column = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1)
            top, left = int(row), int(column)
            down, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            v, h = row - top, column - left
            resized[y, x] = (1 - v) * ((1 - h) * grid[top, left] + h * grid[top, right]) + v * (
                (1 - h) * grid[down, left] + h * grid[down, right]
            )
    return resized


@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 5), (2, 2), (4, 7), (1, 9)])
def test_position_grids_are_interpolated_as_in_loops(height: int, width: int) -> None:
    positions = torch.randn(1 + 9, 4)
    resized = resize_position_grid(positions, height, width)
    assert torch.equal(resized[0], positions[0])
    expected = _bilinear(positions[1:].view(3, 3, 4), height, width).view(-1, 4)
    torch.testing.assert_close(resized[1:], expected, atol=1e-6, rtol=1e-5)


def test_a_constant_position_grid_stays_constant_at_any_size() -> None:
    positions = torch.cat([torch.zeros(1, 4), torch.arange(4.0).expand(16, 4)])
    assert torch.allclose(resize_position_grid(positions, 7, 11)[1:], torch.arange(4.0), atol=1e-6)


def test_a_position_table_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="11 slots is not 1 \\+ a square"):
        resize_position_grid(torch.zeros(11, 4), 3, 3)


def test_rows_and_columns_beyond_whole_patches_are_dropped() -> None:
    visual = VisionTransformer(CONFIG)
    images = torch.randn(1, 3, 55, 63)
    tokens, grid = visual.embed(images)
    assert grid == (3, 3)
    assert torch.equal(tokens, visual.embed(images[:, :, :48, :48])[0])


def test_the_second_class_embedding_reaches_only_the_cls_slot() -> None:
    visual = VisionTransformer(CONFIG)
    images = torch.randn(2, 3, 48, 48)
    once, _ = visual.embed(images)
    twice, _ = visual.embed(images, class_embedding_count=2)
    assert torch.equal(once[:, 1:], twice[:, 1:])
    cls = visual.ln_pre(2 * visual.class_embedding + visual.positional_embedding[0])
    torch.testing.assert_close(twice[:, 0], cls.expand(2, -1))


@pytest.mark.parametrize("size", [(28, 28), (21, 33), (3, 9), (15, 14)])
def test_bicubic_positions_are_torch_s_with_the_published_factor(size: tuple[int, int]) -> None:
    table = torch.randn(1 + 14 * 14, 5, generator=torch.Generator().manual_seed(0))
    grid = table[1:].T.reshape(1, 5, 14, 14)
    factors = [(side + 0.1) / 14 for side in size]
    expected = F.interpolate(grid, scale_factor=factors, mode="bicubic", align_corners=False)
    resized = resize_position_grid(table, *size, kind="bicubic")
    assert torch.equal(resized[0], table[0])
    torch.testing.assert_close(resized[1:].T.reshape(1, 5, *size), expected, atol=2e-4, rtol=0)


def test_bicubic_weights_sum_to_one() -> None:
    torch.testing.assert_close(bicubic(23, 7).sum(dim=1), torch.ones(23))


class _Positions(torch.nn.Module):
    """Resizes a table of 4 x 4 patches to the size of a picture."""

    def forward(self, table: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        return resize_position_grid(table, *picture.shape, kind="bicubic")


def test_an_exported_graph_keeps_positions_of_the_right_size() -> None:
    sizes = {0: torch.export.Dim("height", min=2), 1: torch.export.Dim("width", min=2)}
    table = torch.randn(1 + 4 * 4, 3, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        # While a graph is traced, a height is a symbol and no int.
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        graph = torch.export.export(
            _Positions(), (table, torch.zeros(6, 5)), dynamic_shapes={"table": None, "picture": sizes}
        ).module()
        for size in ((4, 4), (4, 7), (7, 4), (3, 9)):
            expected = resize_position_grid(table, *size, kind="bicubic")
            torch.testing.assert_close(graph(table, torch.zeros(size)), expected, atol=1e-5, rtol=0)
