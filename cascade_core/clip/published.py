"""The CLIPs that open_clip knows by model name and tag: their configuration and their files.

Whether weights want QuickGELU or GELU depends on the tag, not on the model's name: 'ViT-B-32' with tag 'openai' is a
QuickGELU model, with 'laion2b_s34b_b79k' a GELU model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_core.clip.shapes import HEAD_WIDTH
from cascade_core.configs.config import ClipConfig
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json

HUB_CONFIG_FILE = "open_clip_config.json"
HUB_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What a folder of open_clip's on the hub holds, the safer file first."""

EXAMPLES = "ViT-B-16, ViT-B-32, ViT-L-14, ViT-L-14-336, ViT-H-14"

# Every other field of open_clip's means a tower of another layout, with weights or arithmetic that ours lacks.
_IMAGE_FIELDS = {"image_size", "layers", "width", "head_width", "patch_size"}
_TEXT_FIELDS = {"context_length", "vocab_size", "width", "heads", "layers"}
_OPENAI_VOCABULARY = 49408


def published_config(model: str, tag: str) -> ClipConfig:
    """Give the configuration of a model and tag of open_clip's, such as 'ViT-B-16' and 'openai'.

    Raises:
        UserError: open_clip knows no such model or tag, or the model is not of OpenAI's ViT layout.
    """
    return architecture(model, "quick_gelu" if _entry(model, tag).get("quick_gelu") else "gelu")


def tag_activation(model: str, tag: str) -> Activation:
    """Give the activation of a tag, which open_clip may list under the model's name or its '-quickgelu' twin.

    Raises:
        UserError: it lists it under neither.
    """
    from open_clip.pretrained import list_pretrained_tags_by_model

    twin = f"{_plain(model)}-quickgelu"
    return published_config(twin if tag in list_pretrained_tags_by_model(twin) else model, tag).activation


def architecture(model: str, activation: Activation) -> ClipConfig:
    """Give the shapes of a model of open_clip's by name.

    Raises:
        UserError: there is none of that name, or it is not of OpenAI's ViT layout.
    """
    import open_clip

    found = open_clip.get_model_config(model)
    if found is None:
        raise UserError(f"open_clip has no model {model!r}; of OpenAI's ViT layout are {EXAMPLES} and others")
    return config_from_open_clip(found, name=_plain(model), activation=activation)


def config_from_open_clip(
    model_cfg: Mapping[str, Any], *, name: str, activation: Activation | None = None
) -> ClipConfig:
    """Translate a model configuration of open_clip's; the activation defaults to what it says itself.

    Raises:
        UserError: it is of another kind than OpenAI's ViTs; the message names what is different.
    """
    vision, text = model_cfg.get("vision_cfg", {}), model_cfg.get("text_cfg", {})
    strange = {key for key, value in vision.items() if value is not None} - _IMAGE_FIELDS
    strange |= {key for key, value in text.items() if value is not None} - _TEXT_FIELDS
    if isinstance(vision.get("layers"), list):
        strange.add("layers (of a ResNet)")
    if text.get("vocab_size", _OPENAI_VOCABULARY) != _OPENAI_VOCABULARY:
        strange.add(f"vocab_size {text['vocab_size']} (another tokenizer)")
    if strange or not vision or not text:
        raise UserError(
            f"CLIP {name!r} is not of OpenAI's ViT layout ({', '.join(sorted(strange)) or 'towers missing'}); "
            f"take one such as {EXAMPLES}"
        )
    width = vision["width"]
    own: Activation = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    return ClipConfig(
        name=name,
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        width=width,
        layers=vision["layers"],
        heads=width // vision.get("head_width", HEAD_WIDTH),
        embed_dim=model_cfg["embed_dim"],
        text_width=text["width"],
        text_layers=text["layers"],
        text_heads=text["heads"],
        context_length=text["context_length"],
        vocab_size=text["vocab_size"],
        activation=activation or own,
    )


def named_like(config: ClipConfig) -> ClipConfig | None:
    """Give the open_clip model with the shapes of `config`, which then has a name and its number of heads.

    None where open_clip has no model of these shapes. Heads are not compared: no shape tells them.
    """
    import open_clip

    for model in open_clip.list_models():
        try:
            known = architecture(model, config.activation)
        except UserError:
            continue  # of another layout
        untold = {"name": known.name, "heads": known.heads, "text_heads": known.text_heads}
        if config.model_copy(update=untold) == known:
            return known
    return None


def weights_file(model: str, tag: str, *, cache: Path | None = None) -> Path:
    """Let open_clip find the weights of a model and tag in its cache or in `cache`, and fetch what is not there.

    Raises:
        UserError: they are not there and cannot be fetched; the message names a file that will do.
    """
    from open_clip.pretrained import download_pretrained

    entry = _entry(model, tag)
    try:
        return Path(download_pretrained(entry, cache_dir=None if cache is None else str(cache)))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"weights of CLIP {model!r} {tag!r} are neither in the cache nor can they be fetched ({error}): fetch "
            f"{_addresses(entry)} on another machine, and give the file's path with --tag {tag} in place of the "
            "model's name"
        ) from error


def hub_folder(folder: Path) -> tuple[Path, ClipConfig]:
    """Give the weights file of a folder as open_clip publishes it on the hub, and the configuration beside it.

    Raises:
        UserError: a file is missing, or the model is not of OpenAI's ViT layout.
    """
    content = read_json(folder / HUB_CONFIG_FILE)
    weights = next((folder / name for name in HUB_WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise UserError(f"{folder} has {HUB_CONFIG_FILE}, but neither {' nor '.join(HUB_WEIGHT_FILES)}")
    config = config_from_open_clip(content.get("model_cfg", content), name=folder.name)
    known = named_like(config)
    return weights, config if known is None else config.model_copy(update={"name": known.name})


def _entry(model: str, tag: str) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    if entry := get_pretrained_cfg(model, tag):
        return entry
    known = list_pretrained_tags_by_model(model)
    if not known:
        architecture(model, "gelu")  # says so if it is the model that is unknown
        raise UserError(f"open_clip has no weights of model {model!r}; give a file of them")
    raise UserError(f"open_clip has no weights {tag!r} of model {model!r}; its tags are {', '.join(known)}")


def _addresses(entry: Mapping[str, Any]) -> str:
    repository, _, name = entry.get("hf_hub", "").rpartition("/")
    on_the_hub = (
        f"{name or HUB_WEIGHT_FILES[0]} of {repository!r} on the Hugging Face hub" if repository else ""
    )
    return " or ".join(filter(None, (on_the_hub, entry.get("url"))))


def _plain(model: str) -> str:
    """Give a model's name without the suffix that only says which activation it has."""
    return model.removesuffix("-quickgelu")
