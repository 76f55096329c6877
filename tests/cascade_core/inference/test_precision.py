"""bf16 at inference: what `auto` takes, and frozen weights stored in it."""

import logging

import pytest
import torch
from torch import nn

from cascade_core.inference.precision import computing, in_half, multiplies_bf16, precision_on
from tests.cascade_core.model.small import METHODS, classes_for, segmentor

CPU = torch.device("cpu")
# Of 8 draws of pictures, the largest deviation was 3.3 % of OTSeg, whose plans magnify a cosine's error twentyfold, 10 % of
# CAT-Seg and 1.8 % of the others.
MOST = {"otseg": 0.06, "cat_seg": 0.1, "cat_seg_frozen": 0.1}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_matrices_in_bf16_give_the_features_of_autocast(method: dict) -> None:
    trunk = segmentor(**method).eval().trunk
    images = torch.randn(2, 3, 32, 48)
    stored = in_half(trunk)
    with torch.no_grad(), computing(CPU, "bf16"):
        expected, features = trunk(images), stored(images)
    assert torch.equal(features.patches, expected.patches)
    assert all(map(torch.equal, features.mid_tokens, expected.mid_tokens))
    assert all(weight.dtype == torch.float32 for weight in trunk.parameters())


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_logits_in_bf16_are_near_those_of_float32(method: str) -> None:
    """The largest deviation is a share of the largest logit; the text half stays in float32, as at inference."""
    model = segmentor(**METHODS[method])
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    classes = model.prepare(classes_for(model))
    expected = model.grid_logits(images, classes)
    with computing(CPU, "bf16"):
        logits = model.decode(in_half(model.trunk)(images), classes)
    assert logits.dtype == torch.float32
    deviation = float((logits - expected).abs().max() / expected.abs().max())
    assert 1e-3 < deviation < MOST.get(method, 0.03)


def test_every_matrix_of_the_tower_is_stored_in_bf16() -> None:
    trunk = segmentor().eval().trunk
    stored = in_half(trunk).args[1]
    names = {
        f"visual.{name}.weight"
        for name, module in trunk.visual.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert names | {"visual.proj", "visual.blocks.0.attn.in_proj_weight"} <= set(stored)
    assert all(weight.dtype == torch.bfloat16 for weight in stored.values())


def test_weights_are_cast_once_until_they_change() -> None:
    trunk = segmentor().eval().trunk
    before, again = in_half(trunk).args[1], in_half(trunk).args[1]
    name = "visual.proj"
    assert again[name] is before[name] and in_half(segmentor().trunk).args[1][name] is not before[name]
    with torch.no_grad():
        trunk.visual.proj.add_(1)
    assert torch.equal(in_half(trunk).args[1][name], trunk.visual.proj.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("features", "precision"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_bf16": True}, "bf16"),
        ({"avx2": True, "amx_bf16": False}, "fp32"),
    ],
)
def test_auto_asks_the_processor_and_logs_what_it_took(
    features: dict, precision: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    with caplog.at_level(logging.INFO):
        assert precision_on(CPU, "auto") == precision
    assert f"precision {precision}: this processor" in caplog.text
    assert precision_on(CPU, "fp32") == "fp32" and precision_on(CPU, "bf16") == "bf16"


def test_other_devices_compute_in_float32() -> None:
    assert not multiplies_bf16(torch.device("mps"))
