"""Models side by side on the same pictures, with the truth, on one page that needs nothing else.

The page sorts by the difference between two models, filters by class, and decodes a picture only when it comes
into sight. Scores of single pictures tell where to look, not which model is better: that is the report's.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.configs.config import EvalConfig
from cascade_core.data.pictures import read_image, read_label_map
from cascade_core.errors import UserError
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import labelled
from cascade_core.inference.views import views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import IGNORE
from cascade_core.predictor import device_named
from cascade_core.render.colours import palette
from cascade_core.render.visualise import LEGEND_SHARE, tinted
from components.artifacts import git_commit
from components.inputs.reading import Inputs, read_inputs, rows_of
from components.pictures.picture_scores import PictureScores, picture_scores
from components.progress import progress
from components.results.margins import points
from components.results.pages import filled
from components.results.report_page import run_title
from components.vectors.background_vectors import read_background_vectors

TILE_SIDE, QUALITY = 320, 80
MOST_PICTURES = 2000
"""More would make a page that no browser opens gladly; `limit` chooses fewer."""


@dataclass(frozen=True)
class Model:
    """A checkpoint to look at, ready to run, and what the page calls it."""

    title: str
    manifest: CheckpointManifest
    vocabulary: Vocabulary
    evaluate: EvalConfig


@dataclass(frozen=True)
class Sides:
    """Models to look at, on what data, and the background policy that all are compared under."""

    models: list[Model]
    inputs: Inputs
    background: Background

    @property
    def scored(self) -> ClassSplit:
        """The classes of the page; unless it is dropped, background is one more."""
        return scored_split(self.inputs.split, self.background)


def sides(
    checkpoints: Sequence[Path], device: str | None, background: Background | None, **folders: Path
) -> Sides:
    """Load what is compared, and the data from the `folders` of the earlier steps.

    Raises:
        UserError: the checkpoints are of different protocols or background policies, or the policy does not go with
            label maps or text vectors.
    """
    chosen = device_named(device)
    loaded = [load_segmentor(folder) for folder in checkpoints]
    manifests = [manifest for _, manifest in loaded]
    protocols = {manifest.config.data.protocol for manifest in manifests}
    if len(protocols) > 1:
        raise UserError(
            f"checkpoints are of protocols {', '.join(sorted(protocols))}; give some of the same one"
        )
    policies = {manifest.config.evaluate.background for manifest in manifests}
    if background is None and len(policies) > 1:
        raise UserError(
            f"checkpoints are of background policies {'; '.join(sorted(map(str, policies)))}; "
            "choose one for all: --background dropped"
        )
    policy = policies.pop() if background is None else background
    inputs = read_inputs(protocol_name=protocols.pop(), **folders)
    vectors = inputs.class_vectors
    if policy.names:
        vectors = torch.cat([vectors, read_background_vectors(folders["text"], policy.names)])
    models = []
    for title, (segmentor, manifest) in zip(_titles(manifests), loaded, strict=True):
        config = manifest.config
        vocabulary = Vocabulary(
            segmentor.to(chosen).eval(),
            vectors.to(chosen),
            config.loss.kind,
            seen=inputs.split.foreground().seen,
            seen_penalty=manifest.seen_penalty(config.evaluate),
            background_names=len(policy.names),
        )
        inference = config.evaluate.model_copy(update={"background": policy})
        models.append(Model(title, manifest, vocabulary, inference))
    return Sides(models, inputs, policy)


def lines_of(sides: Sides, split: str, limit: int | None) -> list[dict[str, Any]]:
    """Label the pictures of a split, at most `limit` evenly spread ones, and give what the page shows of each.

    Raises:
        UserError: there are more than 2,000 pictures.
    """
    inputs, scored = sides.inputs, sides.scored
    rows = rows_of(inputs, split)
    if limit is not None and limit < len(rows):
        rows = rows.iloc[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    if len(rows) > MOST_PICTURES:
        raise UserError(
            f"{len(rows)} pictures make too large a page; give a limit of at most {MOST_PICTURES}"
        )
    lines = []
    with progress("compare", len(rows)) as bar:
        for name, image, label in rows[["name", "image", "label"]].astype(str).to_numpy():
            lines.append(_line(name, inputs.root / image, inputs.root / label, sides.models, scored))
            bar.advance(len(lines))
    return lines


def _titles(manifests: Sequence[CheckpointManifest]) -> list[str]:
    """Name each model as people read it; what is alike gets its place."""
    titles = [run_title(manifest.config.method, manifest.setting) for manifest in manifests]
    return [
        f"{title} ({place + 1})" if titles.count(title) > 1 else title for place, title in enumerate(titles)
    ]


def _line(name: str, image: Path, label: Path, models: Sequence[Model], scored: ClassSplit) -> dict[str, Any]:
    """Give what the page shows of one picture."""
    picture = read_image(image)
    truth = read_label_map(label, scored.label_set)
    predicted = [_predicted(model, picture) for model in models]
    scores = [picture_scores(truth, labels, scored.unseen) for labels in predicted]
    classes, num_classes = _present(truth, predicted), scored.num_classes
    chosen = scored.label_set.colours
    tiles = [picture, *(tinted(picture, labels, num_classes, 0.75, chosen) for labels in (truth, *predicted))]
    return {
        "name": name,
        "width": picture.shape[1],
        "height": picture.shape[0],
        "scores": scores,
        "classes": classes,
        "tiles": [_webp(tile) for tile in tiles],
    }


def _predicted(model: Model, picture: np.ndarray) -> np.ndarray:
    config = model.manifest.config
    found = labelled(
        model.vocabulary,
        [picture],
        views=views(),
        evaluate=model.evaluate,
        mean=config.data.mean,
        std=config.data.std,
    )
    return found.classes[0]


def _present(truth: np.ndarray, predicted: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Give the classes of the truth, and those that only predictions have, largest first."""
    true = np.bincount(truth[truth != IGNORE].ravel(), minlength=1)
    maps = np.bincount(np.concatenate([labels.ravel() for labels in predicted]))
    least = LEGEND_SHARE * truth.size
    in_truth = [int(i) for i in np.argsort(-true, kind="stable") if true[i]]
    only = [int(i) for i in np.argsort(-maps, kind="stable") if maps[i] > least and i not in in_truth]
    return [{"id": i, "true": True} for i in in_truth] + [{"id": i, "true": False} for i in only]


