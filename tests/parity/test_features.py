"""The trunk's maps and global embedding, for pictures that are square, rectangular or no multiple of the patch."""

import torch

from .golden import GoldenSet, covers, golden_set, largest_difference
from .runs import feature_maps


@covers(r"out/backbone(?:_rect|_nonmult)?/(?:feat\d+|global)")
def test_features_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    _, which, level = key.split("/")
    ours = feature_maps(golden.name, which)[level]
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["features_atol"]


@covers(r"json/fp32_vs_fp64_maxabs/backbone(?:_rect|_nonmult)?/(?:feat\d+|global)")
def test_float64_features_differ_only_by_reference_rounding(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    which, level = key.split("/")[-2:]
    ours = feature_maps(golden.name, which, torch.float64)[level]
    difference = largest_difference(ours, golden.tensors[f"out/{which}/{level}"])
    assert difference <= 1.001 * golden.numbers[key] + 1e-9


def test_the_released_backbone_s_maps_are_all_ours() -> None:
    for golden in (golden_set("zeg"), golden_set("cascade")):
        stored = {key.split("/")[-1] for key in golden.tensor_keys if key.startswith("out/backbone/")}
        assert set(feature_maps(golden.name, "backbone")) == stored
