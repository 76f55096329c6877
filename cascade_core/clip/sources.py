"""Published CLIP weights: where the file is, and which configuration it has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cascade_core.clip import published
from cascade_core.clip.archives import Archive
from cascade_core.clip.shapes import HEAD_WIDTH, clip_config
from cascade_core.configs.config import ClipConfig
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError

OPENAI = "openai"
_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}


@dataclass(frozen=True)
class Source:
    """A weights file, the configuration that open_clip or a hub folder states, and the activation by who states it."""

    weights: Path
    stated: ClipConfig | None = None
    activations: Mapping[str, Activation] = field(default_factory=dict)


def source_of(given: str, *, tag: str | None, cache: Path | None) -> Source:
    """Locate weights by path, or by model name and `tag`; the latter are downloaded if they are not in the cache.

    Raises:
        UserError: there are none, or `given` is ambiguous.
    """
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
        raise UserError(
            f"which weights of {given!r}? add --tag, such as --tag openai; a file is given by its path"
        )
    return Source(
        stated=published.published_config(given, tag),
        weights=published.weights_file(given, tag, cache=cache),
    )


def _hub_source(folder: Path) -> Source:
    weights, stated = published.hub_folder(folder)
    return Source(weights, stated, {published.HUB_CONFIG_FILE: stated.activation})


def config_of(source: Source, archive: Archive, *, tag: str | None, given: Activation | None) -> ClipConfig:
    """Read the configuration off the weights; name and heads are those of the model with the same shapes.

    Args:
        source: the weights file and what its publisher states.
        archive: the file's content.
        tag: open_clip's tag of the weights, if the user gave one.
        given: the activation that the user gave with `--activation`.

    Raises:
        UserError: statements about the weights contradict each other or the weights, or nothing states the
            activation.
    """
    stated = source.stated
    head_width = stated.width // stated.heads if stated else HEAD_WIDTH
    shapes = clip_config(archive.weights, name="", activation="gelu", head_width=head_width)
    if stated is not None:
        _check_stated(shapes, stated, source.weights)
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


def _check_stated(shapes: ClipConfig, stated: ClipConfig, weights: Path) -> None:
    ours, theirs = (config.model_dump(exclude={"name", "activation"}) for config in (shapes, stated))
    if differing := [
        f"{key} {value}, not {theirs[key]}" for key, value in ours.items() if value != theirs[key]
    ]:
        raise UserError(f"{weights} is not {stated.name!r}: it has {'; '.join(differing)}")


def _of_tag(tag: str, model: ClipConfig | None, weights: Path) -> Activation:
    if model is None:
        raise UserError(
            f"no model of open_clip's has the shapes of {weights}, so that tag {tag!r} says nothing about it; "
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
