"""The precision of a model's arithmetic at inference, and the choice of it by what a processor computes fast."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cascade_core.configs.config import Precision
from cascade_core.configs.settings import PrecisionChoice
from cascade_core.model.trunk import Trunk, TrunkFeatures

log = logging.getLogger(__name__)

_HALVES: WeakKeyDictionary[Trunk, tuple[tuple[Any, ...], dict[str, Tensor]]] = WeakKeyDictionary()
"""The matrices of each trunk in bf16, with what says that they are still those of the trunk."""


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for products of bf16 numbers: on CPUs AMX, AVX512-BF16 or Arm's BF16.

    Asked of the processor and not measured, so that the answer, and with it every label, is the same at any load.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def precision_on(device: torch.device, choice: PrecisionChoice) -> Precision:
    """Return the precision to compute in on a device; what `auto` took is logged."""
    if choice != "auto":
        return choice
    precision: Precision = "bf16" if multiplies_bf16(device) else "fp32"
    reason = "multiplies" if precision == "bf16" else "has no instructions for"
    log.info("precision %s: %s %s bf16 numbers", precision, _name(device), reason)
    return precision


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "this processor" if device.type == "cpu" else f"device {device.type}"


def stated_precision(device: torch.device, choice: PrecisionChoice | None) -> Precision | None:
    """Return the precision to compute in on a device; None: nothing is stated, so that the recipe's counts."""
    return None if choice is None else precision_on(device, choice)


def computing(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return the context of a model's calls: autocast for bf16."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, torch.bfloat16)


def in_half(trunk: Trunk) -> Callable[[Tensor], TrunkFeatures]:
    """Return the trunk's function with its frozen matrices stored in bf16, as autocast casts them for every call.

    Only for use under autocast; the features are the same to the last bit. The trunk itself keeps its weights. They are
    cast once for a trunk, until it moves or they change.
    """
    matrices = {
        f"visual.{name}": weight
        for name, weight in trunk.visual.named_parameters()
        if _cast_by_autocast(trunk.visual, name)
    }
    state = tuple((weight.device, weight.data_ptr(), weight._version) for weight in matrices.values())
    before = _HALVES.get(trunk)
    if before is None or before[0] != state:
        before = (state, {name: weight.to(torch.bfloat16) for name, weight in matrices.items()})
        _HALVES[trunk] = before
    return partial(functional_call, trunk, before[1])


def _cast_by_autocast(tower: nn.Module, name: str) -> bool:
    """Return whether autocast casts this weight: norms and embeddings stay as they are."""
    module, _, _ = name.rpartition(".")
    return not isinstance(tower.get_submodule(module), nn.LayerNorm) and not name.endswith("_embedding")
