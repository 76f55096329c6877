"""The text half of a CLIP folder: all that a trained segmentor needs besides its checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cascade_core.clip import weights
from cascade_core.clip.text import TextTransformer
from cascade_core.clip.tokenizers import Tokenizer
from cascade_core.configs.config import ClipConfig
from cascade_core.runtime.files import damage_told, new_folder, sha256

_PREFIX = "text."


def load_text_tower(folder: Path) -> tuple[TextTransformer, Tokenizer]:
    """Read the text tower, in float32 and eval mode, and the tokenizer of a CLIP folder or of its text half.

    The image tower's weights are not read.

    Raises:
        UserError: a file is missing or does not fit; the message names it.
    """
    config = weights.read_clip_config(folder)
    text = TextTransformer(config)
    state = {key.removeprefix(_PREFIX): tensor.float() for key, tensor in _tensors(folder).items()}
    weights.load_state(text, state, source=folder / weights.WEIGHTS_FILE, name=config.name)
    return text.eval(), weights.load_tokenizer(folder, config)


def copy_text_tower(folder: Path, target: Path) -> None:
    """Write the text half of a CLIP folder: its configuration, vocabulary and text weights.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    weights.read_clip_config(folder)
    with new_folder(target) as working:
        for name in (weights.CONFIG_FILE, weights.VOCABULARY_FILE):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, working / name)
        save_file(_tensors(folder), working / weights.WEIGHTS_FILE)


def save_text_tower(folder: Path, config: ClipConfig, state_dict: Mapping[str, Tensor]) -> None:
    """Write the text half of a CLIP from weights in OpenAI's key layout, strictly.

    Raises:
        UserError: keys or shapes are not those of `config`'s text tower.
    """
    text = TextTransformer(config)
    state = {weights.name_from_openai(key).removeprefix(_PREFIX): w for key, w in state_dict.items()}
    weights.load_state(text, state, source="the text tower", name=config.name)
    weights.write_clip_folder(folder, config, {_PREFIX + key: w for key, w in text.state_dict().items()})


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a CLIP folder that decides what its text tower computes.

    Raises:
        UserError: a file is missing; the message names it.
    """
    weights.read_clip_config(folder)
    names = (weights.CONFIG_FILE, weights.WEIGHTS_FILE, weights.VOCABULARY_FILE)
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / weights.WEIGHTS_FILE
    with damage_told(path), safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys() if key.startswith(_PREFIX)}  # noqa: SIM118