def _webp(picture: np.ndarray) -> str:
    """Give a tile as a data address: small ones enlarged by a whole factor, large ones shrunk."""
    image = Image.fromarray(picture)
    largest = max(image.size)
    if largest > TILE_SIDE:
        image.thumbnail((TILE_SIDE, TILE_SIDE))
    content = io.BytesIO()
    # Few pixels are kept as they are: compression would blur what they show.
    image.save(content, format="WEBP", quality=QUALITY, lossless=largest <= 128)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def page_of(lines: Sequence[Mapping[str, Any]], sides: Sides, split: str, data: str) -> str:
    """Give the page; `data` is the hash of the data set."""
    scored, models = sides.scored, sides.models
    colours = palette(scored.num_classes, scored.label_set.colours)
    unseen = set(scored.unseen)
    return filled(
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
            {
                "name": name,
                "colour": "#{:02x}{:02x}{:02x}".format(*colours[i]),
                "unseen": i in unseen,
            }
            for i, name in enumerate(scored.classes)
        ],
        tiles={str(place): line["tiles"] for place, line in enumerate(lines)},
        difference=_difference,
    )


def _difference(scores: Sequence[PictureScores]) -> float | None:
    """Give how much better the last model labels a picture than the first, in points of mean IoU."""
    first, last = scores[0].miou, scores[-1].miou
    return None if first is None or last is None else points(last, first)
