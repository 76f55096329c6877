"""Inference on a graph equals inference on the model that the graph was exported from."""

import pytest
import torch
import torch.nn.functional as F

from cascade_core.clip.weights import ClipModel
from cascade_core.configs.config import EvalConfig
from cascade_core.configs.settings import ScoreFunction
from cascade_core.engines.graph import Exportable
from cascade_core.engines.segmentor import GraphSegmentor
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.strips import Limits
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.build import build_segmentor
from tests.tiny import tiny_config

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def module() -> Exportable:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        visual = ClipModel(CONFIG.model.clip).visual
    return Exportable(build_segmentor(CONFIG.model, visual, seed=0), CONFIG)


@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
@pytest.mark.parametrize(
    "evaluate",
    [
        EvalConfig(mode="whole"),
        EvalConfig(mode="slide", crop_size=32, stride=24),
        EvalConfig(mode="slide", crop_size=32, stride=24, average="logits"),
    ],
)
def test_whole_pictures_and_windows_get_the_models_labels(
    score_function: ScoreFunction, evaluate: EvalConfig, module: Exportable
) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, 3, 40, 56, generator=generator)
    vectors = F.normalize(torch.randn(5, 16, generator=generator), dim=-1)
    both = [
        Vocabulary(segmentor, vectors, score_function, seen=(0, 1), seen_penalty=0.1)
        for segmentor in (module.segmentor, GraphSegmentor(CONFIG, module.outputs))
    ]
    for limits in (None, Limits(logits=40)):  # all classes at once, and in chunks
        ours, graphs = (
            label_maps(vocabulary, images, evaluate=evaluate, size=(40, 56), limits=limits)
            for vocabulary in both
        )
        assert len(ours.unique()) > 1 and (ours == graphs).float().mean() > 0.999


def test_pictures_below_two_patches_are_refused(module: Exportable) -> None:
    vocabulary = Vocabulary(GraphSegmentor(CONFIG, module.outputs), torch.eye(16)[:2], "sigmoid")
    with pytest.raises(ValueError, match="would see 40 x 15 pixels; each side needs at least 16"):
        label_maps(vocabulary, torch.zeros(1, 3, 15, 40), evaluate=EvalConfig(mode="whole"), size=(15, 40))
