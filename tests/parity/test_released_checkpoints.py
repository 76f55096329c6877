"""Released checkpoints at full size (ViT-B/16): loading, parameter counts, trainable weights and their optimizer.

The shipped golden set has lists of their keys and shapes. Values are random views of one buffer, so that only the
model itself takes memory.
"""

import gc
import json
import re
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from cascade_core.configs.config import OptimConfig
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor, trainable_parameter_count
from cascade_core.released.weights import (
    CLASS_WEIGHT_BUFFER,
    TEXT_PREFIX,
    our_name,
    released_name,
    segmentor_from_released,
)
from cascade_core.train.optim import build_optimizer

from .golden import SHIPPED_DIR, golden_set

CHECKPOINTS = ("zeg_voc", "zeg_coco", "cascade_voc", "cascade_context", "cascade_coco")
# Trainable parameters in millions, from the papers and their READMEs.
PUBLISHED_MILLIONS = {"zeg_voc": 13.8, "zeg_coco": 14.6, "cascade_coco": 40.5}


class Loaded(NamedTuple):
    """A released checkpoint's record, its state dict, and its segmentor."""

    record: dict[str, Any]
    state: dict[str, Tensor]
    segmentor: Segmentor

    @property
    def trainable(self) -> set[str]:
        """Released names of the trainable weights, from the record."""
        return {group["name"] for group in self.record["param_groups"] if group["requires_grad"]}


def _state_dict(record: dict[str, Any]) -> dict[str, Tensor]:
    sizes = {key: prod(shape) for key, (shape, _) in record["state_dict"].items()}
    buffer = torch.randn(max(sizes.values()) + len(sizes), generator=torch.Generator().manual_seed(0))
    # Each key starts one value later, so that tensors of equal shape differ.
    return {
        key: buffer[shift : shift + sizes[key]].view(shape)
        for shift, (key, (shape, _)) in enumerate(record["state_dict"].items())
    }


@pytest.fixture(scope="module", params=CHECKPOINTS)
def loaded(request: pytest.FixtureRequest) -> Iterator[Loaded]:
    record = json.loads((SHIPPED_DIR / "keys" / f"keys_{request.param}.json").read_text())
    state = _state_dict(record)
    yield Loaded(record, state, segmentor_from_released(state))
    del state
    gc.collect()


def test_every_value_arrives_under_our_name(loaded: Loaded) -> None:
    ours = loaded.segmentor.state_dict()
    keys = [key for key in loaded.state if not key.startswith(TEXT_PREFIX) and key != CLASS_WEIGHT_BUFFER]
    assert len(ours) == len(keys)
    assert all(torch.equal(ours[our_name(key)], loaded.state[key]) for key in keys)


def test_the_number_of_trainable_parameters_is_the_recorded_one(loaded: Loaded) -> None:
    assert trainable_parameter_count(loaded.segmentor) == loaded.record["trainable_numel"]


def test_the_total_number_of_parameters_is_the_recorded_one(loaded: Loaded) -> None:
    text = sum(tensor.numel() for key, tensor in loaded.state.items() if key.startswith(TEXT_PREFIX))
    ours = sum(parameter.numel() for parameter in loaded.segmentor.parameters())
    assert text > 0
    assert ours + text == loaded.record["total_numel"]


def test_the_published_parameter_counts_are_right(loaded: Loaded) -> None:
    published = PUBLISHED_MILLIONS.get(f"{loaded.record['method']}_{loaded.record['dataset']}")
    millions = trainable_parameter_count(loaded.segmentor) / 1e6
    # 14,650,624 is published as 14.6, so accept rounding up or down.
    assert published is None or abs(millions - published) <= 0.051


def test_exactly_the_recorded_parameters_train(loaded: Loaded) -> None:
    ours = {name for name, parameter in loaded.segmentor.named_parameters() if parameter.requires_grad}
    assert ours == {our_name(name) for name in loaded.trainable}
    summary = loaded.record["effective_groups_summary"]
    assert len(ours) == sum(summary.values()) == {"zeg": 74, "cascade": 212}[loaded.record["method"]]


