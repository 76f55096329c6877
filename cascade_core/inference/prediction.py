"""What prediction gives for one picture: a label map, how sure the model is of it, and the classes on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.runtime.listing import duplicates

MAX_LABELS = IGNORE
"""Ids of an 8-bit label map, less the one that stands for pixels of no class."""
MAX_WIDE_LABELS = 2**16 - 1
"""The same of a 16-bit label map, which is what more labels get."""

LabelMap = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]


@dataclass(frozen=True)
class ClassArea:
    """A class found on a picture: its id and name, its pixels, and the mean confidence on them."""

    id: int
    label: str
    pixels: int
    share: float
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """A label map, the class name that each of its ids stands for, and a probability for each pixel.

    The confidence of a pixel is the probability that the model gives the class chosen there, between 0 and 1.
    Models trained with focal and dice loss judge each class by itself, so that it may be low for every class.
    """

    label_map: LabelMap
    labels: tuple[str, ...]
    confidence: Float32[np.ndarray, "height width"]

    @property
    def mean_confidence(self) -> float:
        return float(self.confidence.mean(dtype=np.float64))

    @property
    def confidence_levels(self) -> UInt8[np.ndarray, "height width"]:
        """The confidence in 256 levels, for a picture of it."""
        return (self.confidence * 255).round().clip(0, 255).astype(np.uint8)

    @cached_property
    def areas(self) -> tuple[ClassArea, ...]:
        """The classes found, largest first."""
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
        """Give the share of the pixels of every class found, largest first."""
        return {area.label: area.share for area in self.areas}


def as_label_map(ids: np.ndarray, num_classes: int) -> LabelMap:
    """Give class ids in 8 bits, or in 16 where 8 do not hold them."""
    return ids.astype(np.uint8 if num_classes <= MAX_LABELS else np.uint16)


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Give class names without surrounding blanks.

    Raises:
        UserError: there are none or too many, one is empty, or one comes twice (case ignored).
    """
    if isinstance(labels, str):
        raise UserError(f"labels are a list of class names, not the text {labels!r}; split it at its commas")
    names = tuple(" ".join(name.split()) for name in labels)
    if not 0 < len(names) <= MAX_WIDE_LABELS:
        raise UserError(f"{len(names)} labels given; a label map takes 1 to {MAX_WIDE_LABELS} class names")
    if "" in names:
        raise UserError(f"label {names.index('') + 1} of {len(names)} is empty; give every class a name")
    if twice := duplicates(map(str.casefold, names)):
        raise UserError(f"labels name {', '.join(twice)} more than once; give every class once")
    return names
