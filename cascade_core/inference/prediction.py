"""The prediction for one picture: its label map, confidence, class areas and overlay."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.render import visualise
from cascade_core.runtime.listing import brief, check_letters, duplicates, same_name, short_list

MAX_LABELS = IGNORE
"""The most classes of an 8-bit label map, which keeps one id for ignored pixels."""
AREAS_SHOWN = 4
"""The representation of a prediction names so many classes, the largest."""
MAX_WIDE_LABELS = 2**16 - 1
"""The most classes of a 16-bit label map, the format of predictions with more labels."""

LabelMap = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]


@dataclass(frozen=True)
class ClassArea:
    """A class in a label map: its pixels, their share of the picture, and their mean confidence."""

    id: int
    label: str
    pixels: int
    share: float
    confidence: float


@dataclass(frozen=True, repr=False)
class Prediction:
    """A label map, the class names of its ids, and the confidence of each pixel.

    Confidence is the model's probability (0 to 1) for the predicted class. Models trained with focal and dice loss
    judge each class independently, so the probabilities of all classes may be low. A notebook shows the overlay.

    Attributes:
        picture: the picture, which `overlay` needs; None if it was not kept.
        colours: a colour such as "#ff8000" per label, "" for one of the palette; empty for the palette alone.
    """

    label_map: LabelMap
    labels: tuple[str, ...]
    confidence: Float32[np.ndarray, "height width"]
    picture: UInt8[np.ndarray, "height width 3"] | None = None
    colours: tuple[str, ...] = ()

    def __repr__(self) -> str:
        height, width = self.label_map.shape
        shares = ", ".join(f"{area.label} {100 * area.share:.1f} %" for area in self.areas[:AREAS_SHOWN])
        rest = len(self.areas) - AREAS_SHOWN
        return (
            f"<Prediction {width} x {height} pixels: {shares}{f' and {rest} more' if rest > 0 else ''}; "
            f"{len(self.areas)} of {len(self.labels)} labels, mean confidence {self.mean_confidence:.2f}>"
        )

    def _repr_png_(self) -> bytes | None:
        """Return the overlay as a PNG file, which notebooks show; None without the picture."""
        if self.picture is None:
            return None
        content = io.BytesIO()
        self.overlay().save(content, format="PNG")
        return content.getvalue()

    def overlay(self) -> Image.Image:
        """Return the picture tinted by its classes, with a legend at the right.

        A picture with a side above 4,096 pixels is shrunk.

        Raises:
            UserError: the prediction was made without keeping the picture.
        """
        if self.picture is None:
            raise UserError("this prediction has no picture to draw on; make it with `Predictor.predict`")
        return visualise.overlay(self.picture, self.label_map, self.labels, colours=self.colours)

    def label_png(self) -> Image.Image:
        """Return the label map as a palette picture of the same ids, or as a 16-bit grey one for over 255 labels."""
        return visualise.label_png(self.label_map, len(self.labels), self.colours)

    @property
    def mean_confidence(self) -> float:
        return float(self.confidence.mean(dtype=np.float64))

    @property
    def confidence_levels(self) -> UInt8[np.ndarray, "height width"]:
        """The confidence in 256 levels, for a grey picture."""
        return (self.confidence * 255).round().clip(0, 255).astype(np.uint8)

    @cached_property
    def areas(self) -> tuple[ClassArea, ...]:
        """The classes in the label map, largest first."""
        ids = self.label_map.ravel()
        counts = np.bincount(ids, minlength=len(self.labels))
        sums = np.bincount(ids, weights=self.confidence.ravel(), minlength=len(self.labels))
        return tuple(
            ClassArea(
                id=int(i),
                label=self.labels[i],
                pixels=int(counts[i]),
                share=float(counts[i] / ids.size),
                confidence=float(sums[i] / counts[i]),
            )
            for i in np.argsort(-counts, kind="stable")
            if counts[i]
        )

    def shares(self) -> dict[str, float]:
        """Return each class's share of the pixels, largest first."""
        return {area.label: area.share for area in self.areas}


def as_label_map(ids: np.ndarray, num_classes: int) -> LabelMap:
    """Return class ids in 8 bits, or in 16 bits for more than `MAX_LABELS` classes."""
    return ids.astype(np.uint8 if num_classes <= MAX_LABELS else np.uint16)


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return class names without surrounding or repeated blanks.

    Raises:
        UserError: there is no name or too many, a name is empty, or a name occurs twice (case ignored).
    """
    if isinstance(labels, str):
        raise UserError(
            f"labels are the text {brief(labels)}; expected a list of class names: split it at its commas"
        )
    names = tuple(" ".join(name.split()) for name in labels)
    if not 0 < len(names) <= MAX_WIDE_LABELS:
        raise UserError(f"{len(names)} labels given; a label map takes 1 to {MAX_WIDE_LABELS} class names")
    if "" in names:
        raise UserError(f"label {names.index('') + 1} of {len(names)} is empty; give every class a name")
    for name in names:
        check_letters(name)
    if twice := duplicates(map(same_name, names)):
        raise UserError(f"labels name {short_list(twice, most=5)} more than once; give every class once")
    return names