def test_every_trainable_parameter_has_its_recorded_optimizer(loaded: Loaded) -> None:
    """The record has a group per parameter. We have two groups, without weights that get no gradient."""
    optimizer = build_optimizer(loaded.segmentor, OptimConfig())
    names = {id(parameter): name for name, parameter in loaded.segmentor.named_parameters()}
    ours = {
        names[id(parameter)]: (group["base_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    recorded = {
        our_name(group["name"]): (group["lr"], group["weight_decay"])
        for group in loaded.record["param_groups"]
        if group["requires_grad"]
    }
    dead = names_without_gradient(loaded.segmentor)
    assert dead < recorded.keys()
    assert ours == {name: pytest.approx(rate) for name, rate in recorded.items() if name not in dead}


def test_the_optimiser_s_defaults_are_the_recorded_ones(loaded: Loaded) -> None:
    record, schedule, config = loaded.record["optimizer"], loaded.record["lr_config"], OptimConfig()
    assert record["type"] == "AdamW"
    assert not record["amsgrad"]
    assert schedule["policy"] == "poly"
    assert schedule["warmup"] == "linear"
    assert (config.beta1, config.beta2, config.eps) == (*record["betas"], record["eps"])
    assert config.weight_decay == record["weight_decay"]
    assert (config.power, config.min_lr) == (schedule["power"], schedule["min_lr"])
    assert (config.warmup_iterations, config.warmup_ratio) == (
        schedule["warmup_iters"],
        schedule["warmup_ratio"],
    )


def test_shapes_determine_the_recorded_model(loaded: Loaded) -> None:
    model, config = loaded.record["model_cfg"], loaded.segmentor.config
    assert config.num_prompts == model["num_tokens"]
    assert config.decoder_heads == model["num_heads"]
    assert config.decoder_layers == model["num_layers"]
    assert [block for group in config.groups for block in group] == [
        block for block in model["out_indices"] if block != config.clip.layers - 1
    ]
    assert (config.clip.width, config.clip.heads, config.clip.layers) == (768, 12, 12)
    assert (config.image_size, config.clip.patch_size, config.clip.embed_dim) == (512, 16, 512)


def test_released_names_and_ours_are_each_other_s_inverse(loaded: Loaded) -> None:
    cascade = loaded.record["method"] == "cascade"
    keys = [key for key in loaded.state if not key.startswith(TEXT_PREFIX) and key != CLASS_WEIGHT_BUFFER]
    assert [released_name(our_name(key), cascade=cascade) for key in keys] == keys


# Strictness, on the small golden models.


def _small(method: str) -> tuple[dict[str, Tensor], dict[str, int]]:
    golden = golden_set(method)
    options = {"heads": golden.config["heads"], "decoder_heads": golden.config["dheads"]}
    if golden.groups:
        options["groups"] = golden.groups
    return golden.released_state, options


def _kinds(method: str) -> list[str]:
    """Return a key of each kind; keys of a kind differ only in their numbers."""
    kinds = {re.sub(r"\d+", "#", key): key for key in golden_set(method).released_state}
    return [key for key in kinds.values() if key != CLASS_WEIGHT_BUFFER]


def _small_text_encoder(embed_dim: int, *, width: int = 16) -> dict[str, Tensor]:
    """Return a text encoder with the released key names and small shapes."""
    record = json.loads((SHIPPED_DIR / "keys" / "keys_zeg_voc.json").read_text())["state_dict"]
    small = {512: width, 1536: 3 * width, 2048: 4 * width, 77: 6, 49408: 20}
    tensors = {
        key: torch.zeros([small[size] for size in shape])
        for key, (shape, _) in record.items()
        if key.startswith(TEXT_PREFIX)
    }
    return {**tensors, f"{TEXT_PREFIX}text_projection": torch.zeros(width, embed_dim)}


@pytest.mark.parametrize("method", ["zeg", "cascade"])
def test_a_missing_key_of_any_kind_is_named(method: str) -> None:
    state, options = _small(method)
    for key in _kinds(method):
        with pytest.raises(ValueError, match=re.escape(key)):
            segmentor_from_released(
                {name: tensor for name, tensor in state.items() if name != key}, **options
            )


@pytest.mark.parametrize("method", ["zeg", "cascade"])
def test_a_misshapen_tensor_of_any_kind_is_named(method: str) -> None:
    state, options = _small(method)
    for key in _kinds(method):
        longer = torch.cat([state[key], state[key][-1:]])
        with pytest.raises(ValueError, match=re.escape(key)):
            segmentor_from_released({**state, key: longer}, **options)


@pytest.mark.parametrize(
    "key",
    [
        "something.else",
        "backbone.new_weight",
        "backbone.transformer.resblocks.3.attn.relative_bias",
        "decode_head.conv_seg.weight",
        "state_dict",
    ],
)
@pytest.mark.parametrize("method", ["zeg", "cascade"])
def test_an_unexpected_key_is_named(method: str, key: str) -> None:
    state, options = _small(method)
    with pytest.raises(ValueError, match=re.escape(key)):
        segmentor_from_released({**state, key: torch.zeros(1)}, **options)


@pytest.mark.parametrize("shape", [(1,), (172,), None])
@pytest.mark.parametrize("method", ["zeg", "cascade"])
def test_the_class_weight_buffer_may_have_any_shape_or_be_absent(
    method: str, shape: tuple[int, ...] | None
) -> None:
    state, options = _small(method)
    others = {key: tensor for key, tensor in state.items() if key != CLASS_WEIGHT_BUFFER}
    buffer = {} if shape is None else {CLASS_WEIGHT_BUFFER: torch.ones(shape)}
    ours = segmentor_from_released({**others, **buffer}, **options).state_dict()
    assert len(ours) == len(others)


@pytest.mark.parametrize("method", ["zeg", "cascade"])
def test_a_complete_text_encoder_changes_nothing(method: str) -> None:
    state, options = _small(method)
    text = _small_text_encoder(golden_set(method).config["dim"])
    without = segmentor_from_released(state, **options).state_dict()
    with_text = segmentor_from_released({**state, **text}, **options).state_dict()
    assert without.keys() == with_text.keys()
    assert all(torch.equal(without[key], with_text[key]) for key in without)


def test_a_text_encoder_that_lacks_a_key_is_refused() -> None:
    state, options = _small("zeg")
    text = _small_text_encoder(golden_set("zeg").config["dim"])
    for key in {re.sub(r"\.\d+\.", ".#.", key): key for key in text}.values():
        with pytest.raises(ValueError, match=re.escape(key.removeprefix(TEXT_PREFIX))):
            segmentor_from_released({**state, **{k: v for k, v in text.items() if k != key}}, **options)


def test_a_text_encoder_that_lacks_its_last_block_is_refused() -> None:
    state, options = _small("zeg")
    text = _small_text_encoder(golden_set("zeg").config["dim"])
    with pytest.raises(ValueError, match=r"text_encoder\.transformer\.resblocks\.11\."):
        segmentor_from_released({**state, **{k: v for k, v in text.items() if ".11." not in k}}, **options)


@pytest.mark.parametrize(
    "key",
    [
        "positional_embedding",
        "transformer.resblocks.1.attn.in_proj_weight",
        "ln_final.bias",
        "text_projection",
    ],
)
def test_a_misshapen_tensor_of_the_text_encoder_is_named(key: str) -> None:
    state, options = _small("zeg")
    text = _small_text_encoder(golden_set("zeg").config["dim"])
    text[TEXT_PREFIX + key] = torch.zeros(3, *text[TEXT_PREFIX + key].shape)
    with pytest.raises(ValueError, match=re.escape(TEXT_PREFIX + key)):
        segmentor_from_released({**state, **text}, **options)


def test_an_unexpected_key_of_the_text_encoder_is_named() -> None:
    state, options = _small("zeg")
    text = _small_text_encoder(golden_set("zeg").config["dim"])
    with pytest.raises(ValueError, match="text_encoder.extra"):
        segmentor_from_released({**state, **text, "text_encoder.extra": torch.zeros(1)}, **options)


def test_a_half_precision_checkpoint_becomes_a_float32_model() -> None:
    state, options = _small("zeg")
    segmentor = segmentor_from_released({key: tensor.half() for key, tensor in state.items()}, **options)
    assert {tensor.dtype for tensor in segmentor.state_dict().values()} == {torch.float32}


def test_a_checkpoint_without_any_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="whole ZegCLIP or Cascade-CLIP"):
        segmentor_from_released({})
