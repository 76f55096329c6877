"""One golden set: the authors' tensors and numbers, and which test answers for each of them.

The folder is `CASCADE_GOLDEN_DIR` if that is set, else `tests/golden`. Everything about sizes, classes and
tolerances is read from the JSON beside the tensors, so that another set made the same way works as well.
"""

import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import LossConfig
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.released.weights import segmentor_from_released

SHIPPED_DIR = Path(__file__).parent.parent / "golden"
GOLDEN_DIR = Path(os.environ.get("CASCADE_GOLDEN_DIR", SHIPPED_DIR))
METHODS = ("zeg", "cascade")
SETS = (*METHODS, "generic")

# (set, pattern) -> the test that answers for what matches; filled by `covers`, checked for completeness.
COVERAGE: dict[tuple[str, str], str] = {}


class GoldenSet:
    """The tensors and the JSON record of one method, with the released model they belong to.

    Numbers of the JSON are addressed like tensors, by paths such as `json/losses/inductive/total`; lists are
    not taken apart.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.record = json.loads((GOLDEN_DIR / f"{name}.json").read_text())
        self.numbers = dict(_leaves(self.record, "json"))
        with safe_open(GOLDEN_DIR / f"{name}.safetensors", "pt") as stored:
            self.tensor_keys = sorted(stored.keys())

    @property
    def keys(self) -> list[str]:
        """Every address in the set: stored tensors, then numbers."""
        return [*self.tensor_keys, *self.numbers]

    @property
    def config(self) -> dict[str, Any]:
        return self.record["config"]

    @property
    def tolerances(self) -> dict[str, float]:
        return self.record["tolerances"]

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Stored tensors; half precision is exact and becomes float32, label maps become int64."""
        return {
            key: _upcast(tensor) for key, tensor in load_file(GOLDEN_DIR / f"{self.name}.safetensors").items()
        }

    @property
    def seen(self) -> list[int]:
        return self.config["base_class"]

    @property
    def unseen(self) -> list[int]:
        return self.config["novel_class"]

    @property
    def labels(self) -> Tensor:
        return self.tensors["gt"][:, 0]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Blocks that feed a decoder each, besides the last map."""
        return tuple(tuple(memory) for memory in self.config["decoder_memory"] if memory != ["last"])

    @property
    def loss_config(self) -> LossConfig:
        return LossConfig(focal_weight=self.config["mask_weight"], dice_weight=self.config["dice_weight"])

    @property
    def released_state(self) -> dict[str, Tensor]:
        return {
            key.removeprefix("sd/"): self.tensors[key] for key in self.tensor_keys if key.startswith("sd/")
        }

    def segmentor(self, dtype: torch.dtype = torch.float32) -> Segmentor:
        """A copy of the released model, in evaluation mode."""
        return deepcopy(self._released).to(dtype)

    def segmentor_without_dropout(self, dtype: torch.dtype = torch.float32) -> Segmentor:
        """The same in training mode, every dropout at 0, as the reference run had it."""
        config = self._released.config.model_copy(update={"dropout": 0.0})
        segmentor = build_segmentor(config, VisionTransformer(config.clip), seed=0)
        segmentor.load_state_dict(self._released.state_dict())
        return segmentor.to(dtype).train()

    @functools.cached_property
    def _released(self) -> Segmentor:
        return segmentor_from_released(
            self.released_state,
            heads=self.config["heads"],
            decoder_heads=self.config["dheads"],
            groups=self.groups or None,
        ).eval()


@functools.cache
def golden_set(name: str) -> GoldenSet:
    """Open a set of `GOLDEN_DIR`, once."""
    return GoldenSet(name)


def covers(
    *patterns: str, given: tuple[str, ...] = (), sets: tuple[str, ...] = METHODS
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for every stored address that matches one of `patterns`, and note that it answers for them.

    The test gets `golden` and `keys`. A pattern without a group makes a case of each address; with a group,
    addresses that agree in what it captures share one case. `given` are the addresses it reads as settings or
    inputs: it answers for them too, but they make no cases.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        cases: dict[tuple[str, str], list[str]] = {}
        for name in sets:
            for pattern in (*patterns, *given):
                COVERAGE[name, pattern] = f"{test.__module__}.{test.__qualname__}"
            for pattern in patterns:
                for key in golden_set(name).keys:
                    if match := re.fullmatch(pattern, key):
                        case = "-".join(match.groups()) if match.groups() else key
                        cases.setdefault((name, case), []).append(key)
        parameters = [
            pytest.param(golden_set(name), keys, id=f"{name}-{case.removeprefix('json/')}")
            for (name, case), keys in cases.items()
        ]
        return pytest.mark.parametrize(("golden", "keys"), parameters)(test)

    return decorate


def thinned(full: Tensor, key: str) -> Tensor:
    """Take of `full` what was stored under `key`: with the suffix `@sN`, every Nth row and column."""
    match = re.search(r"@s(\d+)$", key)
    return full if match is None else full[..., :: int(match[1]), :: int(match[1])]


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest absolute difference; shapes must agree exactly."""
    assert ours.shape == theirs.shape
    return (ours.double() - theirs.double()).abs().max().item()


def relative_l2(ours: Tensor, theirs: Tensor) -> float:
    """Return |ours - theirs| / |theirs|; shapes must agree exactly."""
    assert ours.shape == theirs.shape
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


def _upcast(tensor: Tensor) -> Tensor:
    match tensor.dtype:
        case torch.float16:
            return tensor.float()
        case torch.uint8:
            return tensor.long()
        case _:
            return tensor


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, f"{path}/{key}")
    else:
        yield path, node
