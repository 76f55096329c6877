"""Recomputation, which GPUs use, stores only inputs and changes no value."""

import pytest
import torch
from torch import Tensor, nn

from cascade_core.model import decoder
from cascade_core.model.decoder import recomputed

from .small import CASCADE, segmentor


@pytest.fixture
def _scarce_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "memory_is_scarce", lambda _: True)


def _stored(function, *inputs: Tensor) -> list[Tensor]:
    stored: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: stored.append(x) or x, lambda x: x):
        function(*inputs)
    return stored


@pytest.mark.usefixtures("_scarce_memory")
def test_recomputation_uses_the_same_dropout_mask() -> None:
    torch.manual_seed(0)
    part = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 4))
    inputs = torch.randn(5, 6, requires_grad=True)
    passes = []
    for call in (part, lambda x: recomputed(part, x)):
        torch.manual_seed(7)
        outputs = call(inputs)
        torch.rand(3)  # another stage draws in between
        passes.append((outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, *part.parameters()])))
    for plainly, again in zip(*passes, strict=True):
        assert torch.equal(plainly, again)


@pytest.mark.usefixtures("_scarce_memory")
def test_recomputation_stores_only_the_inputs() -> None:
    part, inputs = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(5, 6)
    inputs.requires_grad_()
    weights = {weight.data_ptr() for weight in part.parameters()}
    inner = [
        tensor for tensor in _stored(part, inputs) if tensor.data_ptr() not in weights | {inputs.data_ptr()}
    ]
    assert inner
    outer: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: outer.append(x) or x, lambda x: x):
        outputs = recomputed(part, inputs)
    assert all(tensor.data_ptr() in weights | {inputs.data_ptr()} for tensor in outer)
    outputs.sum().backward()


@pytest.mark.usefixtures("_scarce_memory")
def test_without_gradients_nothing_is_stored() -> None:
    part, inputs = nn.Linear(6, 8), torch.randn(5, 6)
    with torch.no_grad():
        assert not _stored(lambda x: recomputed(part, x), inputs)
        assert torch.equal(recomputed(part, inputs), part(inputs))


@pytest.mark.usefixtures("_scarce_memory")
def test_a_segmentor_stores_no_attention_scores() -> None:
    """They are the largest thing a decoder computes: classes x patches x heads x layers x stages."""
    model, classes = segmentor(**CASCADE, dropout=0.1).train(), 7
    vectors = nn.functional.normalize(torch.randn(classes, 12), dim=-1)
    stored = _stored(lambda images: model.grid_logits(images, vectors), torch.randn(2, 3, 32, 32))
    assert stored
    assert not [tensor.shape for tensor in stored if tensor.shape[-2:] == (classes, 16)]


def test_a_cpu_stores_them_and_computes_nothing_twice() -> None:
    part, inputs = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4)), torch.randn(5, 6, requires_grad=True)
    calls: list[object] = []
    part.register_forward_hook(lambda *_: calls.append(part))
    recomputed(part, inputs).sum().backward()
    assert len(calls) == 1
