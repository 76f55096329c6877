"""CLIP weights that others published: where they lie, and the configuration they are of."""

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
    """A weights file, what is stated of it elsewhere, who says which activation it has, and a tag still to be asked."""

    weights: Path
    stated: ClipConfig | None = None
    said: Mapping[str, Activation] = field(default_factory=dict)
    tag: str | None = None


def source_of(given: str, *, tag: str | None, cache: Path | None) -> Source:
    """Find the weights `given` as a model's name with a tag, whose weights may be fetched, or as a path.

    Raises:
        UserError: there are none, or it stays open which are meant.
    """
    path = Path(given)
    if (path / published.HUB_CONFIG_FILE).is_file():
        return _hub_source(path, tag)
    # A model's name with a tag is one even where a folder happens to be called so.
    if path.is_dir() and (tag is None or "/" in given):
        raise UserError(
            f"{path} has no {published.HUB_CONFIG_FILE}: give a weights file in it, or a folder as open_clip "
            "publishes them on the hub"
        )
    if path.is_file() or path.suffix in _SUFFIXES or "/" in given:
        of_a_hub_folder = path.name in published.HUB_WEIGHT_FILES
        if of_a_hub_folder and (path.parent / published.HUB_CONFIG_FILE).is_file():
            return replace(_hub_source(path.parent, tag), weights=path)
        return Source(path, tag=tag)
    if tag is None:
        raise UserError(
            f"which weights of {given!r}? add --tag, such as --tag openai; a file is given by its path"
        )
    stated = published.published_config(given, tag)
    weights = published.weights_file(given, tag, cache=cache)
    return Source(weights, stated, {f"tag {tag!r}": stated.activation})


def _hub_source(folder: Path, tag: str | None) -> Source:
    weights, stated = published.hub_folder(folder)
    return Source(weights, stated, {published.HUB_CONFIG_FILE: stated.activation}, tag)


def config_of(source: Source, archive: Archive, *, tag: str | None, given: Activation | None) -> ClipConfig:
    """Read the configuration off the weights; take name and heads from the model that has these shapes.

    Raises:
        UserError: statements about the weights contradict each other or them, or the activation is not known.
    """
    stated = source.stated
    head_width = stated.width // stated.heads if stated else HEAD_WIDTH
    shapes = clip_config(archive.weights, name="", activation="gelu", head_width=head_width)
    if stated is not None:
        _check_stated(shapes, stated, source.weights)
    known = stated or published.named_like(shapes)
    heads = {"heads": known.heads, "text_heads": known.text_heads} if known else {}
    name = known.name if known else source.weights.stem
    if tag not in {None, OPENAI}:
        # Of one model's many weights, results should say which; the recipes' plain names mean OpenAI's.
        name = f"{name} {tag}"
    activation = _activation(source, archive, known, given)
    return shapes.model_copy(update={"name": name, "activation": activation, **heads})


def _check_stated(shapes: ClipConfig, stated: ClipConfig, weights: Path) -> None:
    ours, theirs = shapes.model_dump(), stated.model_dump()
    differing = [
        f"{field} {ours[field]}, not {theirs[field]}"
        for field in ours
        if field not in {"name", "activation"} and ours[field] != theirs[field]
    ]
    if differing:
        raise UserError(f"{weights} is not {stated.name!r}: it has {'; '.join(differing)}")


def _activation(
    source: Source, archive: Archive, known: ClipConfig | None, given: Activation | None
) -> Activation:
    """Give the one activation that all who say something about it agree on."""
    said = dict(source.said)
    if given is not None:
        said["--activation"] = given
    if source.tag is not None:
        said[f"tag {source.tag!r}"] = _of_tag(source.tag, known, source.weights)
    if archive.scripted:
        said["OpenAI's archive"] = "quick_gelu"
    if not said:
        raise UserError(
            f"{source.weights} does not say which activation it was trained with, and the wrong one silently costs "
            "accuracy: add --tag (such as openai) or --activation quick_gelu or gelu"
        )
    if len(set(said.values())) > 1:
        told = ", ".join(f"{who} says {what}" for who, what in said.items())
        raise UserError(f"{source.weights}: {told}; leave out what is wrong")
    return next(iter(said.values()))


def _of_tag(tag: str, known: ClipConfig | None, weights: Path) -> Activation:
    if known is None:
        raise UserError(
            f"no model of open_clip's has the shapes of {weights}, so that tag {tag!r} says nothing of it; "
            "give --activation instead"
        )
    return published.tag_activation(known.name, tag)
