"""The number of weights that train in each full-size recipe; the docs state the same numbers."""

from functools import cache
from pathlib import Path

import pytest
import torch

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.backbones import CLIP_VIT_B16
from cascade_core.configs.recipes import recipe, trained_recipe_names
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import trainable_parameter_count

WEIGHTS = {
    "zegclip": {"voc12": 13_821_184, "cocostuff": 14_650_624},
    "cascade": {"voc12": 40_094_982, "context59": 40_325_382, "cocostuff": 40_463_622},
    "plus": {"voc12": 40_094_982, "cocostuff": 40_463_622},
    "plus_projections": {"voc12": 42_463_494, "cocostuff": 42_832_134},
    "spt_seg": {"voc12": 12_888_640, "cocostuff": 13_718_080},
    "spt_seg_cascade": {"voc12": 35_626_182, "cocostuff": 35_994_822},
    "frozen": {"voc12": 13_136_896, "cocostuff": 13_136_896},
    "frozen_cascade": {"voc12": 39_410_694, "cocostuff": 39_410_694},
    "otseg": {"voc12": 8_039_168, "context59": 8_039_168, "cocostuff": 8_868_608},
    "cat_seg": {"voc12": 24_526_049, "cocostuff": 24_526_049},
    "cat_seg_frozen": {"voc12": 4_668_641, "cocostuff": 4_668_641},
}
TOTALS = {f"{method}_{data}": total for method, totals in WEIGHTS.items() for data, total in totals.items()}


@cache
def _tower() -> VisionTransformer:
    """The image tower without values; each model copies it."""
    with torch.device("meta"):
        return VisionTransformer(CLIP_VIT_B16)


@pytest.mark.parametrize("name", TOTALS)
def test_so_many_weights_train(name: str) -> None:
    settings = recipe(name).model
    assert settings.clip == CLIP_VIT_B16
    with torch.device("meta"):
        assert trainable_parameter_count(build_segmentor(settings, _tower(), seed=0)) == TOTALS[name]


def test_every_full_size_recipe_that_trains_is_counted() -> None:
    assert set(TOTALS) == {name for name in trained_recipe_names() if recipe(name).model.clip == CLIP_VIT_B16}


@pytest.mark.parametrize("method", WEIGHTS)
def test_the_docs_state_the_number_of_weights(method: str) -> None:
    cells = [f"`{method}`"] + [
        f"{WEIGHTS[method][data]:,}" if data in WEIGHTS[method] else ""
        for data in ("voc12", "context59", "cocostuff")
    ]
    docs = (Path(__file__).parents[3] / "docs/methods.md").read_text(encoding="utf-8").splitlines()
    assert f"| {' | '.join(cells)} |" in docs
