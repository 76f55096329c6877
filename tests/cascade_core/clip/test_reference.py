"""Each family's towers equal open_clip's; with another activation or number of heads they differ."""

import pytest
import torch

from cascade_core.clip.weights import clip_from_openai
from cascade_core.configs.backbones import CLIPS
from cascade_core.configs.model import ClipConfig
from tests.cascade_core.clip.families import FAMILIES, VIT_L14, random_weights
from tests.cascade_core.clip.reference import differences


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.name.replace(" ", "-"))
def test_features_equal_open_clip_s_at_several_picture_sizes(config: ClipConfig) -> None:
    weights = random_weights(config)
    other = 5 * config.patch_size
    largest = differences(
        clip_from_openai(weights, config), weights, image_sizes=(config.image_size, 224, other)
    )
    assert set(largest) == {f"pictures of {size}" for size in (config.image_size, 224, other)} | {"texts"}
    assert max(largest.values()) < 1e-5


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"activation": "gelu"}, {"pictures of 56", "texts"}),
        ({"heads": 4}, {"pictures of 56"}),
        ({"text_heads": 2}, {"texts"}),
    ],
)
def test_a_wrong_activation_or_number_of_heads_is_detected(
    change: dict[str, object], differing: set[str]
) -> None:
    weights = random_weights(VIT_L14)
    wrong = clip_from_openai(weights, VIT_L14.model_copy(update=change))
    wrong.config = VIT_L14  # open_clip computes the right configuration
    assert {name for name, size in differences(wrong, weights).items() if size > 1e-4} == differing


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CLIPS))
def test_features_of_full_size_models_equal_open_clip_s(name: str) -> None:
    config = CLIPS[name]
    weights = random_weights(config)
    size = 16 * config.patch_size
    clip = clip_from_openai(weights, config)
    assert max(differences(clip, weights, image_sizes=(config.image_size, size)).values()) < 1e-5
    assert all(torch.isfinite(tensor).all() for tensor in clip.state_dict().values())
