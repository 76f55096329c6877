"""The import-clip step: from each kind of source to a folder that loads, and what is refused on the way."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip.files import WEIGHTS_FILE
from cascade_core.clip.weights import clip_from_openai, load_clip
from cascade_core.configs.model import ClipConfig
from cascade_core.runtime.files import sha256
from components.artifacts.manifest import read_step_manifest
from components.steps import import_clip
from tests.cascade_core.clip.families import VIT_B16, VIT_H14, random_weights, write_scripted
from tests.cascade_core.clip.test_published import in_hub_cache

MODEL_CFG = {
    "embed_dim": VIT_H14.embed_dim,
    "vision_cfg": {"image_size": 56, "layers": 6, "width": 160, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 9, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
CONFIG = VIT_H14.model_copy(update={"vocab_size": 49408})


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights(VIT_B16)


@pytest.fixture(scope="module")
def named_weights() -> dict[str, Tensor]:
    """Return weights of a model whose number of heads only the configuration states."""
    return random_weights(CONFIG)


def _same(folder: Path, weights: dict[str, Tensor], config: ClipConfig) -> bool:
    ours, theirs = load_clip(folder)[0], clip_from_openai(weights, config)
    state = theirs.state_dict()
    return ours.config == config and all(
        torch.equal(tensor, state[key]) for key, tensor in ours.state_dict().items()
    )


def test_a_safetensors_file_becomes_a_clip_folder(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    import_clip.run(source=str(tmp_path / "w.safetensors"), activation="quick_gelu", out=tmp_path / "clip")
    manifest = read_step_manifest(tmp_path / "clip")
    assert manifest.inputs["weights"].sha256 == sha256(tmp_path / "w.safetensors")
    assert manifest.parameters["activation"] == "quick_gelu"
    assert _same(tmp_path / "clip", weights, VIT_B16.model_copy(update={"name": "w"}))


def test_openai_s_archive_is_a_quickgelu_model_in_half_precision(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    halves = {key: tensor.half() for key, tensor in weights.items() if key != "attn_mask"}
    write_scripted(tmp_path / "ViT.pt", halves)
    import_clip.run(source=str(tmp_path / "ViT.pt"), out=tmp_path / "clip")
    assert _same(tmp_path / "clip", halves, VIT_B16.model_copy(update={"name": "ViT"}))
    assert {tensor.dtype for tensor in load_clip(tmp_path / "clip")[0].state_dict().values()} == {
        torch.float32
    }


def test_a_hub_folder_says_heads_and_activation(named_weights: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL_CFG}))
    torch.save({"state_dict": named_weights}, tmp_path / "hub" / "open_clip_pytorch_model.bin")
    wanted = CONFIG.model_copy(update={"name": "hub"})
    for source in (tmp_path / "hub", tmp_path / "hub" / "open_clip_pytorch_model.bin"):
        import_clip.run(source=str(source), out=tmp_path / "clip")
        assert _same(tmp_path / "clip", named_weights, wanted)


@pytest.fixture
def _small_h14(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip know the small model as one of its own."""
    from open_clip.factory import _MODEL_CONFIGS
    from open_clip.pretrained import _PRETRAINED

    monkeypatch.setitem(_MODEL_CONFIGS, "ViT-Small", MODEL_CFG)
    tags = {"laion": {"hf_hub": "laion/small/"}, "fast": {"hf_hub": "laion/fast/", "quick_gelu": True}}
    monkeypatch.setitem(_PRETRAINED, "ViT-Small", tags)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("_small_h14")
