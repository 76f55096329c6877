"""Models that open_clip publishes, by model name and tag: their configuration and their files.

The tag decides between QuickGELU and GELU, not the model's name: 'ViT-B-32' has QuickGELU with tag 'openai', and
GELU with 'laion2b_s34b_b79k'.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_core.configs.architectures import QUICKGELU_SUFFIX, architecture, from_open_clip
from cascade_core.configs.model import ClipConfig
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json

HUB_CONFIG_FILE = "open_clip_config.json"
HUB_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights file in an open_clip hub folder; the safer format is first."""

PATIENCE = 5.0
"""Seconds within which a server must answer before a download starts."""


def published_config(model: str, tag: str) -> ClipConfig:
    """Return the configuration of an open_clip model and tag, such as 'ViT-B-16' and 'openai'.

    Raises:
        UserError: open_clip has no such model or tag, or the model is not of OpenAI's ViT layout.
    """
    return architecture(model, "quick_gelu" if _entry(model, tag).get("quick_gelu") else "gelu")


def tag_activation(model: str, tag: str) -> Activation:
    """Return the activation of a tag, which open_clip lists under the model's name or its '-quickgelu' twin.

    Raises:
        UserError: open_clip lists the tag under neither.
    """
    from open_clip.pretrained import list_pretrained_tags_by_model

    twin = f"{model.removesuffix(QUICKGELU_SUFFIX)}{QUICKGELU_SUFFIX}"
    return published_config(twin if tag in list_pretrained_tags_by_model(twin) else model, tag).activation


def named_like(config: ClipConfig) -> ClipConfig | None:
    """Return open_clip's model with the shapes of `config`, for its name and number of heads; None if there is none.

    Heads are not compared: shapes do not determine them.
    """
    import open_clip

    for name in open_clip.list_models():
        try:
            model = architecture(name, config.activation)
        except UserError:
            continue  # of another layout
        unshaped = {"name": model.name, "heads": model.heads, "text_heads": model.text_heads}
        if config.model_copy(update=unshaped) == model:
            return model
    return None


def tags_of(model: str) -> list[str]:
    """Return the tags of a model's weights.

    Raises:
        UserError: open_clip has no such model or no weights of it, or the model is not of OpenAI's ViT layout.
    """
    from open_clip.pretrained import list_pretrained_tags_by_model

    architecture(model, "gelu")  # raises if the model is unknown or of another layout
    if tags := list_pretrained_tags_by_model(model):
        return tags
    raise UserError(f"open_clip has no weights of model {model!r}; give a file of them")


def is_model(name: str) -> bool:
    """Return whether open_clip has a model of this name."""
    import open_clip

    return name in open_clip.list_models()


def weights_file(model: str, tag: str, *, cache: Path | None = None) -> Path:
    """Return the weights file of a model and tag in open_clip's cache, or in `cache`; download it if missing.

    Raises:
        UserError: the file cannot be downloaded; the message says what to fetch on another machine.
    """
    from open_clip.pretrained import download_pretrained

    entry = _entry(model, tag)
    if (cached := _in_cache(entry, cache)) is not None:
        return cached
    try:
        _check_reachable(entry)
        return Path(download_pretrained(entry, cache_dir=None if cache is None else str(cache)))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"weights of CLIP {model!r} {tag!r} are neither in the cache nor can they be fetched ({error}): fetch "
            f"{_addresses(entry)} on another machine, and give the file's path with --tag {tag} in place of the "
            "model's name"
        ) from error


def is_cached(model: str, tag: str) -> bool:
    """Return whether the weights of a model and tag are in open_clip's cache."""
    return _in_cache(_entry(model, tag), None) is not None


def _in_cache(entry: Mapping[str, Any], cache: Path | None) -> Path | None:
    """Return the weights in the hub's cache without a call to the hub, which would wait for it."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, name = entry.get("hf_hub", "").rpartition("/")
    for file in (name,) if name else HUB_WEIGHT_FILES if repository else ():
        path = try_to_load_from_cache(repository, file, cache_dir=cache)
        if isinstance(path, str):
            return Path(path)
    return None


def _check_reachable(entry: Mapping[str, Any]) -> None:
    """Ask the server once, shortly: without a network, the hub's client would try again for more than a minute."""
    from huggingface_hub import constants

    address = constants.ENDPOINT if entry.get("hf_hub") else entry.get("url")
    if constants.HF_HUB_OFFLINE or address is None:
        return  # the client refuses at once
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return  # an answer, if only a refusal of such requests
    except OSError as error:
        raise OSError(f"no network: {getattr(error, 'reason', error)}") from error


def hub_folder(folder: Path) -> tuple[Path, ClipConfig]:
    """Return the weights file and the configuration of a folder as open_clip publishes it on the hub.

    Raises:
        UserError: a file is missing, or the model is not of OpenAI's ViT layout.
    """
    content = read_json(folder / HUB_CONFIG_FILE)
    weights = next((folder / name for name in HUB_WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise UserError(f"{folder} has {HUB_CONFIG_FILE}, but neither {' nor '.join(HUB_WEIGHT_FILES)}")
    model_cfg = content.get("model_cfg", content) if isinstance(content, dict) else None
    if not isinstance(model_cfg, dict):
        raise UserError(
            f"{folder / HUB_CONFIG_FILE} holds no configuration of a model (model_cfg); fetch it again"
        )
    activation: Activation = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    config = from_open_clip(model_cfg, folder.name, activation)
    model = named_like(config)
    return weights, config if model is None else config.model_copy(update={"name": model.name})


def _entry(model: str, tag: str) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    if entry := get_pretrained_cfg(model, tag):
        return entry
    raise UserError(
        f"open_clip has no weights {tag!r} of model {model!r}; its tags are {', '.join(tags_of(model))}"
    )


def _addresses(entry: Mapping[str, Any]) -> str:
    repository, _, name = entry.get("hf_hub", "").rpartition("/")
    hub = f"{name or HUB_WEIGHT_FILES[0]} of {repository!r} on the Hugging Face hub" if repository else ""
    return " or ".join(filter(None, (hub, entry.get("url"))))
