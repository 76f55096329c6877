"""Golden sets (the authors' tensors and numbers), and the record of which test checks which of them.

`CASCADE_GOLDEN_DIR` replaces the folder `tests/golden`. Sizes, classes and tolerances come from the JSON beside
the tensors, so that another set made in the same way works too.
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

# (set, pattern) -> the test that checks all matching addresses; `covers` fills it, test_completeness.py reads it.
COVERAGE: dict[tuple[str, str], str] = {}


class GoldenSet:
    """The tensors and the JSON record of a method, and its released model.

    Numbers of the JSON have addresses like tensors, such as `json/losses/inductive/total`; a list has one address.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.record = json.loads((GOLDEN_DIR / f"{name}.json").read_text())
        self.numbers = dict(_leaves(self.record, "json"))
        with safe_open(GOLDEN_DIR / f"{name}.safetensors", "pt") as stored:
            self.tensor_keys = sorted(stored.keys())

    @property
    def keys(self) -> list[str]:
        """All addresses of the set: tensors, then numbers."""
        return [*self.tensor_keys, *self.numbers]

    @property
    def config(self) -> dict[str, Any]:
        return self.record["config"]

    @property
    def tolerances(self) -> dict[str, float]:
        return self.record["tolerances"]

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors; half precision becomes float32 (exactly), label maps become int64."""
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
        """Groups of blocks with a decoder of their own, besides the last map's."""
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
        """Return a copy of the released model, in eval mode."""
        return deepcopy(self._released).to(dtype)

    def segmentor_without_dropout(self, dtype: torch.dtype = torch.float32) -> Segmentor:
        """Return a copy in training mode with every dropout at 0, as in the reference run."""
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
    """Open a set of `GOLDEN_DIR`; repeated calls return the same object."""
    return GoldenSet(name)


def covers(
    *patterns: str, given: tuple[str, ...] = (), sets: tuple[str, ...] = METHODS
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrize a test by the stored addresses that match `patterns`, and record that it checks them.

    The test takes `golden` and `keys`. A pattern without a group makes a case per address; with a group, a case
    per captured text, shared by its addresses.

    Args:
        patterns: regular expressions of the addresses to check.
        given: addresses that the test reads as settings or inputs; recorded too, but without cases.
        sets: names of golden sets.
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
    """Return the rows and columns of `full` that `key` stores: every Nth with the suffix `@sN`, else all."""
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
