"""The architectures that open_clip knows by name, as configurations of CLIPs in OpenAI's ViT layout."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, PositiveInt

from cascade_core.configs.model import ClipConfig
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief, short_list, shortened
from cascade_core.runtime.validation import validated

HEAD_WIDTH = 64
"""Width of an attention head in all of OpenAI's CLIPs. Some others have wider heads, which shapes do not show."""

QUICKGELU_SUFFIX = "-quickgelu"
EXAMPLES = "ViT-B-16, ViT-B-32, ViT-L-14, ViT-L-14-336, ViT-H-14"

# Any other field means a tower of another layout, with weights or arithmetic that ours lacks.
_IMAGE_FIELDS = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
_TEXT_FIELDS = {"context_length", "vocab_size", "width", "heads", "layers"}
_OPENAI_VOCABULARY = 49408


class _Vision(BaseModel):
    image_size: int
    patch_size: int
    width: PositiveInt
    layers: int
    head_width: PositiveInt = HEAD_WIDTH
    mlp_ratio: float = Field(default=4.0, gt=0, le=2**10)


class _Text(BaseModel):
    width: int
    layers: int
    heads: int
    context_length: int
    vocab_size: int


class _Towers(BaseModel):
    """The shapes in an open_clip configuration."""

    embed_dim: int
    vision: _Vision
    text: _Text


def architecture(model: str, activation: Activation) -> ClipConfig:
    """Return the configuration of an open_clip model, with an activation, which its name does not state.

    Raises:
        UserError: open_clip has no such model, or it is not of OpenAI's ViT layout; the message says why.
    """
    import open_clip

    model_cfg = open_clip.get_model_config(model)
    if model_cfg is None:
        raise UserError(f"open_clip has no model {model!r}; examples of OpenAI's ViT layout are {EXAMPLES}")
    return from_open_clip(model_cfg, model.removesuffix(QUICKGELU_SUFFIX), activation)


def from_open_clip(model_cfg: Mapping[str, Any], name: str, activation: Activation) -> ClipConfig:
    """Translate an open_clip model configuration; raise UserError if it is not OpenAI's ViT layout."""
    sections = (model_cfg.get(f"{tower}_cfg") for tower in ("vision", "text"))
    vision, text = (tower if isinstance(tower, dict) else {} for tower in sections)
    differences = {key for key, value in vision.items() if value is not None} - _IMAGE_FIELDS
    differences |= {key for key, value in text.items() if value is not None} - _TEXT_FIELDS
    if isinstance(vision.get("layers"), list):
        differences.add("layers (of a ResNet)")
    if text.get("vocab_size", _OPENAI_VOCABULARY) != _OPENAI_VOCABULARY:
        differences.add(f"vocab_size {brief(text['vocab_size'])} (another tokenizer)")
    listed = short_list([shortened(name, most=60) for name in sorted(differences)], most=15)
    if differences or not vision or not text:
        raise UserError(
            f"CLIP {name!r} is not of OpenAI's ViT layout: {_reason(vision, text)} ({listed or 'towers missing'}); "
            f"take one such as {EXAMPLES}"
        )
    towers = validated(
        _Towers,
        {**model_cfg, "vision": vision, "text": text},
        source=f"CLIP {name!r}",
        way_out="fetch it again",
    )
    shapes = {
        **towers.vision.model_dump(exclude={"head_width", "mlp_ratio"}),
        # open_clip rounds down, too.
        "image_feedforward": other_than_usual(
            int(towers.vision.width * towers.vision.mlp_ratio), towers.vision.width
        ),
        "heads": towers.vision.width // towers.vision.head_width,
        "embed_dim": towers.embed_dim,
        "text_width": towers.text.width,
        "text_layers": towers.text.layers,
        "text_heads": towers.text.heads,
        "context_length": towers.text.context_length,
        "vocab_size": towers.text.vocab_size,
    }
    return validated(ClipConfig, {"name": name, "activation": activation, **shapes}, source=f"CLIP {name!r}")


def other_than_usual(hidden: int, width: int) -> int | None:
    """Return the hidden width of perceptrons, or None if it is the usual 4 times the width."""
    return None if hidden == 4 * width else hidden


def _reason(vision: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """Say in words what another layout has, as far as open_clip's fields show it."""
    timm = shortened(str(vision.get("timm_model_name", "")), most=60)
    if "siglip" in timm:
        return "SigLIP pools patches with an attention head, and has no class token"
    if timm.startswith("eva"):
        return "EVA turns queries and keys by rotary positions"
    if timm:
        return f"its image tower is {timm} of the package timm"
    if isinstance(vision.get("layers"), list):
        return "its image tower is a ResNet, without patches"
    if "hf_model_name" in text:
        return f"its text tower is {shortened(str(text['hf_model_name']), most=60)}"
    return "it has parts that OpenAI's CLIP lacks"
