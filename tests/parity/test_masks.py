"""The decoder's mask logits and the class scores, in eval mode."""

import re

import torch

from .golden import GoldenSet, covers, largest_difference, thinned
from .runs import mask_logits, whole_scores


def _head(golden: GoldenSet, key: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return our counterpart of the tensor `out/head/*` under `key`."""
    match re.sub(r"@.*", "", key.rpartition("/")[2]).removeprefix("pred_"):
        case "masks":
            return mask_logits(golden.name, dtype)
        case kind:
            return whole_scores(golden, golden.tensors["img"], kind, dtype)


@covers(r"out/head/pred_masks(?:@s\d+)?")
def test_mask_logits_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    ours = thinned(_head(golden, key), key)
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["logits_atol"]


@covers(r"out/head/pred_(?:inductive|selftrain)(?:@s\d+)?", given=(r"json/config/seen_penalty",))
def test_only_inductive_scores_have_the_seen_penalty(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    ours = thinned(_head(golden, key), key)
    assert golden.config["seen_penalty"] > 0
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["scores_atol"]


@covers(r"json/fp32_vs_fp64_maxabs/head/pred_(?:masks|inductive|selftrain)")
def test_float64_masks_differ_only_by_reference_rounding(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    (stored,) = [
        k for k in golden.tensor_keys if re.sub("@.*", "", k) == f"out/head/{key.rpartition('/')[2]}"
    ]
    ours = thinned(_head(golden, stored, torch.float64), stored)
    assert largest_difference(ours, golden.tensors[stored]) <= 1.001 * golden.numbers[key] + 1e-9


@covers(r"out/sq2/encode_decode(?:@s\d+)?")
def test_a_larger_square_is_scored_at_the_configured_size_first(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    ours = thinned(whole_scores(golden, golden.tensors["sq2_img"], "inductive"), key)
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["scores_atol"]


@covers(r"json/fp32_vs_fp64_maxabs/sq2/encode_decode")
def test_float64_resized_scores_differ_only_by_rounding(golden: GoldenSet, keys: list[str]) -> None:
    (stored,) = [key for key in golden.tensor_keys if key.startswith("out/sq2/encode_decode")]
    ours = thinned(whole_scores(golden, golden.tensors["sq2_img"], "inductive", torch.float64), stored)
    assert largest_difference(ours, golden.tensors[stored]) <= 1.001 * golden.numbers[keys[0]] + 1e-9


@covers(r"json/encode_decode_shape_support/(?:rect|nonmult)")
def test_pictures_of_any_shape_get_scores_of_their_size(golden: GoldenSet, keys: list[str]) -> None:
    """Shapes agree where the released code succeeds; it rejects or scrambles rectangles."""
    (key,) = keys
    kind, released = key.rpartition("/")[2], golden.numbers[key]
    images = golden.tensors[f"{kind}_img"]
    ours = whole_scores(golden, images, "inductive")
    assert ours.shape == (len(images), golden.config["ncls"], *images.shape[-2:])
    assert not released.startswith("ok") or released == f"ok {tuple(ours.shape)}"
