"""Models made of CLIP alone: their recipes, and what they see on the mini benchmark's scenes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cascade_core.batches.transforms import normalise
from cascade_core.checkpoints.without_training import training_free_model
from cascade_core.clip.text import class_vectors
from cascade_core.clip.vision import VisionTransformer
from cascade_core.clip.weights import ClipModel, load_text_tower
from cascade_core.configs.backbones import CLIPS, MINI_CLIP
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import EvalConfig, RunConfig
from cascade_core.configs.model import LastBlock
from cascade_core.configs.recipes import METHOD_NAMES, recipe, recipe_names, trained_recipe_names
from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.datasets.mini import CLASSES, TEMPLATES
from cascade_core.errors import UserError
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.paint import render
from cascade_core.model.build import build_segmentor
from cascade_core.predictor import Predictor
from cascade_core.shipped.contents import shipped_model
from cascade_core.training_free import training_free_config


@pytest.mark.parametrize("method", LAST_BLOCKS)
@pytest.mark.parametrize("prefix", ["", "mini_"])
def test_every_method_has_a_recipe_without_weights_to_train(method: str, prefix: str) -> None:
    config = recipe(f"{prefix}{method}")
    assert not config.model.trains and config.method == method and method in METHOD_NAMES
    assert config.model.last_block == LAST_BLOCKS[method]
    assert (config.evaluate.average, config.evaluate.synonyms) == ("logits", "maximum")
    assert config.evaluate.seen_penalty == 0
    assert not config.model.double_class_embedding and config.model.mask_size == "input"


def test_recipes_that_train_are_all_the_others() -> None:
    trained = set(trained_recipe_names())
    assert all(recipe(name).model.trains == (name in trained) for name in recipe_names())


@pytest.mark.parametrize("clip", CLIPS.values(), ids=lambda clip: clip.name)
@pytest.mark.parametrize("method", LAST_BLOCKS)
def test_windows_have_whole_patches_on_every_backbone(method: str, clip: Any) -> None:
    config = recipe(method, {"clip": clip.name})
    assert config.model.clip == clip and config.model.image_size == clip.image_size
    assert config.evaluate.crop_size % clip.patch_size == config.evaluate.short_side % clip.patch_size == 0
    windows = {"clearclip": 2}.get(method, 1)
    assert config.evaluate.crop_size == windows * clip.image_size == 2 * config.evaluate.stride


def test_a_model_of_clip_alone_has_seen_no_class() -> None:
    with torch.random.fork_rng(devices=[]):
        clip = ClipModel(MINI_CLIP).eval()
    config = training_free_config("sclip", clip)
    segmentor, manifest = training_free_model(clip.visual, config)
    assert manifest.setting == "training_free" and manifest.unseen == manifest.classes == CLASSES
    assert manifest.seen_penalty(config.evaluate) == 0
    assert all(
        torch.equal(tensor, clip.visual.state_dict()[name.removeprefix("trunk.visual.")])
        for name, tensor in segmentor.state_dict().items()
        if name != "trunk.visual.positional_embedding"  # which has the scenes' size
    )
    with pytest.raises(UserError, match="unknown training-free method 'clip'; known are maskclip"):
        training_free_config("clip", clip)


@pytest.fixture(scope="module")
def towers() -> tuple[VisionTransformer, Tensor]:
    """The image tower of the CLIP in the package's mini model, and its vectors of the mini benchmark's classes."""
    folder = shipped_model(Path("mini"))
    trunk = Predictor.load(folder, device="cpu").segmentor.trunk
    text, tokenizer = load_text_tower(folder / "text_tower")
    return trunk.visual, class_vectors(text, tokenizer, CLASSES, TEMPLATES)


def model_of(
    towers: tuple[VisionTransformer, Tensor], config: RunConfig, block: LastBlock
) -> tuple[Vocabulary, EvalConfig]:
    """Return the vocabulary of a model with this last block, and its inference settings."""
    # The trained model's copy of the tower has its position table at the scenes' size.
    changed = with_overrides(config, {"model.last_block": block.model_dump(), "model.image_size": 64})
    segmentor = build_segmentor(changed.model, towers[0], seed=0).eval()
    return Vocabulary(segmentor, towers[1], "softmax"), changed.evaluate


def test_bf16_labels_as_single_precision_does(towers: tuple[VisionTransformer, Tensor]) -> None:
    rng = np.random.default_rng(8)
    pictures = render(rng, MINI_WORLD.plan_scenes(rng, 8), size=MINI_WORLD.scene_size)
    config, size = recipe("mini_naclip"), (MINI_WORLD.scene_size, MINI_WORLD.scene_size)
    images = torch.stack([normalise(image, config.data.mean, config.data.std) for image in pictures.images])
    model, evaluate = model_of(towers, config, LAST_BLOCKS["naclip"])
    half = evaluate.model_copy(update={"precision": "bf16"})
    single, labels = (label_maps(model, images, evaluate=e, size=size) for e in (evaluate, half))
    assert len(single.unique()) > 8
    assert (single == labels).float().mean() > 0.95
    assert not torch.equal(single, labels)  # bf16 did apply


@pytest.fixture(scope="module")
def scores(towers: tuple[VisionTransformer, Tensor]) -> dict[str, float]:
    """The mean IoU of each method on rendered scenes."""
    rng = np.random.default_rng(7)
    pictures = render(rng, MINI_WORLD.plan_scenes(rng, 60), size=MINI_WORLD.scene_size)
    config = recipe("mini_maskclip")
    images = torch.stack([normalise(image, config.data.mean, config.data.std) for image in pictures.images])
    blocks = {
        "vanilla": LastBlock(),
        **LAST_BLOCKS,
        "bare": LastBlock(attention="value", residual=False, feedforward=False),
    }
    ious = {}
    for name, block in blocks.items():
        size = (MINI_WORLD.scene_size, MINI_WORLD.scene_size)
        model, evaluate = model_of(towers, config, block)
        predicted = label_maps(model, images, evaluate=evaluate, size=size).numpy()
        hits = [((predicted == c) & (pictures.labels == c)).sum() for c in range(len(CLASSES))]
        union = [((predicted == c) | (pictures.labels == c)).sum() for c in range(len(CLASSES))]
        ious[name] = float(np.mean(np.divide(hits, np.maximum(union, 1))))
    return ious


def test_each_method_beats_clip_s_own_last_block(scores: dict[str, float]) -> None:
    assert all(scores[name] > 2 * scores["vanilla"] for name in (*LAST_BLOCKS, "bare")), scores


def test_values_alone_beat_values_with_residual(scores: dict[str, float]) -> None:
    assert scores["bare"] > scores["maskclip"], scores
