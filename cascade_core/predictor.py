"""From photographs and any class names to label maps, with exactly the inference that evaluation uses."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from cascade_core.batches.transforms import short_side_size
from cascade_core.checkpoints.checkpoint import MODEL_FILE, CheckpointManifest, load_segmentor
from cascade_core.checkpoints.model_folder import locate
from cascade_core.clip.text import TextTransformer, class_vectors
from cascade_core.clip.tokenizers import Tokenizer
from cascade_core.clip.weights import load_text_tower
from cascade_core.configs.config import EvalConfig
from cascade_core.data.pictures import read_image
from cascade_core.errors import UserError
from cascade_core.inference.label_maps import labelled
from cascade_core.inference.prediction import (
    MAX_LABELS,
    MAX_WIDE_LABELS,
    Prediction,
    as_label_map,
    checked_labels,
)
from cascade_core.inference.views import views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.label_set import BACKGROUND
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.files import sha256
from cascade_core.runtime.validation import validated

__all__ = ["MAX_LABELS", "Prediction", "Predictor", "checked_labels"]

Picture = UInt8[np.ndarray, "height width 3"]


class Predictor:
    """Segments pictures into classes named with each call.

    A class vector is made from a name and the templates of the training recipe. Of inductive models, the
    classes that were seen in training pay the seen penalty where they are asked for; every other name
    counts as unseen. A class of one's own label set has its synonyms averaged in, as in training and evaluation,
    but for those that are asked for themselves. `evaluate` is the inference (sliding windows or whole, short side, windows at once):
    the recipe's, until another is put there. Where its background is not dropped, pixels of no class get the
    label "background", after those asked for. `identity` tells weights apart, by their hashes.
    """

    def __init__(
        self,
        segmentor: Segmentor,
        manifest: CheckpointManifest,
        text: TextTransformer,
        tokenizer: Tokenizer,
        *,
        device: torch.device,
        identity: str = "unknown",
    ) -> None:
        self.manifest = manifest
        self.identity = identity
        self.device = device
        self.evaluate: EvalConfig = manifest.config.evaluate
        self.segmentor = segmentor.to(device).eval()
        self._text = text.to(device).eval()
        self._tokenizer = tokenizer
        self._asked: tuple[tuple[tuple[str, ...], EvalConfig], Vocabulary] | None = None

    @classmethod
    def load(
        cls, model: str | Path, clip: str | Path | None = None, *, device: str | torch.device | None = None
    ) -> "Predictor":
        """Read a model folder, or a checkpoint folder with its CLIP folder (or the text half of one).

        The device is a GPU where there is one, unless it is named.

        Raises:
            UserError: a file is missing or does not fit; the message names it. Or there is no such device.
        """
        checkpoint, text_folder = locate(Path(model), None if clip is None else Path(clip))
        chosen = device_named(device)
        segmentor, manifest = load_segmentor(checkpoint)
        text, tokenizer = load_text_tower(text_folder)
        ours, theirs = manifest.config.model.clip.embed_dim, text.text_projection.shape[1]
        if ours != theirs:
            raise UserError(
                f"{text_folder}: text vectors of width {theirs} do not fit checkpoint {checkpoint} of width {ours}; "
                "give the CLIP that it was trained with"
            )
        identity = f"{sha256(checkpoint / MODEL_FILE)[:16]}-{_weights_hash(text)[:16]}"
        return cls(segmentor, manifest, text, tokenizer, device=chosen, identity=identity)

    def class_vectors(self, labels: Sequence[str]) -> Float[Tensor, "classes embed"]:
        """Give the text vectors of class names.

        Raises:
            UserError: as of `checked_labels`, or the tokenizer does not know a word.
        """
        names = checked_labels(labels)
        templates, synonyms = self.manifest.config.data.templates, self._synonyms(names)
        return class_vectors(self._text, self._tokenizer, names, templates, synonyms=synonyms)

    def predict(
        self,
        image: str | Path | np.ndarray | Image.Image,
        labels: Sequence[str],
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> Prediction:
        """Label every pixel of a picture (or of its file) with the best of `labels`, at the picture's own size.

        Scores are averaged over `scales` of the size that evaluation would use, and over the mirror image of
        each with `flip`.

        Raises:
            UserError: the picture cannot be read or is not 8-bit RGB, it is too large for the inference
                chosen, or as of `class_vectors` and `views`.
        """
        return self.predict_equal([as_picture(image)], labels, scales=scales, flip=flip)[0]

    def predict_equal(
        self,
        pictures: Sequence[Picture],
        labels: Sequence[str],
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> list[Prediction]:
        """Segment several pictures of one size, which go through the model together.

        Raises:
            UserError: there is none, or their sizes differ, or as of `predict`.
        """
        if len({picture.shape for picture in pictures}) != 1:
            shapes = sorted({f"{picture.shape[1]} x {picture.shape[0]}" for picture in pictures})
            raise UserError(f"pictures of one size are needed, got {', '.join(shapes) or 'none'}")
        names, config = checked_labels(labels), self.manifest.config
        labels_given = names if self.evaluate.background.policy == "dropped" else (*names, BACKGROUND)
        found = labelled(
            self.vocabulary(names),
            pictures,
            views=views(scales, flip=flip),
            evaluate=self.evaluate,
            mean=config.data.mean,
            std=config.data.std,
        )
        return [
            Prediction(as_label_map(classes, len(labels_given)), labels_given, confidence)
            for classes, confidence in zip(found.classes, found.confidence, strict=True)
        ]

    @property
    def seen_penalty(self) -> float:
        """What is taken off the seen classes' probabilities: inductive models' setting, else nothing."""
        return self.manifest.seen_penalty(self.evaluate)

    def size_seen(self, height: int, width: int) -> tuple[int, int]:
        """Give the height and width in pixels at which the model sees a picture of this size."""
        short_side = self.evaluate.short_side
        return (height, width) if short_side is None else short_side_size((height, width), short_side)

    def vocabulary(self, labels: Sequence[str]) -> Vocabulary:
        """Give the model with the text vectors and penalties of class names, those for background after them.

        That of the last call is kept, and with it all that the model makes of text alone.

        Raises:
            UserError: a label is what stands for background, or as of `class_vectors`.
        """
        names = checked_labels(labels)
        self._check_background(names)
        # Read once: another thread's call may put other names there meanwhile.
        wanted, kept = (names, self.evaluate), self._asked
        if kept is not None and kept[0] == wanted:
            return kept[1]
        asked = Vocabulary(
            self.segmentor,
            self.class_vectors((*names, *self.evaluate.background.names)),
            self.manifest.config.loss.kind,
            seen=self._seen(names),
            seen_penalty=self.seen_penalty,
            background_names=len(self.evaluate.background.names),
        )
        self._asked = (wanted, asked)
        return asked

    def _check_background(self, names: tuple[str, ...]) -> None:
        background = self.evaluate.background
        if background.policy == "dropped":
            return
        given = {BACKGROUND, *(name.casefold() for name in background.names)}
        if both := [name for name in names if name.casefold() in given]:
            raise UserError(
                f"background policy {background.policy!r} gives label {both[0]!r}; leave it out of the labels, or "
                "predict with background dropped"
            )
        if len(names) >= MAX_WIDE_LABELS:
            raise UserError(
                f"{len(names)} labels and background do not fit; a label map takes {MAX_WIDE_LABELS} in all"
            )

    def _synonyms(self, names: tuple[str, ...]) -> list[list[str]]:
        """Give further names of the classes that have some in the label set of one's own, if it was one."""
        own, asked = self.manifest.config.data.own, {name.casefold() for name in names}
        known = {} if own is None else {owned.name.casefold(): owned.synonyms for owned in own.classes}
        return [
            [word for word in known.get(name.casefold(), ()) if word.casefold() not in asked]
            for name in names
        ]

    def _seen(self, names: tuple[str, ...]) -> list[int]:
        """Give the positions of the names that were labelled in training."""
        known = {name.casefold() for name in self.manifest.classes}
        known -= {name.casefold() for name in self.manifest.unseen}
        return [i for i, name in enumerate(names) if name.casefold() in known]


def _weights_hash(module: torch.nn.Module) -> str:
    """Hash weights rather than their file, which may hold others besides."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def eval_settings(base: EvalConfig, **changes: Any) -> EvalConfig:
    """Give an inference with some settings changed; those that are None stay.

    Raises:
        UserError: a setting is unknown or has no such value.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return validated(EvalConfig, {**base.model_dump(), **given}, source="inference setting")


def device_named(device: str | torch.device | None) -> torch.device:
    """Give the device of a name such as `cpu` or `cuda`; None: a GPU where there is one.

    Raises:
        UserError: the name is none, or there is no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r} is not known; give cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device {str(device)!r} was asked for, but torch finds no CUDA device here; give cpu"
        )
    return chosen


def as_picture(image: str | Path | np.ndarray | Image.Image) -> Picture:
    """Give a picture, or the picture in a file, as upright 8-bit RGB.

    Raises:
        UserError: the file cannot be read as a picture, or the array is not height x width x 3 of uint8.
    """
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise UserError(f"image of mode {image.mode!r} has more than 8 bits; convert it to 8-bit RGB")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f"image has shape {image.shape} and type {image.dtype}; expected height x width x 3 of uint8 (RGB)"
        )
    return image
