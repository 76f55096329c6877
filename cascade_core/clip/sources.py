"""Published CLIP weights: where the file is, and which configuration it has.

Shapes of the weights, in the key layout of OpenAI and open_clip, give most of the configuration. They do not show
the activation and the number of heads, which a publisher or the user states.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from cascade_core.clip import published
from cascade_core.clip.archives import Archive
from cascade_core.configs.architectures import HEAD_WIDTH, other_than_usual
from cascade_core.configs.model import ClipConfig
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.validation import validated

OPENAI = "openai"
_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}


@dataclass(frozen=True)
class Source:
    """A weights file, the configuration that open_clip or a hub folder states, and the activations by source."""

    weights: Path
    stated: ClipConfig | None = None
    activations: Mapping[str, Activation] = field(default_factory=dict)


def source_of(given: str, *, tag: str | None, cache: Path | None) -> Source:
    """Locate weights by path, or by model name and `tag`; download named weights if they are not in the cache.

    Raises:
        UserError: there are none, or `given` is ambiguous.
    """
    model = given.replace("/", "-")  # OpenAI writes ViT-B/16
    if model != given and not Path(given).exists() and published.is_model(model):
        given = model
    path = Path(given)
    if (path / published.HUB_CONFIG_FILE).is_file():
        return _hub_source(path)
    # With a tag, `given` is a model's name even if a folder has the same name.
    if path.is_dir() and (tag is None or "/" in given):
        raise UserError(
            f"{path} has no {published.HUB_CONFIG_FILE}: give a weights file in it, or a folder as open_clip "
            "publishes them on the hub"
        )
    if path.is_file() or path.suffix in _SUFFIXES or "/" in given:
        hub_file = path.name in published.HUB_WEIGHT_FILES
        if hub_file and (path.parent / published.HUB_CONFIG_FILE).is_file():
            return replace(_hub_source(path.parent), weights=path)
        return Source(path)
    if tag is None:
        if not published.is_model(given):
            raise UserError(
                f"{given} is neither a file nor a model of open_clip; give a file's path, or a model with the tag of its "
                "weights, such as ViT-B-16 --tag openai"
            )
        tags = published.tags_of(given)
        raise UserError(f"which weights of {given!r}? add --tag with one of {short_list(tags, most=5)}")
    return Source(
        stated=published.published_config(given, tag),
        weights=published.weights_file(given, tag, cache=cache),
    )


def _hub_source(folder: Path) -> Source:
    weights, stated = published.hub_folder(folder)
    return Source(weights, stated, {published.HUB_CONFIG_FILE: stated.activation})


def config_of(source: Source, archive: Archive, *, tag: str | None, given: Activation | None) -> ClipConfig:
    """Read the configuration from the weights; name and heads come from open_clip's model with the same shapes.

    `tag` is open_clip's tag of the weights and `given` the activation, if the user stated them.

    Raises:
        UserError: statements about the weights contradict each other or the weights, or nothing states the
            activation.
    """
    stated = source.stated
    head_width = stated.width // stated.heads if stated else HEAD_WIDTH
    shapes = clip_config(archive.weights, name="", activation="gelu", head_width=head_width)
    if stated is not None:
        ours, theirs = (config.model_dump(exclude={"name", "activation"}) for config in (shapes, stated))
        if wrong := [f"{key} {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key]]:
            raise UserError(f"{source.weights} is not {stated.name!r}: it has {'; '.join(wrong)}")
    model = stated or published.named_like(shapes)
    heads = {"heads": model.heads, "text_heads": model.text_heads} if model else {}
    name = model.name if model else source.weights.stem
    if tag not in {None, OPENAI}:
        # A model has weights of many tags, and results should name theirs; without a tag they are OpenAI's.
        name = f"{name} {tag}"
    activations = dict(source.activations)
    if given is not None:
        activations["--activation"] = given
    if tag is not None:
        activations[f"tag {tag!r}"] = _of_tag(tag, model, source.weights)
    if archive.scripted:
        activations["OpenAI's archive"] = "quick_gelu"
    activation = _agreed(activations, source.weights)
    return shapes.model_copy(update={"name": name, "activation": activation, **heads})


def _of_tag(tag: str, model: ClipConfig | None, weights: Path) -> Activation:
    if model is None:
        raise UserError(
            f"no open_clip model has the shapes of {weights}, so that tag {tag!r} says nothing about it; "
            "give --activation instead"
        )
    return published.tag_activation(model.name, tag)


def _agreed(activations: Mapping[str, Activation], weights: Path) -> Activation:
    """Return the activation on which all statements agree."""
    if not activations:
        raise UserError(
            f"{weights} does not say which activation it was trained with, and the wrong one silently costs "
            "accuracy: add --tag (such as openai) or --activation quick_gelu or gelu"
        )
    if len(set(activations.values())) > 1:
        statements = ", ".join(f"{source} says {activation}" for source, activation in activations.items())
        raise UserError(f"{weights}: {statements}; leave out what is wrong")
    return next(iter(activations.values()))


def clip_config(
    weights: Mapping[str, Tensor],
    *,
    name: str,
    activation: Activation,
    head_width: int = HEAD_WIDTH,
) -> ClipConfig:
    """Read the configuration of a CLIP with a ViT as image tower.

    `head_width` is that of the image tower; the text tower's is always 64.

    Raises:
        UserError: weights that every such CLIP has are missing or contradict each other; the message names one.
    """

    def shape(key: str, ndim: int) -> torch.Size:
        if key not in weights:
            raise UserError(
                f"weights lack {key!r}: they are no CLIP in OpenAI's layout with a ViT as image tower "
                f"({_guess(weights)})"
            )
        if weights[key].ndim != ndim:
            raise UserError(f"weights do not fit: {key} has shape {tuple(weights[key].shape)}")
        return weights[key].shape

    width, _, patch_size, _ = shape("visual.conv1.weight", 4)
    slots = shape("visual.positional_embedding", 2)[0]
    side = round(max(0, slots - 1) ** 0.5)
    if side * side != slots - 1:
        raise UserError(f"weights do not fit: a position table of {slots} slots is not 1 + a square")
    vocab_size, text_width = shape("token_embedding.weight", 2)
    shapes = {
        "name": name,
        "image_size": side * patch_size,
        "patch_size": patch_size,
        "width": width,
        "layers": _blocks(weights, "visual.transformer"),
        "heads": _heads(width, head_width, "image"),
        "embed_dim": shape("visual.proj", 2)[1],
        "text_width": text_width,
        "text_layers": _blocks(weights, "transformer"),
        "text_heads": _heads(text_width, HEAD_WIDTH, "text"),
        "context_length": shape("positional_embedding", 2)[0],
        "vocab_size": vocab_size,
        "activation": activation,
        "image_feedforward": other_than_usual(
            shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0], width
        ),
    }
    return validated(ClipConfig, shapes, source="shapes of the weights")


def _blocks(weights: Mapping[str, Tensor], tower: str) -> int:
    pattern = rf"{re.escape(tower)}\.resblocks\.(\d+)\."
    indices = [int(match[1]) for key in weights if (match := re.match(pattern, key))]
    if not indices:
        raise UserError(f"weights lack '{tower}.resblocks.0.*': they are no CLIP in OpenAI's layout")
    return max(indices) + 1


def _heads(width: int, head_width: int, tower: str) -> int:
    if width % head_width:
        raise UserError(
            f"the {tower} tower's width {width} is no multiple of {head_width}, the usual width of a head, and shapes "
            "do not show another: give the CLIP by open_clip's name, or a folder with open_clip_config.json"
        )
    return width // head_width


def _guess(weights: Mapping[str, Tensor]) -> str:
    """Guess what the weights are instead, for the error that refuses them."""
    if any(key.startswith(("vision_model.", "text_model.")) for key in weights):
        return "they are in the layout of Hugging Face transformers; take the file that open_clip publishes"
    if any(key.startswith("visual.layer1.") for key in weights):
        return "their image tower is a ResNet"
    if any(key.startswith("visual.trunk.") for key in weights):
        return "their image tower is of the timm package"
    return f"they have {', '.join(sorted(weights)[:3])}"
