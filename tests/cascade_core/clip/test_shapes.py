"""A CLIP's configuration follows from its weights."""

import pytest
import torch

from cascade_core.clip.sources import clip_config
from cascade_core.configs.model import ClipConfig
from tests.cascade_core.clip.families import FAMILIES, VIT_B16, VIT_L14, random_weights


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.name.replace(" ", "-"))
def test_a_configuration_comes_back_from_its_weights(config: ClipConfig) -> None:
    head_width = config.width // config.heads
    read = clip_config(
        random_weights(config), name=config.name, activation=config.activation, head_width=head_width
    )
    assert read == config


@pytest.mark.parametrize("key", ["visual.conv1.weight", "token_embedding.weight", "visual.proj"])
def test_a_missing_weight_is_named(key: str) -> None:
    weights = random_weights(VIT_B16)
    del weights[key]
    with pytest.raises(ValueError, match=f"lack '{key}'"):
        clip_config(weights, name="x", activation="gelu")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("vision_model.embeddings.class_embedding", "layout of Hugging Face transformers"),
        ("visual.layer1.0.conv1.weight", "image tower is a ResNet"),
        ("visual.trunk.pos_embed", "of the timm package"),
        ("weird.weight", "they have weird.weight"),
    ],
)
def test_weights_of_another_kind_are_refused_by_kind(key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip_config({key: torch.zeros(1)}, name="x", activation="gelu")


def test_contradicting_shapes_are_refused() -> None:
    weights = random_weights(VIT_B16)
    table = weights["visual.positional_embedding"]
    with pytest.raises(ValueError, match="16 slots is not 1 \\+ a square"):
        clip_config({**weights, "visual.positional_embedding": table[:-1]}, name="x", activation="gelu")
    with pytest.raises(ValueError, match="visual.proj has shape"):
        clip_config({**weights, "visual.proj": torch.zeros(3)}, name="x", activation="gelu")
    without_blocks = {key: tensor for key, tensor in weights.items() if ".resblocks." not in key}
    with pytest.raises(ValueError, match=r"lack 'visual\.transformer\.resblocks"):
        clip_config(without_blocks, name="x", activation="gelu")


def test_a_width_that_is_no_multiple_of_64_is_refused() -> None:
    weights = random_weights(VIT_L14.model_copy(update={"width": 80, "heads": 1}))
    with pytest.raises(ValueError, match="width 80 is no multiple of 64"):
        clip_config(weights, name="x", activation="gelu")
