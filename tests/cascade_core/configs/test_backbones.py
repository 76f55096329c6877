"""Recipes on backbones other than the published one."""

import pytest

from cascade_core.clip.published import published_config
from cascade_core.configs.backbones import CLIPS, backbone, without_backbone
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.recipes import recipe

PUBLISHED = ("zegclip_voc12", "cascade_voc12", "cascade_context59", "cascade_cocostuff")


@pytest.mark.parametrize("name", list(CLIPS))
def test_a_backbone_equals_open_clip_s_configuration(name: str) -> None:
    assert CLIPS[name] == published_config(name, "openai")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_backbone_changes_nothing(name: str) -> None:
    assert recipe(name, {"clip": "ViT-B-16"}) == recipe(name)


@pytest.mark.parametrize("backbone", list(CLIPS))
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_recipe_fits_every_backbone_in_whole_patches(name: str, backbone: str) -> None:
    config = recipe(name, {"clip": backbone})
    patch = CLIPS[backbone].patch_size
    assert config.model.clip == CLIPS[backbone]
    assert config.model.image_size == config.data.crop_size == config.evaluate.crop_size
    assert config.model.image_size % patch == 0
    assert 512 - patch < config.model.image_size <= 512
    assert config.evaluate.short_side == config.evaluate.crop_size


def test_middle_blocks_of_a_deeper_clip_keep_relative_depths() -> None:
    groups = recipe("cascade_voc12", {"clip": "ViT-L-14"}).model.groups
    assert groups == ((11, 13, 15), (17, 19, 21))
    shares = [(block + 1) / 24 for group in groups for block in group]
    assert shares == [(block + 1) / 12 for block in (5, 6, 7, 8, 9, 10)]


def test_other_overrides_come_after_the_backbone() -> None:
    config = recipe(
        "cascade_voc12", {"model.groups": [[3], [4, 5]], "clip": "ViT-L-14", "data.crop_size": 448}
    )
    assert config.model.groups == ((3,), (4, 5))
    assert config.data.crop_size == 448


def test_an_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="open_clip has no model 'ViT-Z'; examples .* ViT-B-16, ViT-B-32"):
        recipe("cascade_voc12", {"clip": "ViT-Z"})


def test_self_training_refuses_an_override_of_the_backbone() -> None:
    trained = recipe("cascade_voc12", {"clip": "ViT-L-14"})
    overrides = {"clip": "ViT-L-14", "train.iterations": 6}
    assert without_backbone(overrides, trained) == {"train.iterations": 6}
    renamed = with_overrides(trained, {"model.clip.name": "another name", "model.clip.activation": "gelu"})
    assert without_backbone(overrides, renamed) == {"train.iterations": 6}
    with pytest.raises(ValueError, match="clip='ViT-B-32': the checkpoint was trained on 'ViT-L-14'"):
        without_backbone({"clip": "ViT-B-32"}, trained)


@pytest.mark.parametrize(
    ("name", "width", "heads", "hidden"),
    [
        ("ViT-H-14", 1280, 16, None),
        ("ViT-H-14-378-quickgelu", 1280, 16, None),
        ("ViT-g-14", 1408, 16, 6144),
        ("ViT-bigG-14", 1664, 16, 8192),
        ("ViT-B-32-256", 768, 12, None),
    ],
)
def test_other_models_of_open_clip_are_backbones_by_name(
    name: str, width: int, heads: int, hidden: int | None
) -> None:
    clip = backbone(name)
    assert (clip.width, clip.heads, clip.image_feedforward) == (width, heads, hidden)
    assert clip.activation == ("quick_gelu" if "quick" in name else "gelu")
    for method in ("naclip", "cascade_voc12"):
        config = recipe(method, {"clip": name})
        assert config.model.clip == clip
        assert config.evaluate.crop_size % clip.patch_size == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ViT-B-16-SigLIP", "SigLIP pools patches with an attention head"),
        ("EVA02-B-16", "EVA turns queries and keys by rotary positions"),
        ("RN50", "its image tower is a ResNet"),
        ("convnext_base", "its image tower is convnext_base of the package timm"),
        ("roberta-ViT-B-32", "its text tower is roberta-base"),
        ("coca_ViT-B-32", "it has parts that OpenAI's CLIP lacks"),
    ],
)
def test_models_of_another_layout_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"CLIP '{name}' is not of OpenAI's ViT layout: {reason}"):
        recipe("naclip", {"clip": name})
