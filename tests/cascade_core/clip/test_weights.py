"""CLIP folders and OpenAI-layout weights."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cascade_core.clip.tokenizers import WordTokenizer
from cascade_core.clip.weights import ClipModel, clip_from_openai, load_clip, load_text_tower, save_clip
from cascade_core.configs.model import ClipConfig
from cascade_core.errors import UserError
from tests.tiny import write_tiny_clip

CONFIG = ClipConfig(
    name="small",
    image_size=16,
    patch_size=8,
    width=8,
    layers=2,
    heads=2,
    embed_dim=6,
    text_width=8,
    text_layers=1,
    text_heads=2,
    context_length=5,
    vocab_size=5,
)


def _openai_state() -> dict[str, Tensor]:
    """Return random weights under the keys of OpenAI's checkpoints."""
    renames = [
        ("visual.blocks.", "visual.transformer.resblocks."),
        ("text.blocks.", "transformer.resblocks."),
        ("text.", ""),
    ]
    state = {}
    for key, tensor in ClipModel(CONFIG).state_dict().items():
        theirs = next((new + key.removeprefix(old) for old, new in renames if key.startswith(old)), key)
        state[theirs] = torch.randn_like(tensor)
    return state


def test_a_saved_clip_loads_unchanged(tmp_path: Path) -> None:
    clip = ClipModel(CONFIG)
    save_clip(tmp_path / "clip", clip, words=["cat", "dog"])
    loaded, tokenizer = load_clip(tmp_path / "clip")
    assert loaded.config == CONFIG
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in clip.state_dict().items())
    assert isinstance(tokenizer, WordTokenizer)
    assert torch.equal(tokenizer(["dog"]), torch.tensor([[1, 3, 4, 0, 0]]))
    assert not loaded.training


def test_an_openai_state_dict_with_its_extras_loads_in_full() -> None:
    state = _openai_state()
    extras = {
        "input_resolution": torch.tensor(16),
        "context_length": torch.tensor(5),
        "vocab_size": torch.tensor(5),
    }
    clip = clip_from_openai({**state, **extras}, CONFIG)
    assert torch.equal(
        clip.visual.blocks[1].mlp.c_fc.weight, state["visual.transformer.resblocks.1.mlp.c_fc.weight"]
    )
    assert torch.equal(clip.text.positional_embedding, state["positional_embedding"])


def test_half_precision_weights_become_single() -> None:
    halves = {key: tensor.half() for key, tensor in _openai_state().items()}
    clip = clip_from_openai(halves, CONFIG)
    assert {tensor.dtype for tensor in clip.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("key", ["visual.proj", "transformer.resblocks.0.ln_1.weight", "logit_scale"])
def test_a_missing_weight_is_named(key: str) -> None:
    state = _openai_state()
    del state[key]
    name = key.replace("transformer.resblocks.", "text.blocks.") if key.startswith("transformer") else key
    with pytest.raises(ValueError, match=re.escape(name)):
        clip_from_openai(state, CONFIG)


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json is missing.*dvc pull"):
        load_clip(tmp_path)


@pytest.mark.parametrize("load", [load_clip, load_text_tower])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b'{"width": "many"}', r"config\.json: \w+: .*; import the CLIP again"),
        ("config.json", b"{", r"config\.json is not JSON"),
        (
            "model.safetensors",
            b"cut short",
            r"model\.safetensors cannot be read as safetensors \(.*fetch it again",
        ),
    ],
)
def test_a_damaged_file_of_a_clip_folder_is_named(
    tmp_path: Path, load: Callable[[Path], object], name: str, content: bytes, message: str
) -> None:
    write_tiny_clip(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_another_folder_is_not_suggested_as_a_place_for_a_clip(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(
        UserError, match=r"is no CLIP's folder, or is damaged: config\.json is missing"
    ) as raised:
        load_clip(tmp_path)
    assert "--out" not in str(raised.value)