def test_a_model_by_name_and_tag_comes_out_of_open_clip_s_cache(
    named_weights: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    save_file(named_weights, in_hub_cache(tmp_path / "hub", "laion/small", "open_clip_model.safetensors"))
    done = import_clip.run(source="ViT-Small", tag="laion", cache=tmp_path / "hub")
    assert done.folder == tmp_path / "home" / "clip" / "ViT-Small-laion"
    done.show()
    assert "commands take it as --clip ViT-Small-laion" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()
    assert _same(done.folder, named_weights, CONFIG.model_copy(update={"name": "ViT-Small laion"}))
    for name in ("ViT-Small", "ViT/Small"):  # OpenAI writes ViT-B/16
        with pytest.raises(ValueError, match="which weights of 'ViT-Small'.*add --tag with one of .*laion"):
            import_clip.run(source=name)
    with pytest.raises(ValueError, match="nothing is neither a file nor a model of open_clip"):
        import_clip.run(source="nothing")
    with pytest.raises(ValueError, match="'RN50' is not of OpenAI's ViT layout"):
        import_clip.run(source="RN50")
    (tmp_path / "ViT-Small").mkdir()
    again = import_clip.run(source="ViT-Small", tag="laion", cache=tmp_path / "hub", out=tmp_path / "again")
    assert again.config == done.config


@pytest.mark.usefixtures("_small_h14")
def test_weights_of_another_model_than_the_one_named_are_refused(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(weights, in_hub_cache(tmp_path / "hub", "laion/small", "open_clip_model.safetensors"))
    with pytest.raises(ValueError, match=r"width 64 is no multiple of 80|is not 'ViT-Small': it has"):
        import_clip.run(source="ViT-Small", tag="laion", cache=tmp_path / "hub", out=tmp_path / "clip")
    assert not (tmp_path / "clip").exists()


def test_a_bare_file_without_stated_activation_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="does not say which activation .*--tag .*--activation"):
        import_clip.run(source=str(tmp_path / "w.safetensors"), out=tmp_path / "clip")
    with pytest.raises(ValueError, match="no open_clip model has the shapes"):
        import_clip.run(source=str(tmp_path / "w.safetensors"), tag="openai", out=tmp_path / "clip")


def test_statements_that_contradict_each_other_are_refused(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    write_scripted(tmp_path / "ViT.pt", {key: weights[key] for key in weights if key != "attn_mask"})
    with pytest.raises(ValueError, match="--activation says gelu, OpenAI's archive says quick_gelu"):
        import_clip.run(source=str(tmp_path / "ViT.pt"), activation="gelu", out=tmp_path / "clip")


def test_a_surplus_or_missing_weight_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({**weights, "visual.extra": torch.ones(1)}, tmp_path / "more.safetensors")
    fewer = {key: tensor for key, tensor in weights.items() if key != "ln_final.bias"}
    save_file(fewer, tmp_path / "fewer.safetensors")
    for name, message in (("more", r"visual\.extra"), ("fewer", r"text\.ln_final\.bias")):
        with pytest.raises(ValueError, match=message):
            import_clip.run(
                source=str(tmp_path / f"{name}.safetensors"), activation="gelu", out=tmp_path / "clip"
            )
    assert not (tmp_path / "clip").exists()


def test_a_path_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights .*none\.safetensors do not exist"):
        import_clip.run(source=str(tmp_path / "none.safetensors"), activation="gelu", out=tmp_path / "clip")
    with pytest.raises(ValueError, match=r"has no open_clip_config\.json: give a weights file in it"):
        import_clip.run(source=str(tmp_path), out=tmp_path / WEIGHTS_FILE)


def test_random_weights_of_the_smallest_clip_read_any_words(tmp_path: Path) -> None:
    for name in ("one", "two"):
        import_clip.run(source="mini", random=True, out=tmp_path / name)
    assert sha256(tmp_path / "one" / WEIGHTS_FILE) == sha256(tmp_path / "two" / WEIGHTS_FILE)
    clip, tokenizer = load_clip(tmp_path / "one")
    with torch.inference_mode():
        vectors = clip.text.encode_text(tokenizer(["a photo of a sign symbol.", "a photo of a bicyclist."]))
    assert vectors.shape == (2, clip.config.embed_dim) and not torch.equal(vectors[0], vectors[1])


def test_random_weights_come_without_a_statement_about_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out --tag and --method"):
        import_clip.run(source="mini", random=True, tag="openai", method="naclip", out=tmp_path / "clip")
    with pytest.raises(ValueError, match="open_clip has no model 'nope'"):
        import_clip.run(source="nope", random=True, out=tmp_path / "clip")
