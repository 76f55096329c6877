"""The text half of a CLIP folder: all that a trained segmentor needs besides its checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip.text import TextTransformer, Tokenizer
from cascade_core.clip.weights import (
    CONFIG_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    fill,
    load_tokenizer,
    name_from_openai,
    read_clip_config,
)
from cascade_core.configs.config import ClipConfig
from cascade_core.runtime.files import damage_told, new_folder, sha256

_PREFIX = "text."


def load_text_tower(folder: Path) -> tuple[TextTransformer, Tokenizer]:
    """Read the text tower, in float32 and eval mode, and the tokenizer of a CLIP folder or of its text half.

    The image tower's weights are not read.

    Raises:
        UserError: a file is missing or does not fit; the message names it.
    """
    config = read_clip_config(folder)
    text = TextTransformer(config)
    state = {key.removeprefix(_PREFIX): tensor.float() for key, tensor in _tensors(folder).items()}
    fill(text, state, source=folder / WEIGHTS_FILE, name=config.name)
    return text.eval(), load_tokenizer(folder, config)


def copy_text_tower(folder: Path, target: Path) -> None:
    """Write the text half of a CLIP folder: its configuration, vocabulary and text weights.

    Raises:
        UserError: as of `load_text_tower`.
    """
    read_clip_config(folder)
    with new_folder(target) as working:
        for name in (CONFIG_FILE, VOCABULARY_FILE):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, working / name)
        save_file(_tensors(folder), working / WEIGHTS_FILE)


def save_text_tower(folder: Path, config: ClipConfig, weights: Mapping[str, Tensor]) -> None:
    """Write the text half of a CLIP from weights in OpenAI's layout, strictly.

    Raises:
        UserError: keys or shapes are not those of `config`'s text tower.
    """
    text = TextTransformer(config)
    state = {name_from_openai(key).removeprefix(_PREFIX): tensor for key, tensor in weights.items()}
    fill(text, state, source="the text tower", name=config.name)
    with new_folder(folder) as working:
        (working / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n")
        save_file(
            {f"{_PREFIX}{key}": w.contiguous() for key, w in text.state_dict().items()},
            working / WEIGHTS_FILE,
        )


def fingerprint(folder: Path) -> dict[str, str]:
    """Give the SHA-256 of each file of a CLIP folder that decides what its text tower computes.

    Raises:
        UserError: a file is missing; the message names it.
    """
    read_clip_config(folder)
    files = (folder / name for name in (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE))
    return {file.name: sha256(file) for file in files if file.is_file()}


def _tensors(folder: Path) -> dict[str, Tensor]:
    with damage_told(folder / WEIGHTS_FILE), safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys() if key.startswith(_PREFIX)}  # noqa: SIM118
