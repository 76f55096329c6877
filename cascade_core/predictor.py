"""Prediction: label maps of photographs for any class names, with evaluation's inference."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cascade_core.batches.transforms import seen_size
from cascade_core.checkpoints.checkpoint import MODEL_FILE, CheckpointManifest, load_segmentor
from cascade_core.checkpoints.model_folder import locate
from cascade_core.clip.text import (
    TextTransformer,
    class_means,
    class_vectors,
    num_texts,
    template_vectors,
    text_tokens,
)
from cascade_core.clip.tokenizers import Tokenizer
from cascade_core.clip.weights import fingerprint, load_text_tower
from cascade_core.configs.config import EvalConfig
from cascade_core.data.pictures import decode_image, read_image
from cascade_core.errors import UserError
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.prediction import (
    MAX_LABELS,
    MAX_WIDE_LABELS,
    Prediction,
    as_label_map,
    checked_labels,
)
from cascade_core.inference.views import Picture, views
from cascade_core.inference.vocabulary import Vocabulary, check_seen_penalty
from cascade_core.labels.label_set import BACKGROUND, BACKGROUND_COLOUR
from cascade_core.model.queries import ClassVectors
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.files import sha256
from cascade_core.runtime.validation import validated

ImageLike = str | Path | bytes | bytearray | memoryview | np.ndarray | Image.Image
"""What `predict` takes as a picture: a path, a file's bytes, an array height x width x 3 of uint8 (RGB), or Pillow's."""

__all__ = ["MAX_LABELS", "Prediction", "Predictor", "checked_labels"]

log = logging.getLogger(__name__)

OnTexts = Callable[[int, int], None]
"""Called with the number of texts encoded so far and that of all, at first with 0."""
KeptVectors = Callable[[Sequence[str], Callable[[], Tensor]], Tensor]
"""Returns the vectors of names from a store, or makes them by the function and stores them."""


def log_texts(done: int, total: int) -> None:
    """Log at the start how many texts are encoded: the first request for some names waits for them."""
    if done == 0:
        log.info("encoding the class names: %d texts", total)


def made_anew(names: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
    """Make the vectors, and store none."""
    return make()


class Predictor:
    """Segments pictures into the classes that each call names.

    A class vector is computed from a name with the templates of the training recipe. If the model was trained on a
    custom label set, a class's synonyms count too, except synonyms that are labels themselves: `evaluate.synonyms` says
    whether the mean of their vectors stands for the class, as in training, or the best of them.
    With an inductive model, names of seen classes pay the seen penalty; every other name counts as unseen.

    Attributes:
        manifest: the checkpoint's manifest.
        identity: hashes of the weights, or "unknown".
        text_fingerprint: what decides the vectors of a name: hashes of the text tower's weights, configuration and
            vocabulary; None for a model in memory.
        device: the device that holds the model.
        evaluate: the inference settings (sliding windows or whole, short side, windows per batch), initially the
            recipe's. If their policy does not drop background, pixels of no class get a last label "background".
        segmentor: the network, in eval mode.
        seen_penalty: the number subtracted from the probabilities of seen classes, initially that of `evaluate` for an
            inductive model, and 0 for others. A number that is set here stays, for models of every setting.
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
        text_fingerprint: Mapping[str, str] | None = None,
    ) -> None:
        self.manifest = manifest
        self.identity = identity
        self.text_fingerprint = text_fingerprint
        self.device = device
        self.evaluate: EvalConfig = manifest.config.evaluate
        self.segmentor = segmentor.to(device).eval()
        self._text = text.to(device).eval()
        self._tokenizer = tokenizer
        self._stated_penalty: float | None = None
        self._cached: tuple[tuple[tuple[str, ...], EvalConfig, float], Vocabulary] | None = None

    @classmethod
    def load(
        cls, model: str | Path, clip: str | Path | None = None, *, device: str | torch.device | None = None
    ) -> "Predictor":
        """Load a model folder, or a checkpoint folder with its CLIP folder (or the text half of one).

        The default device is a GPU if there is one, else the CPU.

        Raises:
            UserError: a file is missing or does not fit, or the device does not exist.
        """
        checkpoint, text_folder = locate(Path(model), None if clip is None else Path(clip))
        target = device_named(device)
        segmentor, manifest = load_segmentor(checkpoint)
        text, tokenizer = load_text_tower(text_folder)
        expected, width = manifest.config.model.clip.embed_dim, text.text_projection.shape[1]
        if width != expected:
            raise UserError(
                f"{text_folder}: text vectors of width {width} do not fit checkpoint {checkpoint} of width {expected}; "
                "give the CLIP that the checkpoint was trained with"
            )
        text_hash = _weights_hash(text)
        return cls(
            segmentor,
            manifest,
            text,
            tokenizer,
            device=target,
            identity=f"{sha256(checkpoint / MODEL_FILE)[:16]}-{text_hash[:16]}",
            text_fingerprint=fingerprint(text_folder, weights=text_hash),
        )

    @classmethod
    def of(
        cls,
        segmentor: Segmentor,
        manifest: CheckpointManifest,
        text: TextTransformer,
        tokenizer: Tokenizer,
        *,
        device: torch.device,
    ) -> "Predictor":
        """Return the predictor of a model in memory; its identity hashes the weights and the configuration."""
        config = hashlib.sha256(manifest.config.model_dump_json().encode()).hexdigest()
        identity = "-".join(digest[:16] for digest in (_weights_hash(segmentor), _weights_hash(text), config))
        return cls(segmentor, manifest, text, tokenizer, device=device, identity=identity)

    def move(self, device: torch.device) -> None:
        """Move the model, and the vocabulary that is cached, to a device."""
        self.segmentor.to(device)
        self._text.to(device)
        self.device = device
        if self._cached is not None:
            key, vocabulary = self._cached
            self._cached = (key, replace(vocabulary, class_vectors=vocabulary.class_vectors.to(device)))

    def class_vectors(self, labels: Sequence[str]) -> ClassVectors:
        """Return the text vectors of class names, each a mean over the class's synonyms.

        There is one per class, or one per class and template if the model reads those. A model with a text tower of its own
        reads the ids of the tokens in their place, of the names alone.

        Raises:
            UserError: `checked_labels` refuses the names, or the tokenizer does not know a word.
        """
        names = checked_labels(labels)
        return self._encode(names, self._synonyms(names), log_texts, made_anew)

    def _encode(
        self, names: Sequence[str], synonyms: Sequence[Sequence[str]], on_texts: OnTexts, kept: KeptVectors
    ) -> ClassVectors:
        config = self.manifest.config
        templates = config.data.templates
        if config.model.text == "tokens":
            # The model's own text tower reads them; as in training, a class's first name stands for it.
            return text_tokens(self._tokenizer, names, templates).float().to(self.device)
        encode = template_vectors if config.model.text == "templates" else class_vectors
        groups = [[name, *others] for name, others in zip(names, synonyms, strict=True)]
        labels = [label for group in groups for label in group]

        def make() -> Tensor:
            total = num_texts(labels, templates)
            on_texts(0, total)
            return encode(
                self._text, self._tokenizer, labels, templates, on_batch=lambda done: on_texts(done, total)
            )

        return class_means(kept(labels, make).to(self.device), [len(group) for group in groups])

    @property
    def default_labels(self) -> tuple[str, ...]:
        """The classes of the training, seen and unseen, without background; of a training-free model, those of its label file.

        Raises:
            UserError: the model is training-free, and was made without a label file.
        """
        if self.manifest.setting == "training_free" and self.manifest.config.data.split.own is None:
            raise UserError("a training-free model has no classes of its own; give labels")
        return self.manifest.config.data.split.foreground().classes

    def predict(
        self,
        image: ImageLike,
        labels: Sequence[str] | None = None,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> Prediction:
        """Label every pixel of a picture with the best of `labels`, at the picture's own size.

        The picture is a path, the bytes of a picture file, a Pillow picture or an array; `labels` are `default_labels` if
        left out. Scores are averaged over `scales`, multiples of evaluation's size, and with `flip` over their mirror
        images.

        Raises:
            UserError: the picture is unreadable, not 8-bit RGB, or too large for the inference settings; or
                `class_vectors` or `views` refuse their arguments.
        """
        return self.predict_equal([as_picture(image)], labels, scales=scales, flip=flip)[0]

    def predict_all(
        self,
        images: Iterable[ImageLike],
        labels: Sequence[str] | None = None,
        *,
        batch: int = 8,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> Iterator[Prediction]:
        """Yield the prediction of each picture in order; up to `batch` pictures in a row of one size are one batch.

        Pictures are read when their batch begins, so that any number of them fits into memory.

        Raises:
            UserError: `batch` is below 1, or `predict` would refuse a picture or label.
        """
        if batch < 1:
            raise UserError(f"batch={batch}; a batch has at least one picture")
        pending: list[Picture] = []
        for picture in map(as_picture, images):
            if pending and (len(pending) == batch or picture.shape != pending[0].shape):
                yield from self.predict_equal(pending, labels, scales=scales, flip=flip)
                pending = []
            pending.append(picture)
        if pending:
            yield from self.predict_equal(pending, labels, scales=scales, flip=flip)

    def predict_equal(
        self,
        pictures: Sequence[Picture],
        labels: Sequence[str] | None = None,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> list[Prediction]:
        """Predict several pictures of one size as one batch.

        Raises:
            UserError: there is no picture, the sizes differ, or `predict` would refuse a picture or label.
        """
        if len({picture.shape for picture in pictures}) != 1:
            shapes = sorted({f"{picture.shape[1]} x {picture.shape[0]}" for picture in pictures})
            raise UserError(f"a batch needs pictures of one size, got {', '.join(shapes) or 'none'}")
        names = checked_labels(self.default_labels if labels is None else labels)
        config, colours = self.manifest.config, self.colours_of(names)
        all_labels = self.map_labels(names)
        classes, confidence = label_photographs(
            self.vocabulary(names),
            pictures,
            views=views(scales, flip=flip),
            evaluate=self.evaluate,
            mean=config.data.mean,
            std=config.data.std,
        )
        return [
            Prediction(as_label_map(ids, len(all_labels)), all_labels, probabilities, picture, colours)
            for ids, probabilities, picture in zip(classes, confidence, pictures, strict=True)
        ]

    def map_labels(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the label of each id in a label map: the names, then background unless the policy drops it."""
        return names if self.evaluate.background.policy == "dropped" else (*names, BACKGROUND)

    def colours_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the colour of each name in the model's own label set ("" if it has none), then that of background."""
        own = self.manifest.config.data.own
        return (*(own.colours_of(names) if own else [""] * len(names)), BACKGROUND_COLOUR)

    @property
    def seen_penalty(self) -> float:
        stated = self._stated_penalty
        return self.manifest.seen_penalty(self.evaluate) if stated is None else stated

    @seen_penalty.setter
    def seen_penalty(self, penalty: float) -> None:
        check_seen_penalty(penalty)
        self._stated_penalty = penalty

    def size_seen(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width in pixels at which the model sees a picture of this size."""
        evaluate = self.evaluate
        return seen_size((height, width), evaluate.short_side, keep_ratio=evaluate.keep_ratio)

    def vocabulary(
        self, labels: Sequence[str], *, on_texts: OnTexts = log_texts, kept: KeptVectors = made_anew
    ) -> Vocabulary:
        """Return the vocabulary of these class names, followed by the names that stand for background.

        The last vocabulary is cached, with the decoder's terms that depend on text alone. `on_texts` shows progress while
        names are encoded, and is not called for cached ones; `kept` may store vectors for other processes.

        Raises:
            UserError: a label stands for background, or `class_vectors` refuses the names.
        """
        names = checked_labels(labels)
        self._check_background(names)
        # Read once: another thread may replace the cached vocabulary meanwhile.
        key, cached = (names, self.evaluate, self.seen_penalty), self._cached
        if cached is not None and cached[0] == key:
            return cached[1]
        vectors, query_classes, num_background = self._queries(names, on_texts, kept)
        vocabulary = Vocabulary(
            self.segmentor,
            vectors,
            self.manifest.config.loss.score_function,
            seen=self.seen(names),
            seen_penalty=self.seen_penalty,
            background_names=num_background,
            query_classes=query_classes,
        )
        self._cached = (key, vocabulary)
        return vocabulary

    def _queries(
        self, names: tuple[str, ...], on_texts: OnTexts, kept: KeptVectors
    ) -> tuple[ClassVectors, list[int] | None, int]:
        """Return the vectors that compete, the classes of those before background's, and the number of background's."""
        labels = checked_labels((*names, *self.evaluate.background.names))
        if self.evaluate.synonyms == "mean":
            vectors = self._encode(labels, self._synonyms(labels), on_texts, kept)
            return vectors, None, len(labels) - len(names)
        groups = [[name, *others] for name, others in zip(labels, self._synonyms(labels), strict=True)]
        queries = [query for group in groups for query in group]
        vectors = self._encode(queries, [()] * len(queries), on_texts, kept)
        query_classes = [i for i, group in enumerate(groups[: len(names)]) for _ in group]
        return vectors, query_classes, len(queries) - len(query_classes)

    def _check_background(self, names: tuple[str, ...]) -> None:
        background = self.evaluate.background
        if background.policy == "dropped":
            return
        background_names = {BACKGROUND, *(name.casefold() for name in background.names)}
        if both := [name for name in names if name.casefold() in background_names]:
            raise UserError(
                f"background policy {background.policy!r} already gives label {both[0]!r}; leave it out of the "
                "labels, or predict with background dropped"
            )
        if len(names) >= MAX_WIDE_LABELS:
            raise UserError(
                f"{len(names)} labels and background do not fit into a label map, which takes {MAX_WIDE_LABELS} in all"
            )

    def _synonyms(self, names: tuple[str, ...]) -> list[list[str]]:
        """Return each name's synonyms in the custom label set of the training, if there was one."""
        own, labels = self.manifest.config.data.own, {name.casefold() for name in names}
        synonyms = {} if own is None else {item.name.casefold(): item.synonyms for item in own.classes}
        return [
            [word for word in synonyms.get(name.casefold(), ()) if word.casefold() not in labels]
            for name in names
        ]

    def seen(self, names: Sequence[str]) -> list[int]:
        """Return the positions of those names that are classes which the training saw; they pay the seen penalty."""
        seen = {name.casefold() for name in self.manifest.classes}
        seen -= {name.casefold() for name in self.manifest.unseen}
        return [i for i, name in enumerate(names) if name.casefold() in seen]


def _weights_hash(module: torch.nn.Module) -> str:
    """Return a hash of a module's weights, whose file may hold other weights besides."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def eval_settings(base: EvalConfig, **changes: Any) -> EvalConfig:
    """Return the inference settings `base` with `changes`; a change of None keeps the setting.

    Raises:
        UserError: a setting does not exist or its value is invalid.
    """
    settings = {name: value for name, value in changes.items() if value is not None}
    return validated(EvalConfig, {**base.model_dump(), **settings}, source="inference setting")


def device_named(
    device: str | torch.device | None, kinds: Sequence[str] = ("cpu", "cuda", "mps")
) -> torch.device:
    """Return the device of a name such as `cpu`, `cuda` or Apple's `mps`; None: a CUDA GPU if there is one, else the CPU.

    Raises:
        UserError: no device has this name, it is not of one of `kinds`, or this machine has no such device.
    """
    known = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device {device!r} is unknown; give {known}") from error
    if target.type not in kinds:
        raise UserError(f"device {str(device)!r} is not supported here; give {known}")
    if target.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device 'mps' is not available: torch reaches no GPU of Apple's here; give cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if target.type == "cuda" and (target.index or 0) >= count:
        raise UserError(
            f"device {str(device)!r} is not available: torch finds {count or 'no'} CUDA devices; give "
            f"{'cuda or ' if count else ''}cpu"
        )
    return target


def as_picture(image: ImageLike) -> Picture:
    """Return a picture, the picture in a file, or that in a file's bytes, as upright 8-bit RGB.

    Raises:
        UserError: the file is no readable picture, or the array is not height x width x 3 of uint8.
    """
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image), "the picture's bytes")
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise UserError(
                f"image of mode {image.mode!r} has more than 8 bits a channel; convert it to 8-bit RGB"
            )
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f"image has shape {image.shape} and type {image.dtype}; expected height x width x 3 of uint8 (RGB)"
        )
    return image
