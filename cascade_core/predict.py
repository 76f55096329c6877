"""From a photograph and any class names to a label map, with exactly the inference that evaluation uses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from cascade_core.background import Background
from cascade_core.clip.text import TextTransformer, Tokenizer, class_vectors
from cascade_core.clip.text_tower import load_text_tower
from cascade_core.data.pictures import read_image
from cascade_core.data.transforms import normalise, resize_image, short_side_size
from cascade_core.evaluate.inference import scorer
from cascade_core.evaluate.prediction import label_maps
from cascade_core.files import new_file, write_json
from cascade_core.labelsets import BACKGROUND, IGNORE
from cascade_core.model.segmentor import Segmentor
from cascade_core.train.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.visualise import label_png, overlay

Picture = UInt8[np.ndarray, "height width 3"]

MAX_LABELS = IGNORE
"""Ids of an 8-bit label map, less the one that stands for pixels of no class."""


@dataclass(frozen=True)
class Segmentation:
    """A label map, and the class name that each of its ids stands for."""

    label_map: UInt8[np.ndarray, "height width"]
    labels: tuple[str, ...]

    def shares(self) -> dict[str, float]:
        """Give the share of the pixels of every class found, largest first."""
        counts = np.bincount(self.label_map.ravel(), minlength=len(self.labels))
        order = np.argsort(-counts, kind="stable")
        return {self.labels[i]: float(counts[i] / self.label_map.size) for i in order if counts[i]}


@dataclass(frozen=True)
class PredictedFiles:
    """Where a prediction was written: the tinted picture, the label map, and the names of its ids."""

    overlay: Path
    label_map: Path
    names: Path


class Segmenter:
    """Segments pictures into classes named with each call.

    A class vector is made from a name and the templates of the training recipe. Of inductive models, the
    classes that were seen in training pay the seen penalty where they are asked for; every other name
    counts as unseen. Where `background` is not dropped (left out: as trained), pixels of no class get the
    label "background", after those asked for.
    """

    def __init__(
        self,
        segmentor: Segmentor,
        manifest: CheckpointManifest,
        text: TextTransformer,
        tokenizer: Tokenizer,
        *,
        device: torch.device,
        background: Background | None = None,
    ) -> None:
        self.manifest = manifest
        self.background = manifest.config.evaluate.background if background is None else background
        self.device = device
        self._segmentor = segmentor.to(device).eval()
        self._text = text.to(device).eval()
        self._tokenizer = tokenizer
        self._vectors: tuple[tuple[str, ...], Float[Tensor, "classes embed"]] | None = None

    @classmethod
    def load(
        cls, checkpoint: Path, clip: Path, *, device: torch.device, background: Background | None = None
    ) -> "Segmenter":
        """Read a checkpoint folder, and the text tower of a CLIP folder (or of the text half of one).

        Raises:
            ValueError: a file is missing or does not fit; the message names it.
        """
        segmentor, manifest = load_segmentor(checkpoint)
        text, tokenizer = load_text_tower(clip)
        ours, theirs = manifest.config.model.clip.embed_dim, text.text_projection.shape[1]
        if ours != theirs:
            raise ValueError(
                f"{clip}: text vectors of width {theirs} do not fit checkpoint {checkpoint} of width {ours}; "
                "give the CLIP that it was trained with"
            )
        return cls(segmentor, manifest, text, tokenizer, device=device, background=background)

    def class_vectors(self, labels: Sequence[str]) -> Float[Tensor, "classes embed"]:
        """Give the text vectors of class names; those of the last call are kept.

        Raises:
            ValueError: as of `checked_labels`, or the tokenizer does not know a word.
        """
        names = checked_labels(labels)
        if self._vectors is None or self._vectors[0] != names:
            vectors = class_vectors(self._text, self._tokenizer, names, self.manifest.config.data.templates)
            self._vectors = (names, vectors)
        return self._vectors[1]

    def segment(self, image: np.ndarray | Image.Image, labels: Sequence[str]) -> Segmentation:
        """Label every pixel of `image` with the best of `labels`, at the picture's own size.

        Raises:
            ValueError: the picture is not 8-bit RGB, a label is what stands for background, or as of
                `class_vectors`.
        """
        names = checked_labels(labels)
        self._check_background(names)
        picture = _as_rgb(image)
        vectors = self.class_vectors((*names, *self.background.names))
        best = self._label_map(picture, vectors, seen=self._seen(names))
        told = names if self.background.policy == "dropped" else (*names, BACKGROUND)
        return Segmentation(best.numpy().astype(np.uint8), told)

    def _check_background(self, names: tuple[str, ...]) -> None:
        policy = self.background.policy
        if policy == "dropped":
            return
        given = {BACKGROUND, *(name.casefold() for name in self.background.names)}
        if both := [name for name in names if name.casefold() in given]:
            raise ValueError(
                f"background policy {policy!r} gives label {both[0]!r}; leave it out of the labels, or predict with "
                "background dropped"
            )
        if len(names) >= MAX_LABELS:
            raise ValueError(f"{len(names)} labels and background do not fit; a label map takes {MAX_LABELS}")

    def _seen(self, names: tuple[str, ...]) -> list[int]:
        """Give the positions of the names that were labelled in training."""
        known = {name.casefold() for name in self.manifest.classes}
        known -= {name.casefold() for name in self.manifest.unseen}
        return [i for i, name in enumerate(names) if name.casefold() in known]

    def _label_map(
        self, picture: Picture, vectors: Float[Tensor, "classes embed"], *, seen: Sequence[int]
    ) -> Int64[Tensor, "height width"]:
        config = self.manifest.config
        size = (picture.shape[0], picture.shape[1])
        if config.evaluate.short_side is not None:
            picture = resize_image(picture, short_side_size(size, config.evaluate.short_side))
        predict = scorer(
            self._segmentor,
            vectors,
            kind=config.loss.kind,
            seen=seen,
            seen_penalty=config.evaluate.seen_penalty if self.manifest.setting == "inductive" else 0.0,
        )
        images = normalise(picture, config.data.mean, config.data.std)[None].to(self.device)
        evaluate = config.evaluate.model_copy(update={"background": self.background})
        maps = label_maps(predict, images, evaluate=evaluate, num_classes=len(vectors), size=size)
        return maps[0].cpu()


def predict_files(segmenter: Segmenter, image: Path, labels: Sequence[str], out: Path) -> PredictedFiles:
    """Segment the picture `image` and write three files into the folder `out`, named after it.

    `*_overlay.png` is the tinted picture with a legend, `*_labels.png` the palette label map whose ids
    follow the order of `labels`, `*_names.json` those names and their shares of the pixels.

    Raises:
        ValueError: the picture cannot be read, or as of `Segmenter.segment`; nothing is written then.
    """
    picture = read_image(image)
    segmentation = segmenter.segment(picture, labels)
    names = segmentation.labels
    files = PredictedFiles(
        overlay=out / f"{image.stem}_overlay.png",
        label_map=out / f"{image.stem}_labels.png",
        names=out / f"{image.stem}_names.json",
    )
    with new_file(files.overlay) as path:
        overlay(picture, segmentation.label_map.astype(np.int64), names).save(path, format="PNG")
    with new_file(files.label_map) as path:
        label_png(segmentation.label_map.astype(np.int64), len(names)).save(path, format="PNG")
    content = {
        "labels": list(names),
        "shares": segmentation.shares(),
        "background": str(segmenter.background),
    }
    write_json(files.names, content)
    return files


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Give class names without surrounding blanks.

    Raises:
        ValueError: there are none or too many, one is empty, or one comes twice (case ignored).
    """
    if isinstance(labels, str):
        # ValueError as for every other unusable input: callers tell it to their users.
        raise ValueError(f"labels are a list of class names, not the text {labels!r}; split it at its commas")
    names = tuple(" ".join(name.split()) for name in labels)
    if not 0 < len(names) <= MAX_LABELS:
        raise ValueError(f"{len(names)} labels given; a label map takes 1 to {MAX_LABELS} class names")
    if "" in names:
        raise ValueError(f"label {names.index('') + 1} of {list(labels)} is empty; give every class a name")
    folded = [name.casefold() for name in names]
    repeated = sorted({name for name in folded if folded.count(name) > 1})
    if repeated:
        raise ValueError(f"labels name {', '.join(repeated)} more than once; give every class once")
    return names


def _as_rgb(image: np.ndarray | Image.Image) -> Picture:
    if isinstance(image, Image.Image):
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"image has shape {image.shape} and type {image.dtype}; expected height x width x 3 of uint8 (RGB)"
        )
    return image
