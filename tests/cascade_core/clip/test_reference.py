"""Each family's towers equal open_clip's, and towers of another activation or number of heads do not."""

import pytest
import torch

from cascade_core.clip.weights import clip_from_openai
from cascade_core.configs.backbones import CLIPS
from cascade_core.configs.config import ClipConfig
from tests.cascade_core.clip.families import FAMILIES, VIT_L14, random_weights
from tests.cascade_core.clip.reference import differences


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.name.replace(" ", "-"))
def test_features_equal_open_clip_s_at_the_pretraining_size_at_224_and_at_others(config: ClipConfig) -> None:
    weights = random_weights(config)
    other = 5 * config.patch_size
    found = differences(
        clip_from_openai(weights, config), weights, image_sizes=(config.image_size, 224, other)
    )
    assert set(found) == {f"pictures of {size}" for size in (config.image_size, 224, other)} | {"texts"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"activation": "gelu"}, {"pictures of 56", "texts"}),
        ({"heads": 4}, {"pictures of 56"}),
        ({"text_heads": 2}, {"texts"}),
    ],
)
def test_a_wrong_activation_or_number_of_heads_shows(change: dict[str, object], what: set[str]) -> None:
    weights = random_weights(VIT_L14)
    wrong = clip_from_openai(weights, VIT_L14.model_copy(update=change))
    wrong.config = VIT_L14  # what open_clip is asked to compute
    assert {name for name, size in differences(wrong, weights).items() if size > 1e-4} == what


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CLIPS))
def test_full_size_features_equal_open_clip_s_at_224_and_at_a_segmentor_s_size(name: str) -> None:
    config = CLIPS[name]
    weights = random_weights(config)
    size = 16 * config.patch_size
    clip = clip_from_openai(weights, config)
    assert max(differences(clip, weights, image_sizes=(config.image_size, size)).values()) < 1e-5
    assert all(torch.isfinite(tensor).all() for tensor in clip.state_dict().values())
