"""Models side by side: each picture with its truth and all predictions, on one HTML page without other files.

The page sorts by the difference between two models, filters by class, and decodes a picture when it scrolls into
view. Scores of single pictures show where to look; only the report, over the whole data set, shows which model is better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.configs.config import EvalConfig
from cascade_core.data.pictures import read_image, read_label_map
from cascade_core.data.prepared import rows_of_split
from cascade_core.errors import UserError
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.views import views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import IGNORE
from cascade_core.predictor import device_named
from cascade_core.render.colours import hex_colour, palette
from cascade_core.render.visualise import LEGEND_SHARE, tinted
from cascade_core.scoring.pictures import PictureScores, picture_scores
from components.artifacts.manifest import git_commit
from components.evaluation.job import protocol_of, vocabulary_of
from components.inputs.reading import Inputs, read_inputs
from components.progress import progress
from components.results.margins import points
from components.results.pages import fill_template, webp_address
from components.results.rows import run_titles

TILE_SIDE, QUALITY = 320, 80
MOST_PICTURES = 2000
"""A page with more pictures opens too slowly in a browser; a `limit` avoids it."""


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint, and its title on the page."""

    title: str
    manifest: CheckpointManifest
    vocabulary: Vocabulary
    evaluate: EvalConfig


@dataclass(frozen=True)
class Sides:
    """The models to compare, the data, and the background policy for all of them."""

    models: list[Model]
    inputs: Inputs
    background: Background

    @property
    def scored(self) -> ClassSplit:
        """The classes of the page; unless the policy drops background, it is one of them."""
        return scored_split(self.inputs.split, self.background)


def sides(
    checkpoints: Sequence[Path], device: str | None, background: Background | None, **folders: Path
) -> Sides:
    """Load the checkpoints, and the data from the `folders` of the earlier steps.

    Raises:
        UserError: the checkpoints are of different protocols or background policies, or the policy does not fit the
            label maps or the text vectors.
    """
    torch_device = device_named(device)
    loaded = [load_segmentor(folder) for folder in checkpoints]
    manifests = [manifest for _, manifest in loaded]
    protocols = {protocol_of(manifest, folders["splits"]) for manifest in manifests}
    if len(protocols) > 1:
        raise UserError(
            f"checkpoints are of protocols {', '.join(sorted(protocols))}; give checkpoints of one protocol"
        )
    policies = {manifest.config.evaluate.background for manifest in manifests}
    if background is None and len(policies) > 1:
        raise UserError(
            f"checkpoints are of background policies {'; '.join(sorted(map(str, policies)))}; "
            "choose one for all: --background dropped"
        )
    policy = policies.pop() if background is None else background
    inputs = read_inputs(
        prepared=folders["prepared"],
        splits=folders["splits"],
        text=folders["text"],
        protocol_name=protocols.pop(),
    )
    candidates = inputs.split.foreground()
    runs = [(manifest.config.method, manifest.setting) for manifest in manifests]
    models = [
        Model(
            title,
            manifest,
            vocabulary_of(segmentor, manifest, candidates, policy, text=folders["text"], device=torch_device),
            manifest.config.evaluate.model_copy(update={"background": policy}),
        )
        for title, (segmentor, manifest) in zip(run_titles(runs), loaded, strict=True)
    ]
    return Sides(models, inputs, policy)


def lines_of(sides: Sides, split: str, limit: int | None) -> list[dict[str, Any]]:
    """Segment the pictures of a split, or `limit` evenly spread ones, and return each one's part of the page.

    Raises:
        UserError: there are more than 2,000 pictures.
    """
    inputs, scored = sides.inputs, sides.scored
    rows = rows_of_split(inputs.index, split)
    if limit is not None and limit < len(rows):
        rows = rows.iloc[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    if len(rows) > MOST_PICTURES:
        raise UserError(
            f"{len(rows)} pictures are too many for one page; give a limit of at most {MOST_PICTURES}"
        )
    lines = []
    with progress("compare", len(rows)) as bar:
        for name, image, label in rows[["name", "image", "label"]].astype(str).to_numpy():
            lines.append(_line(name, inputs.root / image, inputs.root / label, sides.models, scored))
            bar.advance(len(lines))
    return lines


def _line(name: str, image: Path, label: Path, models: Sequence[Model], scored: ClassSplit) -> dict[str, Any]:
    """Segment one picture, and return its part of the page."""
    picture = read_image(image)
    truth = read_label_map(label, scored.label_set)
    predicted = [_predict(model, picture) for model in models]
    scores = [picture_scores(truth, labels, scored.unseen) for labels in predicted]
    classes, num_classes = _classes_on(truth, predicted), scored.num_classes
    colours = scored.label_set.colours
    tiles = [
        picture,
        *(tinted(picture, labels, num_classes, 0.75, colours) for labels in (truth, *predicted)),
    ]
    return {
        "name": name,
        "width": picture.shape[1],
        "height": picture.shape[0],
        "scores": scores,
        "classes": classes,
        "tiles": [_tile(tile) for tile in tiles],
    }


def _predict(model: Model, picture: np.ndarray) -> np.ndarray:
    config = model.manifest.config
    classes, _ = label_photographs(
        model.vocabulary,
        [picture],
        views=views(),
        evaluate=model.evaluate,
        mean=config.data.mean,
        std=config.data.std,
    )
    return classes[0]


def _classes_on(truth: np.ndarray, predicted: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """List the classes of the truth, then those that only predictions have; each part has the largest class first."""
    true = np.bincount(truth[truth != IGNORE].ravel(), minlength=1)
    maps = np.bincount(np.concatenate([labels.ravel() for labels in predicted]))
    least = LEGEND_SHARE * truth.size
    in_truth = [int(i) for i in np.argsort(-true, kind="stable") if true[i]]
    extra = [int(i) for i in np.argsort(-maps, kind="stable") if maps[i] > least and i not in in_truth]
    return [{"id": i, "true": True} for i in in_truth] + [{"id": i, "true": False} for i in extra]


def _tile(picture: np.ndarray) -> str:
    """Return the data URL of a picture, shrunk to the side of a tile if it is larger."""
    image = Image.fromarray(picture)
    largest = max(image.size)
    if largest > TILE_SIDE:
        image.thumbnail((TILE_SIDE, TILE_SIDE))
    # Lossy compression would blur the few pixels of a small picture.
    return webp_address(image, quality=QUALITY, lossless=largest <= 128)


def page_of(lines: Sequence[Mapping[str, Any]], sides: Sides, split: str, data: str) -> str:
    """Fill the page; `data` is the hash of the data set."""
    scored, models = sides.scored, sides.models
    colours = palette(scored.num_classes, scored.label_set.colours)
    return fill_template(
        "compare.html",
        models=[model.title for model in models],
        protocol=scored.name,
        background=str(sides.background),
        split=split,
        data_hash=data,
        commit=git_commit(),
        seeds=sorted({model.manifest.config.seed for model in models}),
        lines=lines,
        classes=[
            {"name": name, "colour": hex_colour(colours[i]), "unseen": i in scored.unseen}
            for i, name in enumerate(scored.classes)
        ],
        tiles={str(place): line["tiles"] for place, line in enumerate(lines)},
        difference=_difference,
    )


def _difference(scores: Sequence[PictureScores]) -> float | None:
    """Return the gain in mean IoU of the last model over the first on one picture, in percent points."""
    first, last = scores[0].miou, scores[-1].miou
    return None if first is None or last is None else points(last, first)
