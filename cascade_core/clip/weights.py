"""CLIP as a whole, its folder on disk, and the text half of that folder.

The text half is all that a trained segmentor needs besides its checkpoint. Weights of OpenAI and open_clip come in
a key layout of their own, which `name_from_openai` translates.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cascade_core.clip.files import CONFIG_FILE, VOCABULARY_FILE, WEIGHTS_FILE, read_clip_config
from cascade_core.clip.text import TextTransformer
from cascade_core.clip.tokenizers import BytePairTokenizer, Tokenizer, WordTokenizer
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.model import ClipConfig
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, read_json, sha256
from cascade_core.runtime.tensors import fitting, read_tensors, write_half
from cascade_core.runtime.validation import validated

Module = TypeVar("Module", bound=nn.Module)

_TEXT_PREFIX = "text."
_OPENAI_RENAMES = (
    (r"^visual\.transformer\.resblocks\.", "visual.blocks."),
    (r"^transformer\.resblocks\.", "text.blocks."),
    (r"^(token_embedding\.|positional_embedding$|ln_final\.|text_projection$)", r"text.\1"),
)
# OpenAI's archives hold these scalars, and open_clip's state dicts this buffer, besides the weights.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


class ClipModel(nn.Module):
    """Image tower, text tower and the logarithm of the logit scale (Radford et al. 2021, figure 3)."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTransformer(config)
        self.text = TextTransformer(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


def new_clip(config: ClipConfig, *, seed: int) -> ClipModel:
    """Return a CLIP whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClipModel(config)


def save_clip(folder: Path, clip: ClipModel, *, words: Sequence[str] | None = None) -> None:
    """Write the folder of a CLIP; `words` are the vocabulary of a word-level tokenizer."""
    _write_folder(folder, clip.config, clip.state_dict(), words=words)


def save_text_tower(folder: Path, config: ClipConfig, weights: Mapping[str, Tensor]) -> None:
    """Write the text half of a CLIP from weights in OpenAI's key layout; UserError if keys or shapes do not fit."""
    state = {name_from_openai(key).removeprefix(_TEXT_PREFIX): tensor for key, tensor in weights.items()}
    text = fitting(lambda: TextTransformer(config), state, source=_unfit("the text tower", config))
    _write_folder(folder, config, {_TEXT_PREFIX + key: tensor for key, tensor in text.state_dict().items()})


def save_text_half(folder: Path, clip: ClipModel) -> None:
    """Write the text half of a CLIP whose tokenizer has byte pairs."""
    _write_folder(folder, clip.config, {_TEXT_PREFIX + key: t for key, t in clip.text.state_dict().items()})


def copy_text_tower(folder: Path, target: Path, *, half: bool = False) -> None:
    """Copy the text half of a CLIP folder to `target`, with `half` in half precision.

    Raises:
        UserError: a file is missing or damaged, or a weight does not fit into half precision.
    """
    read_clip_config(folder)
    with new_folder(target) as working:
        for name in (CONFIG_FILE, VOCABULARY_FILE):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, working / name)
        tensors = read_tensors(folder / WEIGHTS_FILE, prefix=_TEXT_PREFIX)
        (write_half if half else save_file)(tensors, working / WEIGHTS_FILE)


def load_clip(folder: Path) -> tuple[ClipModel, Tokenizer]:
    """Read a CLIP, in float32 and eval mode, and its tokenizer; UserError names a missing or unfit file."""
    return _load_folder(folder, ClipModel, prefix="")


def load_text_tower(folder: Path) -> tuple[TextTransformer, Tokenizer]:
    """Read only the text tower, from a CLIP folder or its text half; otherwise as `load_clip`."""
    return _load_folder(folder, TextTransformer, prefix=_TEXT_PREFIX)


def fingerprint(folder: Path, *, weights: str | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file that decides what a CLIP folder's text tower computes.

    A hash of the text tower's `weights` replaces that of their file, which takes long to read.
    """
    read_clip_config(folder)
    known = {} if weights is None else {"weights": weights}
    names = (CONFIG_FILE, VOCABULARY_FILE) if known else (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE)
    return known | {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def name_from_openai(key: str) -> str:
    """Translate an OpenAI state-dict key into ours."""
    for pattern, replacement in _OPENAI_RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def clip_from_openai(state_dict: Mapping[str, Tensor], config: ClipConfig) -> ClipModel:
    """Build a CLIP, in float32 and eval mode, from weights in OpenAI's key layout; UserError if they do not fit."""
    state = {
        name_from_openai(key): tensor.float()
        for key, tensor in state_dict.items()
        if key.rpartition(".")[2] not in _NO_WEIGHTS
    }
    return fitting(
        lambda: ClipModel(config), state, source=_unfit("the OpenAI-layout state dict", config)
    ).eval()


def _write_folder(
    folder: Path, config: ClipConfig, state: Mapping[str, Tensor], *, words: Sequence[str] | None = None
) -> None:
    with new_folder(folder) as working:
        (working / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, working / WEIGHTS_FILE)
        if words is not None:
            (working / VOCABULARY_FILE).write_text(
                json.dumps(words, indent=0, allow_nan=False) + "\n", encoding="utf-8"
            )


def _load_folder(
    folder: Path, kind: Callable[[ClipConfig], Module], *, prefix: str
) -> tuple[Module, Tokenizer]:
    """Make a module of the weights below `prefix`, in eval mode, and the folder's tokenizer."""
    config, path = read_clip_config(folder), folder / WEIGHTS_FILE
    tensors = read_tensors(path, prefix=prefix)
    state = {key.removeprefix(prefix): tensor.float() for key, tensor in tensors.items()}
    module = fitting(lambda: kind(config), state, source=_unfit(path, config)).eval()
    return module, load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a CLIP folder, without reading weights; UserError names a missing or unfit file."""
    config = read_clip_config(folder)
    if not (folder / VOCABULARY_FILE).is_file():
        return BytePairTokenizer(config.context_length)
    path = folder / VOCABULARY_FILE
    words = validated(tuple[str, ...], read_json(path), source=path, way_out="import the CLIP again")
    tokenizer = WordTokenizer(words, config.context_length)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(f"{path} has {len(words)} words, more than vocab_size {config.vocab_size} takes")
    return tokenizer


def _unfit(source: Path | str, config: ClipConfig) -> str:
    return f"{source} does not fit CLIP {config.name!r}"
