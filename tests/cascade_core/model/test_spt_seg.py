"""SPT-SEG as a whole model, with and without Cascade."""

from typing import Any

import pytest
import torch

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.recipes import recipe
from cascade_core.engines.graph import Exportable
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import trainable_parameter_count
from cascade_core.model.spectral import SpectralPrompt

from .small import CASCADE, SPT_SEG, segmentor

# Of other seeds the gate, whose direction is random, closes for all patches of so narrow a model.
SPT: dict[str, Any] = {"seed": 6, **SPT_SEG}


def inputs(height: int = 32, width: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, height, width, generator=generator), torch.randn(5, 12, generator=generator)


@pytest.mark.parametrize("changes", [{}, CASCADE])
def test_every_other_weight_gets_a_gradient(changes: dict[str, Any]) -> None:
    model = segmentor(**SPT, **changes)
    model.grid_logits(*inputs()).square().sum().backward()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert "trunk.spectral.filter" in trained
    assert {name for name in trained if model.get_parameter(name).grad is None} == names_without_gradient(
        model
    )


@torch.no_grad()
def test_parts_of_the_classes_give_the_masks_of_all() -> None:
    model = segmentor(**SPT, **CASCADE)
    images, vectors = inputs()
    whole = model.grid_logits(images, vectors)
    assert whole.abs().max() > 0.1
    parts = torch.cat([model.grid_logits(images, part) for part in vectors.split(2)], dim=1)
    torch.testing.assert_close(parts, whole)


@torch.no_grad()
def test_pictures_of_other_shapes_have_masks_too() -> None:
    model = segmentor(**SPT)
    assert model.grid_logits(*inputs(24, 40)).shape == (2, 5, 3, 5)


@torch.no_grad()
def test_the_filter_changes_two_inputs_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    forward = SpectralPrompt.forward

    def counted(self: SpectralPrompt, tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        calls.append(grid)
        return forward(self, tokens, grid)

    monkeypatch.setattr(SpectralPrompt, "forward", counted)
    images, vectors = inputs()
    model = segmentor(**SPT)
    changed = model.grid_logits(images, vectors)
    assert calls == [(4, 4)] * 2
    model.trunk.spectral = None
    assert not torch.allclose(model.grid_logits(images, vectors), changed)


def test_a_graph_is_refused_with_the_parts_that_follow_the_size() -> None:
    with pytest.raises(
        UserError, match="mini_spt_seg has no graph: its parts FrequencyMixer, SpectralPrompt follow"
    ):
        Exportable(segmentor(**SPT), recipe("mini_spt_seg"))


def test_weights_at_full_size_are_those_of_the_formulas() -> None:
    """The filter has a number for each frequency; a layer's heads share 512 numbers 1 to 7 between high and low frequencies."""
    counts = {}
    for name in ("zegclip_voc12", "spt_seg_voc12"):
        config = recipe(name).model
        with torch.device("meta"):
            tower = VisionTransformer(config.clip)
            counts[name] = trainable_parameter_count(build_segmentor(config, tower, seed=0))
    spectral_filter = 32 * 17 * 768 * 2
    mixer = 512 * 3 * 64 + 512 * 448 + 512 * 2 * 448 + 448 * 448 + 448
    own = mixer + 512 + 512 * 512 + 512 * 512 + 512
    theirs = (
        4 * (512 * 512 + 512) + (4 * 512 * 512 + 4 * 512) + 2 * 512
    )  # attention; dead self-attention and norm
    assert counts["spt_seg_voc12"] - counts["zegclip_voc12"] == spectral_filter + 3 * (own - theirs)


def test_the_transform_starts_as_an_identity() -> None:
    model = segmentor(**SPT, head_init="trunc_normal")
    for layer in model.decoder.stages[0].decoder.layers:
        assert torch.equal(layer.transform, torch.eye(12))
