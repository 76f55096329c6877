"""Sliding-window inference, rescaling to the original size, and the predicted classes."""

import functools
import re

import pytest
import torch

from cascade_core.configs.config import EvalConfig
from cascade_core.inference.label_maps import label_maps
from tests.score_maps import score_maps

from .golden import GoldenSet, covers, golden_set, largest_difference, thinned
from .runs import vocabulary


def _as_stored(
    golden: GoldenSet, key: str, window_batch: int = 1, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return our counterpart of the scores `out/slide/KIND[_rescaled][@sN]`."""
    kind, rescaled = re.search(r"slide/(inductive|selftrain)(_rescaled)?", key).groups()
    scores = _scores(golden.name, kind, bool(rescaled), window_batch, dtype)
    return thinned(scores, key)


@functools.cache
def _scores(
    name: str, kind: str, rescaled: bool, window_batch: int = 1, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    golden = golden_set(name)
    return score_maps(
        vocabulary(golden, kind, dtype),
        golden.tensors["big_img"].to(dtype),
        evaluate=_evaluate(golden, window_batch),
        size=tuple(golden.config["ori"]) if rescaled else None,
    )


def _evaluate(golden: GoldenSet, window_batch: int) -> EvalConfig:
    config = golden.config
    return EvalConfig(
        mode="slide", crop_size=config["crop"], stride=config["stride"], batch_size=window_batch
    )


@covers(r"out/slide/(?:inductive|selftrain)(?:_rescaled)?(?:@s\d+)?")
def test_averaged_window_scores_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    assert (
        largest_difference(_as_stored(golden, key), golden.tensors[key]) <= golden.tolerances["scores_atol"]
    )


@covers(r"out/slide/(?:inductive|selftrain)(?:_rescaled)?(?:@s\d+)?")
def test_windows_in_batches_give_the_released_scores_too(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    ours = _as_stored(golden, key, window_batch=3)
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["scores_atol"]


@covers(r"json/fp32_vs_fp64_maxabs/slide/(?:inductive|selftrain)(?:_rescaled)?")
def test_float64_window_scores_differ_by_reference_rounding(golden: GoldenSet, keys: list[str]) -> None:
    """The tolerance is larger because window sums are float32 even here."""
    (key,) = keys
    (stored,) = [
        k for k in golden.tensor_keys if re.sub("@.*", "", k) == f"out/{'/'.join(key.split('/')[-2:])}"
    ]
    difference = largest_difference(_as_stored(golden, stored, dtype=torch.float64), golden.tensors[stored])
    assert difference <= golden.numbers[key] + 5e-7


@covers(
    r"out/slide/argmax_(?:inductive|selftrain)_rescaled",
    given=(r"json/fp32_vs_fp64_maxabs/slide/argmax_(?:inductive|selftrain)_rescaled",),
)
def test_predicted_classes_equal_the_released_except_near_ties(golden: GoldenSet, keys: list[str]) -> None:
    config = golden.config
    (key,) = keys
    kind = key.split("_")[1]
    labels = label_maps(
        vocabulary(golden, kind),
        golden.tensors["big_img"],
        evaluate=_evaluate(golden, 2),
        size=tuple(config["ori"]),
    )
    assert labels.shape == golden.tensors[key].shape
    different = (labels != golden.tensors[key]).double().mean().item()
    assert different <= golden.tolerances["argmax_fraction_different"]


@covers(r"json/config/()(?:crop|stride|big|ori|B|test_cfg/.*)", r"json/img_meta/()ori_shape")
def test_the_recorded_windows_agree_with_each_other(golden: GoldenSet, keys: list[str]) -> None:
    config = golden.config
    assert config["test_cfg"]["mode"] == "slide"
    assert config["test_cfg"]["crop"] == [config["crop"]] * 2
    assert config["test_cfg"]["stride"] == [config["stride"]] * 2
    assert golden.record["img_meta"]["ori_shape"][:2] == config["ori"]


@pytest.mark.parametrize("name", ["zeg", "cascade"])
def test_the_large_picture_needs_several_windows(name: str) -> None:
    golden = golden_set(name)
    assert max(golden.config["big"]) > golden.config["crop"]
