"""What the page does with a request, without Gradio: read the field of class names and segment a photograph."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.data.pictures import decode_image
from cascade_core.errors import UserError
from cascade_core.inference.prediction import checked_labels
from cascade_core.predictor import OnTexts, Predictor, log_texts
from components.contract.shared import names_by_commas
from components.demo.figure import figure
from components.pictures.picture_files import PictureFile
from components.pictures.predict import DecodedPicture, request_of, write_results
from components.pictures.result_files import Parts, ResultFiles, result_files
from components.results.rows import run_titles

MOST_NAMES = 1000
"""The most class names of one request, since text vectors take time and others wait meanwhile."""


@dataclass(frozen=True)
class Model:
    """A model of the page and its title."""

    title: str
    predictor: Predictor


@dataclass(frozen=True)
class Answer:
    """What one model says about a photograph: the HTML of its figure, and the files of its results."""

    figure: str
    files: ResultFiles


def with_titles(predictors: Sequence[Predictor]) -> list[Model]:
    """Give each model a title of its own."""
    manifests = [predictor.manifest for predictor in predictors]
    titles = run_titles([(manifest.config.method, manifest.setting) for manifest in manifests])
    return [Model(title, predictor) for title, predictor in zip(titles, predictors, strict=True)]


def notes(models: Sequence[Model]) -> list[str]:
    """Return what a user must know before trusting a model with a photograph, a sentence or two for each such model."""
    mini = [model for model in models if model.predictor.manifest.config.model.clip.name == MINI_CLIP.name]
    own = [model for model in mini if model.predictor.manifest.config.data.own is not None]
    scenes = [model for model in mini if model not in own]
    return [
        f"{' and '.join(model.title for model in some)}: {fact}. "
        f"Words to try: {', '.join(some[0].predictor.manifest.classes)}."
        for some, fact in (
            (scenes, "trained on small drawn scenes, cannot segment photographs"),
            (own, "on the smallest CLIP, which knows little beyond the pictures of the training"),
        )
        if some
    ]


def names_in_field(text: str) -> tuple[str, ...]:
    """Read class names that are separated by commas or line ends.

    Raises:
        UserError: there is no name, there are more than `MOST_NAMES`, or `checked_labels` refuses one.
    """
    lines = (names_by_commas(line, source="Class names:") for line in text.splitlines() if line.strip())
    names = [name for line in lines for name in line if name.strip()]
    if not names:
        raise UserError("There are no class names; write some, separated by commas, such as: grass, sky")
    if len(names) > MOST_NAMES:
        raise UserError(
            f"There are {len(names):,} class names, and this page takes {MOST_NAMES:,}; leave some out, or use "
            "`cascade-clip predict --labels-file`"
        )
    return checked_labels(names)


def read_photograph(path: Path) -> DecodedPicture:
    """Read an uploaded file; errors call it by its name without folders.

    Raises:
        UserError: it is no picture that `decode_image` reads.
    """
    content = path.read_bytes()
    pixels = decode_image(content, path.name)
    return DecodedPicture(PictureFile(path, path.stem), pixels, hashlib.sha256(content).hexdigest())


def segment(
    model: Model, picture: DecodedPicture, names: tuple[str, ...], *, out: Path, on_texts: OnTexts = log_texts
) -> Answer:
    """Segment a photograph, write its results to `out`, and draw the figure; `on_texts` shows how far the names are.

    Raises:
        UserError: the model does not know a word, or the photograph is too large for its settings.
    """
    predictor, colours = model.predictor, model.predictor.colours_of(names)
    predictor.vocabulary(names, on_texts=on_texts)
    prediction = predictor.predict(picture.pixels, names)
    out.mkdir(parents=True)
    files = result_files(out, picture.file.name, Parts(overlay=True))
    write_results(picture, prediction, request_of(predictor, names), files, colours)
    return Answer(figure(model.title, picture.pixels, prediction, colours), files)
