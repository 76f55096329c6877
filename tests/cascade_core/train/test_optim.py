"""Learning rates and optimiser groups."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import OptimConfig
from cascade_core.configs.model import ClipConfig, ModelConfig
from cascade_core.model.build import build_segmentor
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor
from cascade_core.train.optim import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    set_learning_rates,
)

CLIP = ClipConfig(
    name="small",
    image_size=16,
    patch_size=8,
    width=8,
    layers=3,
    heads=2,
    embed_dim=8,
    text_width=8,
    text_layers=1,
    text_heads=1,
    context_length=5,
    vocab_size=9,
)
bases = st.floats(1e-5, 1e-1)
totals = st.integers(10, 100_000)


def _segmentor(**changes) -> Segmentor:
    settings = {"clip": CLIP, "image_size": 16, "num_prompts": 2, "decoder_heads": 2, **changes}
    return build_segmentor(ModelConfig(**settings), VisionTransformer(CLIP), seed=0)


def _config(**changes) -> OptimConfig:
    return OptimConfig(**{"warmup_iterations": 100, **changes})


@given(base=bases, total=totals)
def test_without_warm_up_the_first_rate_is_the_base(base: float, total: int) -> None:
    assert learning_rate(base, 0, total, _config(warmup_iterations=0)) == pytest.approx(base)


@given(base=bases, total=totals)
def test_the_rate_at_the_end_is_the_absolute_minimum(base: float, total: int) -> None:
    assert learning_rate(base, total, total, _config(warmup_iterations=0)) == pytest.approx(1e-6)


@given(base=bases, total=st.integers(200, 100_000))
def test_the_first_rate_after_the_warm_up_is_unscaled(base: float, total: int) -> None:
    config = _config()
    plain = (base - config.min_lr) * (1 - 100 / total) ** config.power + config.min_lr
    assert learning_rate(base, 100, total, config) == plain


@given(base=bases, total=st.integers(200, 100_000), iteration=st.integers(0, 99))
def test_the_warm_up_multiplies_the_current_polynomial_value(base: float, total: int, iteration: int) -> None:
    config = _config(warmup_ratio=0.01)
    plain = learning_rate(base, iteration, total, _config(warmup_iterations=0))
    factor = 0.01 + (1 - 0.01) * iteration / 100
    assert learning_rate(base, iteration, total, config) == pytest.approx(plain * factor)


@given(base=bases, total=st.integers(200, 2000), iteration=st.integers(100, 198))
def test_rates_fall_after_the_warm_up(base: float, total: int, iteration: int) -> None:
    assert learning_rate(base, iteration + 1, total, _config()) < learning_rate(
        base, iteration, total, _config()
    )


@given(total=totals, iteration=st.integers(0, 9))
def test_a_base_at_the_minimum_stays_there_without_warm_up(total: int, iteration: int) -> None:
    assert learning_rate(1e-6, iteration, total, _config(warmup_iterations=0)) == pytest.approx(1e-6)


def test_prompts_and_decoder_have_own_rates_and_one_decay() -> None:
    optimizer = build_optimizer(_segmentor(), OptimConfig(prompt_lr=1e-3, decoder_lr=5e-2, weight_decay=0.03))
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert groups["prompts"]["lr"] == groups["prompts"]["base_lr"] == 1e-3
    assert groups["decoder"]["lr"] == groups["decoder"]["base_lr"] == 5e-2
    assert {group["weight_decay"] for group in groups.values()} == {0.03}


def test_the_groups_hold_all_that_trains_except_dead_weights() -> None:
    segmentor = _segmentor(fusion="cascade", groups=((0,), (1,)))
    optimizer = build_optimizer(segmentor, OptimConfig())
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    dead = names_without_gradient(segmentor)
    expected = {
        id(parameter)
        for name, parameter in segmentor.named_parameters()
        if parameter.requires_grad and name not in dead
    }
    assert len(held) == len(set(held))
    assert set(held) == expected


def test_a_frozen_trunk_has_no_prompt_group() -> None:
    optimizer = build_optimizer(_segmentor(trunk="frozen", num_prompts=0), OptimConfig())
    assert [group["name"] for group in optimizer.param_groups] == ["decoder"]


def test_the_linear_decoder_has_no_dead_weights() -> None:
    segmentor = _segmentor(trunk="frozen", num_prompts=0, decoder="linear")
    assert names_without_gradient(segmentor) == set()
    (group,) = build_optimizer(segmentor, OptimConfig()).param_groups
    assert len(group["params"]) == 2


def test_training_middle_projections_are_in_the_decoder_s_group() -> None:
    segmentor = _segmentor(fusion="naive", groups=((0, 1),), mid_projection_trains=True)
    decoder = build_optimizer(segmentor, OptimConfig()).param_groups[1]
    assert any(parameter is segmentor.decoder.mid.projections for parameter in decoder["params"])


def test_setting_rates_moves_each_group_from_its_own_base() -> None:
    config = OptimConfig(prompt_lr=1e-3, decoder_lr=5e-2, warmup_iterations=4)
    optimizer = build_optimizer(_segmentor(), config)
    for iteration in (0, 2, 7):
        set_learning_rates(optimizer, iteration, 10, config)
        assert [group["lr"] for group in optimizer.param_groups] == [
            learning_rate(base, iteration, 10, config) for base in (1e-3, 5e-2)
        ]


def test_weights_without_gradient_match_the_recorded_ones() -> None:
    for changes in ({}, {"fusion": "cascade", "groups": ((0,), (1,))}, {"query": "text"}):
        segmentor = _segmentor(**changes)
        segmentor(torch.randn(1, 3, 16, 16), torch.randn(3, 8)).square().sum().backward()
        trainable = {name: p for name, p in segmentor.named_parameters() if p.requires_grad}
        without = {name for name, parameter in trainable.items() if parameter.grad is None}
        assert names_without_gradient(segmentor) == without


@given(base=bases, total=totals)
def test_half_a_cosine_falls_from_the_base_to_the_minimum(base: float, total: int) -> None:
    config = _config(schedule="cosine", min_lr=0.0, warmup_iterations=0)
    rates = [learning_rate(base, place, total, config) for place in (0, total // 3, total)]
    middle = base * (1 + math.cos(math.pi * (total // 3) / total)) / 2
    assert rates == pytest.approx([base, middle, 0.0], abs=1e-12)


@pytest.mark.parametrize("norm", [None, 0.5, 100.0])
def test_gradients_are_scaled_down_to_a_common_norm(norm: float | None) -> None:
    segmentor = _segmentor()
    config = _config(clip_norm=norm)
    optimizer = build_optimizer(segmentor, config)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-1)
    before = torch.cat([weight.grad.flatten() for weight in weights]).norm()
    assert 0.5 < before < 100
    clip_gradients(optimizer, config)
    after = torch.cat([weight.grad.flatten() for weight in weights])
    torch.testing.assert_close(after.norm(), torch.tensor(0.5) if norm == 0.5 else before)
    assert len(after.unique()) == 1
