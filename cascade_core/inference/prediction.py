"""The prediction for one picture: its label map, confidence and class areas."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.runtime.listing import brief, check_letters, duplicates, same_name, short_list

MAX_LABELS = IGNORE
"""The most classes of an 8-bit label map, which keeps one id for ignored pixels."""
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


@dataclass(frozen=True)
class Prediction:
    """A label map, the class names of its ids, and the confidence of each pixel.

    Confidence is the model's probability (0 to 1) for the predicted class. Models trained with focal and dice loss
    judge each class independently, so the probabilities of all classes may be low.
    """

    label_map: LabelMap
    labels: tuple[str, ...]
    confidence: Float32[np.ndarray, "height width"]

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
