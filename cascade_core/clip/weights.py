"""CLIP weights on disk: our own folder format, and state dicts in the layout that OpenAI and open_clip share."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cascade_core.clip.byte_pair_tokenizer import BytePairTokenizer
from cascade_core.clip.model import ClipModel
from cascade_core.clip.text import Tokenizer
from cascade_core.clip.word_tokenizer import WordTokenizer
from cascade_core.configs.config import ClipConfig
from cascade_core.errors import UserError
from cascade_core.runtime.files import damage_told, new_folder, read_json
from cascade_core.runtime.validation import validated

CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "config.json", "model.safetensors", "vocabulary.json"

_OPENAI_RENAMES = (
    (r"^visual\.transformer\.resblocks\.", "visual.blocks."),
    (r"^transformer\.resblocks\.", "text.blocks."),
    (r"^(token_embedding\.|positional_embedding$|ln_final\.|text_projection$)", r"text.\1"),
)
# Scalars that OpenAI's archives carry beside the weights.
_OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}


def save_clip(folder: Path, clip: ClipModel, *, words: list[str] | None = None) -> None:
    """Write `clip` as config, safetensors and, for a word-level tokenizer, its vocabulary."""
    with new_folder(folder) as working:
        (working / CONFIG_FILE).write_text(clip.config.model_dump_json(indent=2) + "\n")
        save_file(
            {key: tensor.contiguous() for key, tensor in clip.state_dict().items()}, working / WEIGHTS_FILE
        )
        if words is not None:
            (working / VOCABULARY_FILE).write_text(json.dumps(words, indent=0) + "\n")


def load_clip(folder: Path) -> tuple[ClipModel, Tokenizer]:
    """Read a CLIP folder: the model in float32 and eval mode, and its tokenizer.

    Raises:
        UserError: a file is missing or does not fit; the message names it.
    """
    clip = ClipModel(read_clip_config(folder))
    with damage_told(folder / WEIGHTS_FILE):
        state = {key: tensor.float() for key, tensor in load_file(folder / WEIGHTS_FILE).items()}
    fill(clip, state, source=folder / WEIGHTS_FILE, name=clip.config.name)
    return clip.eval(), load_tokenizer(folder, clip.config)


def read_clip_config(folder: Path) -> ClipConfig:
    """Read the configuration of a CLIP folder, or of its text half, that has its weights.

    Raises:
        UserError: a file is missing, or the configuration is not that of a CLIP; the message names file or field.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise UserError(
                f"CLIP file {folder / name} is missing. For the mini benchmark run `dvc pull` or "
                f"`cascade-clip pretrain`; for a real CLIP `cascade-clip import-clip ViT-B-16 --tag openai --out {folder}`, "
                "which says where it looks for the weights"
            )
    path = folder / CONFIG_FILE
    return validated(ClipConfig, read_json(path), source=path, way_out="import the CLIP again")


def load_tokenizer(folder: Path, config: ClipConfig) -> Tokenizer:
    """Return the folder's word-level tokenizer, or CLIP's byte-pair one where it brings no vocabulary."""
    if (folder / VOCABULARY_FILE).is_file():
        return WordTokenizer(read_json(folder / VOCABULARY_FILE), config.context_length)
    return BytePairTokenizer(config.context_length)


def name_from_openai(key: str) -> str:
    """Give our state-dict key for one of OpenAI's."""
    for pattern, replacement in _OPENAI_RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def clip_from_openai(state_dict: Mapping[str, Tensor], config: ClipConfig) -> ClipModel:
    """Return a CLIP from weights in OpenAI's key layout, which open_clip shares, strictly.

    Raises:
        UserError: keys or shapes differ from `config`'s.
    """
    renamed = {}
    for key, tensor in state_dict.items():
        if key in _OPENAI_EXTRAS or key.rpartition(".")[2] == "attn_mask":
            continue
        renamed[name_from_openai(key)] = tensor.float()
    clip = ClipModel(config)
    fill(clip, renamed, source="the OpenAI-layout state dict", name=config.name)
    return clip.eval()


def fill(tower: nn.Module, state: Mapping[str, Tensor], *, source: Path | str, name: str) -> None:
    """Load the weights of the CLIP `name`, or of a tower of it, strictly.

    Raises:
        UserError: keys or shapes differ.
    """
    try:
        tower.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{source} does not fit CLIP {name!r}: {error}") from error
