"""Building a segmentor from a configuration."""

import pytest
import torch

from cascade_core.clip.vision import resize_position_grid
from cascade_core.model.build import build_segmentor
from cascade_core.model.decoder import LinearDecoder

from .small import CASCADE, NAIVE, config, segmentor, visual

KINDS = [
    {},
    CASCADE,
    NAIVE,
    {"query": "text"},
    {"trunk": "frozen", "num_prompts": 0},
    {"trunk": "frozen", "num_prompts": 0, "decoder": "linear"},
]


@pytest.mark.parametrize("changes", KINDS)
def test_the_seed_decides_every_weight(changes: dict) -> None:
    one, same = (build_segmentor(config(**changes), visual(), seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], same[key]) for key in one)


def test_another_seed_gives_another_decoder_around_the_same_clip() -> None:
    one, other = segmentor(seed=1).state_dict(), segmentor(seed=2).state_dict()
    assert not torch.equal(
        one["decoder.stages.0.query.proj.weight"], other["decoder.stages.0.query.proj.weight"]
    )
    assert all(torch.equal(one[key], other[key]) for key in one if key.startswith("trunk.visual."))


@pytest.mark.parametrize("changes", KINDS)
def test_building_leaves_torch_s_global_random_state_as_it_was(changes: dict) -> None:
    tower = visual()
    torch.manual_seed(9)
    before = torch.get_rng_state()
    build_segmentor(config(**changes), tower, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_passed_clip_is_copied_and_stays_trainable() -> None:
    tower = visual()
    before = {key: tensor.clone() for key, tensor in tower.state_dict().items()}
    model = build_segmentor(config(), tower, seed=0)
    assert all(torch.equal(tensor, before[key]) for key, tensor in tower.state_dict().items())
    assert all(parameter.requires_grad for parameter in tower.parameters())
    assert not any(parameter.requires_grad for parameter in model.trunk.visual.parameters())


def test_the_position_grid_gets_the_configured_picture_size() -> None:
    tower = visual()
    model = build_segmentor(config(), tower, seed=0)
    expected = resize_position_grid(tower.positional_embedding.detach(), 4, 4)
    assert torch.equal(model.trunk.visual.positional_embedding, expected)


def test_random_middle_projections_are_frozen_and_unlike_clip_s() -> None:
    model = segmentor(**CASCADE)
    mid = model.decoder.mid
    assert not any(parameter.requires_grad for parameter in mid.parameters())
    assert not torch.allclose(mid.projections[0], model.trunk.visual.proj)
    assert mid.projections.std().item() == pytest.approx(16**-0.5, rel=0.1)


def test_middle_projections_may_start_from_clip_s_own() -> None:
    model = segmentor(**CASCADE, mid_projection_init="clip")
    mid, tower = model.decoder.mid, model.trunk.visual
    for level in range(3):
        assert torch.equal(mid.projections[level], tower.proj)
        assert torch.equal(mid.norms[level].weight, tower.ln_post.weight)
        assert torch.equal(mid.norms[level].bias, tower.ln_post.bias)


@pytest.mark.parametrize("init", ["random", "clip"])
def test_middle_projections_may_train(init: str) -> None:
    mid = segmentor(**CASCADE, mid_projection_init=init, mid_projection_trains=True).decoder.mid
    assert all(parameter.requires_grad for parameter in mid.parameters())


def test_trunc_normal_heads_have_the_configured_std_and_no_bias() -> None:
    model = segmentor(**CASCADE, head_init="trunc_normal", head_init_std=0.2)
    for stage in model.decoder.stages:
        for name, parameter in stage.named_parameters():
            if parameter.ndim == 2:
                assert parameter.std().item() == pytest.approx(0.2, rel=0.2), name
            elif name.endswith("bias"):
                assert not parameter.any(), name


def test_torch_default_heads_are_uniform_in_the_fan_in_bound() -> None:
    weight = segmentor().decoder.stages[0].query.proj.weight
    assert weight.abs().max() <= 24**-0.5
    assert weight.abs().max() > 0.9 * 24**-0.5


def test_the_linear_decoder_is_chosen_by_name() -> None:
    assert isinstance(segmentor(trunk="frozen", num_prompts=0, decoder="linear").decoder, LinearDecoder)
