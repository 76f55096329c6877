"""Step: make a CLIP folder from published weights, wherever they lie and whichever of the usual formats they have."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cascade_core.clip import published
from cascade_core.clip.archives import Archive, read_archive
from cascade_core.clip.shapes import HEAD_WIDTH, Activation, clip_config
from cascade_core.clip.weights import clip_from_openai, save_clip
from cascade_core.configs.config import ClipConfig
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder
from components.artifacts import write_manifest

OPENAI = "openai"
_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """Where the CLIP folder lies, what it holds, and the file it was made from."""

    folder: Path
    config: ClipConfig
    weights: Path


@dataclass(frozen=True)
class _Source:
    """A weights file, what is stated of it elsewhere, who says which activation it has, and a tag still to be asked."""

    weights: Path
    stated: ClipConfig | None = None
    said: Mapping[str, Activation] = field(default_factory=dict)
    tag: str | None = None


def run(
    source: str,
    *,
    tag: str | None = None,
    activation: Activation | None = None,
    out: Path | None = None,
    cache: Path | None = None,
) -> Imported:
    """Write the CLIP of `source` as a folder that every other step takes; `out` defaults to `data/clip/<name>`.

    `source` is a model of open_clip's such as 'ViT-B-16', whose weights `tag` open_clip takes from its cache or
    fetches, or a path: of a safetensors file, a state dict, OpenAI's TorchScript archive, or a folder as on the
    hub. Shapes come from the weights. The activation comes from the tag, the folder's configuration or the
    archive being OpenAI's; a bare file does not tell it, so it must be stated, by `tag` or `activation`.

    Raises:
        UserError: the weights are not there or not of OpenAI's ViT layout, statements about them contradict
            each other or them, or the activation is not known.
    """
    found = _found(source, tag=tag, cache=cache)
    archive = read_archive(found.weights)
    config = _config(found, archive, tag=tag, given=activation)
    clip = clip_from_openai(archive.weights, config)
    folder = out or Path("data/clip") / re.sub(r"[^\w.-]", "-", config.name)
    with new_folder(folder) as working:
        save_clip(working, clip)
        parameters = {"source": Path(source).name, "tag": tag, "activation": config.activation}
        write_manifest(working, step="import_clip", inputs={"weights": found.weights}, parameters=parameters)
    log.info("CLIP %s (%s) from %s: %s", config.name, config.activation, found.weights, folder)
    return Imported(folder, config, found.weights)


def _found(source: str, *, tag: str | None, cache: Path | None) -> _Source:
    path = Path(source)
    if (path / published.HUB_CONFIG_FILE).is_file():
        return _hub_source(path, tag)
    # A model's name with a tag is one even where a folder happens to be called so.
    if path.is_dir() and (tag is None or "/" in source):
        raise UserError(
            f"{path} has no {published.HUB_CONFIG_FILE}: give a weights file in it, or a folder as open_clip "
            "publishes them on the hub"
        )
    if path.is_file() or path.suffix in _SUFFIXES or "/" in source:
        of_a_hub_folder = path.name in published.HUB_WEIGHT_FILES
        if of_a_hub_folder and (path.parent / published.HUB_CONFIG_FILE).is_file():
            return replace(_hub_source(path.parent, tag), weights=path)
        return _Source(path, tag=tag)
    if tag is None:
        raise UserError(
            f"which weights of {source!r}? add --tag, such as --tag openai; a file is given by its path"
        )
    stated = published.published_config(source, tag)
    weights = published.weights_file(source, tag, cache=cache)
    return _Source(weights, stated, {f"tag {tag!r}": stated.activation})


def _hub_source(folder: Path, tag: str | None) -> _Source:
    weights, stated = published.hub_folder(folder)
    return _Source(weights, stated, {published.HUB_CONFIG_FILE: stated.activation}, tag)


def _config(found: _Source, archive: Archive, *, tag: str | None, given: Activation | None) -> ClipConfig:
    """Read the configuration off the weights; take name and heads from the model that has these shapes."""
    stated = found.stated
    head_width = stated.width // stated.heads if stated else HEAD_WIDTH
    shapes = clip_config(archive.weights, name="", activation="gelu", head_width=head_width)
    if stated is not None:
        _check_stated(shapes, stated, found.weights)
    known = stated or published.named_like(shapes)
    heads = {"heads": known.heads, "text_heads": known.text_heads} if known else {}
    name = known.name if known else found.weights.stem
    if tag not in {None, OPENAI}:
        # Of one model's many weights, results should say which; the recipes' plain names mean OpenAI's.
        name = f"{name} {tag}"
    activation = _activation(found, archive, known, given)
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
    found: _Source, archive: Archive, known: ClipConfig | None, given: Activation | None
) -> Activation:
    """Give the one activation that all who say something about it agree on."""
    said = dict(found.said)
    if given is not None:
        said["--activation"] = given
    if found.tag is not None:
        said[f"tag {found.tag!r}"] = _of_tag(found.tag, known, found.weights)
    if archive.scripted:
        said["OpenAI's archive"] = "quick_gelu"
    if not said:
        raise UserError(
            f"{found.weights} does not say which activation it was trained with, and the wrong one silently costs "
            "accuracy: add --tag (such as openai) or --activation quick_gelu or gelu"
        )
    if len(set(said.values())) > 1:
        told = ", ".join(f"{who} says {what}" for who, what in said.items())
        raise UserError(f"{found.weights}: {told}; leave out what is wrong")
    return next(iter(said.values()))


def _of_tag(tag: str, known: ClipConfig | None, weights: Path) -> Activation:
    if known is None:
        raise UserError(
            f"no model of open_clip's has the shapes of {weights}, so that tag {tag!r} says nothing of it; "
            "give --activation instead"
        )
    return published.tag_activation(known.name, tag)
