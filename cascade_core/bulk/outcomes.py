"""A picture on its way through a worker: where its file comes from, and what becomes of it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cascade_core.errors import UserError
from cascade_core.inference.prediction import Prediction


class PictureError(UserError):
    """A fault of one picture's file, which becomes the picture's outcome and does not stop the others."""


class Source(Protocol):
    """A picture to label: its name in errors, and its file's content."""

    @property
    def where(self) -> str: ...

    def read(self) -> bytes:
        """Return the content of the picture's file.

        Raises:
            PictureError: the file is missing or cannot be read. Any other error ends the run.
        """
        ...


@dataclass(frozen=True)
class Labelled:
    """A picture's upright pixels (height x width x 3, uint8), the hash of its file, and its prediction."""

    pixels: np.ndarray
    sha256: str
    prediction: Prediction


@dataclass(frozen=True)
class Failure:
    """Why a picture has no prediction; with its size (width, height) and the hash of its file as far as known."""

    reason: str
    size: tuple[int, int] | None = None
    sha256: str | None = None


Outcome = Labelled | Failure


@dataclass(frozen=True)
class OpenedFile:
    """A picture's file after one reading: its hash and size, and its content if that is small."""

    sha256: str
    size: tuple[int, int]
    content: bytes | None
