"""open_clip's published models: configurations, activations by tag, and weights in its cache."""

import json
import urllib.error
from pathlib import Path

import pytest

from cascade_core.clip import published
from cascade_core.errors import UserError


def in_hub_cache(cache: Path, repository: str, name: str, content: bytes = b"weights") -> Path:
    """Write a file to the place where the hub's client looks for it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    file = folder / "snapshots" / "0123abc" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abc")
    return file


@pytest.mark.parametrize(
    ("model", "tag", "activation"),
    [
        ("ViT-B-16", "openai", "quick_gelu"),
        ("ViT-B-16", "laion2b_s34b_b88k", "gelu"),
        ("ViT-B-32", "openai", "quick_gelu"),
        ("ViT-B-32", "laion400m_e32", "quick_gelu"),
        ("ViT-B-32", "laion2b_s34b_b79k", "gelu"),
        ("ViT-L-14", "openai", "quick_gelu"),
        ("ViT-L-14", "laion2b_s32b_b82k", "gelu"),
    ],
)
def test_the_tag_decides_the_activation(model: str, tag: str, activation: str) -> None:
    assert published.published_config(model, tag).activation == activation
    assert published.tag_activation(model, tag) == activation


def test_a_tag_of_the_quickgelu_twin_counts_for_the_model() -> None:
    assert published.tag_activation("ViT-H-14", "dfn5b") == "quick_gelu"


def test_the_model_name_gives_heads_of_unusual_width() -> None:
    assert published.published_config("ViT-H-14", "laion2b_s32b_b79k").heads == 16


@pytest.mark.parametrize(
    ("model", "tag", "message"),
    [
        ("ViT-Q", "openai", "has no model 'ViT-Q'; examples of OpenAI's ViT layout are ViT-B-16"),
        ("ViT-B-16", "mine", "no weights 'mine' of model 'ViT-B-16'; its tags are openai, "),
        ("ViT-L-16", "openai", "has no weights of model 'ViT-L-16'; give a file"),
        ("RN50", "openai", "'RN50' is not of OpenAI's ViT layout: .*ResNet"),
        ("ViT-B-16-SigLIP", "webli", "not of OpenAI's ViT layout: .*another tokenizer"),
        ("ViT-B-16-SigLIP", "openai", "not of OpenAI's ViT layout: .*another tokenizer"),
    ],
)
def test_an_unavailable_model_is_refused_with_alternatives(model: str, tag: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published.published_config(model, tag)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("_offline")
def test_cached_weights_are_used_the_safer_file_first(tmp_path: Path) -> None:
    where = (tmp_path, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    pickled = in_hub_cache(*where, "open_clip_pytorch_model.bin")
    assert published.weights_file("ViT-B-32", "laion2b_s34b_b79k", cache=tmp_path) == pickled
    safe = pickled.with_name("open_clip_model.safetensors")
    safe.write_bytes(b"weights")
    assert published.weights_file("ViT-B-32", "laion2b_s34b_b79k", cache=tmp_path) == safe


@pytest.mark.usefixtures("_offline")
def test_weights_that_cannot_be_fetched_are_named_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"fetch open_clip_model\.safetensors of 'timm/vit_base_patch16_clip_224\.openai' on the Hugging "
        r"Face hub or https://.*/ViT-B-16\.pt on another machine, and give the file's path with --tag openai",
    ):
        published.weights_file("ViT-B-16", "openai", cache=tmp_path)


def test_a_hub_folder_has_a_weights_file_and_a_configuration(tmp_path: Path) -> None:
    from open_clip import get_model_config

    model_cfg = {**get_model_config("ViT-L-14"), "quick_gelu": True}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    with pytest.raises(ValueError, match="neither open_clip_model.safetensors nor"):
        published.hub_folder(tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    weights, config = published.hub_folder(tmp_path)
    assert weights == tmp_path / "open_clip_pytorch_model.bin"
    assert config == published.published_config("ViT-L-14", "openai")


def test_without_a_network_the_refusal_comes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, timeout: float) -> None:
        assert timeout <= 5
        raise urllib.error.URLError("no route to host")

    def download(*_: object, **__: object) -> None:
        raise AssertionError("the client would try again for more than a minute")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("open_clip.pretrained.download_pretrained", download)
    with pytest.raises(
        UserError, match="no network: no route to host.*: fetch open_clip_model.safetensors of"
    ):
        published.weights_file("ViT-B-16", "openai", cache=tmp_path)
