"""CLIP weights on disk: our own folder format, and state dicts in the key layout of OpenAI and open_clip."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cascade_core.clip.model import ClipModel
from cascade_core.clip.tokenizers import BytePairTokenizer, Tokenizer, WordTokenizer
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
# OpenAI's archives hold these scalars, and open_clip's state dicts this buffer, besides the weights.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def save_clip(folder: Path, clip: ClipModel, *, words: Sequence[str] | None = None) -> None:
    """Write the folder of a CLIP; `words` are the vocabulary of a word-level tokenizer."""
    write_clip_folder(folder, clip.config, clip.state_dict(), words=words)


def write_clip_folder(
    folder: Path, config: ClipConfig, state: Mapping[str, Tensor], *, words: Sequence[str] | None = None
) -> None:
    """Write configuration, weights (of both towers or of the text tower) and vocabulary, if there is one."""
    with new_folder(folder) as working:
        (working / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n")
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, working / WEIGHTS_FILE)
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
    load_state(clip, state, source=folder / WEIGHTS_FILE, name=clip.config.name)
    return clip.eval(), load_tokenizer(folder, clip.config)


def read_clip_config(folder: Path) -> ClipConfig:
    """Read the configuration of a CLIP folder, or of its text half, and check that the weights are there.

    Raises:
        UserError: a file is missing, or the configuration is not a CLIP's; the message names file or field.
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
    """Return the folder's word-level tokenizer, or CLIP's byte-pair tokenizer if it lists no vocabulary."""
    if (folder / VOCABULARY_FILE).is_file():
        return WordTokenizer(read_json(folder / VOCABULARY_FILE), config.context_length)
    return BytePairTokenizer(config.context_length)


def name_from_openai(key: str) -> str:
    """Translate a state-dict key of OpenAI's into ours."""
    for pattern, replacement in _OPENAI_RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def clip_from_openai(state_dict: Mapping[str, Tensor], config: ClipConfig) -> ClipModel:
    """Build a CLIP, in float32 and eval mode, from weights in OpenAI's key layout, strictly.

    Raises:
        UserError: keys or shapes differ from `config`'s.
    """
    state = {
        name_from_openai(key): tensor.float()
        for key, tensor in state_dict.items()
        if key.rpartition(".")[2] not in _NO_WEIGHTS
    }
    clip = ClipModel(config)
    load_state(clip, state, source="the OpenAI-layout state dict", name=config.name)
    return clip.eval()


def load_state(tower: nn.Module, state: Mapping[str, Tensor], *, source: Path | str, name: str) -> None:
    """Load the weights of the CLIP `name`, or of one of its towers, strictly.

    Raises:
        UserError: keys or shapes differ.
    """
    try:
        tower.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{source} does not fit CLIP {name!r}: {error}") from error
