"""What every format is written from: pictures one after the other, each with its label map."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

SOFTWARE = "cascade-clip predict"
"""What the files name as the software that wrote them; a later call replaces no other file."""


@dataclass(frozen=True)
class About:
    """What the pictures of a file share: the class names in the order of ids, and the model's identity.

    Ids beyond the names are background or have no value; they make no objects.
    """

    labels: tuple[str, ...]
    model: str


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and its label map.

    Attributes:
        file_name: the path of the picture, relative to the folder of pictures.
        label_map: a class id per pixel.
        confidence: the mean confidence of each class in it, by id.
    """

    file_name: str
    label_map: np.ndarray
    confidence: Mapping[int, float]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.label_map.shape
        return int(width), int(height)

    def masks(self, about: About) -> Iterator[tuple[int, Bool[np.ndarray, "height width"]]]:
        """Yield the id and the mask of every class in the picture."""
        for i in np.flatnonzero(np.bincount(self.label_map.ravel())).tolist():
            if i < len(about.labels):
                yield i, self.label_map == i


def box_of(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    """Return the left, top, width and height of the pixels of a mask that has some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
