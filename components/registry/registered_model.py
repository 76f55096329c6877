"""The registered model: MLflow runs this file where a version is loaded or served ("models from code").

It takes pictures (base64 of any image file) with the class names to look for, and gives label maps with how
sure the model is of them. Weights come as safetensors beside it, so that loading a model unpickles nothing; the
code that runs them is `cascade_clip`, which the place that loads a model must have installed: of this project it imports
that alone, since it stays in a version as it is while the rest of the project moves.

A served model takes what strangers post: size is read from a picture's header before a pixel is decoded, and
every refusal is an answer of the 4xx kind that says which row is wrong and why.
"""

import base64
import binascii
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types.schema import (
    AnyType,
    Array,
    ColSpec,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
)
from PIL import Image, UnidentifiedImageError

from cascade_clip import MAX_LABELS, Prediction, Predictor, UserError, decode_image

log = logging.getLogger(__name__)

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, and MPO of phones as JPEG. Of what else Pillow reads, EPS is a program that Ghostscript would run, and
ICO is decoded whole before it tells its size."""
MAX_PIXELS = 50_000_000
"""Of the pictures of a call together as posted, and of each as the model sees it; a 50-megapixel photograph."""
MAX_ROWS = 64
MAX_FILE_BYTES = 64 * 2**20
"""Of an image file; more is no compressed photograph of so many pixels."""
MAX_TEXT = -(-MAX_FILE_BYTES // 3) * 4
"""Characters of such a file in base64."""
MAX_NAME = 200
"""Characters of a class name."""

CONFIDENCE_MAP = "confidence_map"
"""A parameter of the call, and the column that it adds."""

AREA = Object(
    [
        Property("id", DataType.long),
        Property("label", DataType.string),
        Property("pixels", DataType.long),
        Property("share", DataType.double),
        Property("confidence", DataType.double),
    ]
)
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image"), ColSpec(Array(DataType.string), "labels")]),
    outputs=Schema(
        [
            ColSpec(AnyType(), "label_map"),
            ColSpec(Array(DataType.string), "labels"),
            ColSpec(DataType.double, "mean_confidence"),
            ColSpec(Array(AREA), "classes"),
            ColSpec(AnyType(), CONFIDENCE_MAP, required=False),
        ]
    ),
    params=ParamSchema([ParamSpec(CONFIDENCE_MAP, DataType.boolean, default=False)]),
)


class RefusedInputError(MlflowException, UserError):  # type: ignore[misc, unused-ignore]
    """What was given cannot be segmented: a `UserError` to callers in Python, status 400 to those over HTTP."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)


class RegisteredPredictor(PythonModel):  # type: ignore[misc, unused-ignore]
    """A `Predictor` behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the checkpoint and the text tower, onto a GPU where there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folders = {name: Path(path) for name, path in context.artifacts.items()}
        self.predictor = Predictor.load(folders["checkpoint"], folders["text_tower"], device=device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Give for each row the `label_map` (height x width) and the names of its ids, `labels`.

        Beside them stand the picture's `mean_confidence`, and `classes`: id, label, pixels, share and mean
        confidence of each class found, largest first, as `cascade-clip predict` writes them. With the parameter
        `confidence_map` the confidence of every pixel comes too, 0..255; it makes an answer twice as long.

        Raises:
            RefusedInputError: naming the row: its image is no picture in base64 or a too large one, or its
                labels are unusable; or there are too many rows, or too many pixels in all.
            MlflowException: the program failed at a row, which is answered 500; the log has the trace.
        """
        if not 0 < len(model_input) <= MAX_ROWS:
            raise RefusedInputError(f"{len(model_input)} rows given; a call takes 1 to {MAX_ROWS} pictures")
        rows = list(zip(model_input["image"], model_input["labels"], strict=True))
        contents, num_pixels = [], 0
        for number, (image, labels) in enumerate(rows):
            with _row(number):
                # What costs little to look at comes first, for all rows, and no picture is unpacked before.
                _check_labels(labels)
                contents.append(_decoded(image))
                num_pixels += self._check_size(contents[-1])
                _check_sum(num_pixels)
        with_map = bool((params or {}).get(CONFIDENCE_MAP))
        return [
            self._answer(number, content, labels, with_map=with_map)
            for number, (content, (_, labels)) in enumerate(zip(contents, rows, strict=True))
        ]

    def _answer(
        self, number: int, content: bytes, labels: Sequence[str], *, with_map: bool
    ) -> dict[str, Any]:
        with _row(number):
            picture = decode_image(content, "posted image")
            return _told(self.predictor.predict(picture, list(labels)), with_map=with_map)

    def _check_size(self, content: bytes) -> int:
        """Refuse decompression bombs, and slivers that resizing would blow up; give the number of pixels."""
        width, height = _size(content)
        seen = self.predictor.size_seen(height, width)
        if max(width * height, seen[0] * seen[1]) > MAX_PIXELS:
            raise UserError(
                f"image has {width} x {height} pixels, {seen[1]} x {seen[0]} as the model sees it; at most "
                f"{MAX_PIXELS:,} are taken: scale it down, or cut it"
            )
        return width * height


@contextmanager
def _row(number: int) -> Iterator[None]:
    """Name the row in what refuses it, and keep a defect of the program apart: MLflow would answer 400 to both."""
    try:
        yield
    except UserError as error:
        raise RefusedInputError(f"row {number}: {error}") from error
    except Exception as error:
        log.exception("row %d could not be segmented", number)
        raise MlflowException(
            f"row {number}: the program failed ({type(error).__name__}); the server's log has the trace",
            error_code=INTERNAL_ERROR,
        ) from error


def _check_sum(num_pixels: int) -> None:
    """Refuse what fills the memory with the label maps of one call, each of which is little enough by itself."""
    if num_pixels > MAX_PIXELS:
        raise UserError(
            f"the pictures up to this one have {num_pixels:,} pixels; at most {MAX_PIXELS:,} are taken in one call: "
            "spread them over several"
        )


def _told(prediction: Prediction, *, with_map: bool) -> dict[str, Any]:
    answer = {
        "label_map": prediction.label_map,
        "labels": list(prediction.labels),
        "mean_confidence": prediction.mean_confidence,
        "classes": [asdict(area) for area in prediction.areas],
    }
    return {**answer, CONFIDENCE_MAP: prediction.confidence_levels} if with_map else answer


def _check_labels(labels: Sequence[str]) -> None:
    """Refuse what would cost work before `checked_labels` gets to see it, or would fill an answer with itself."""
    if not 0 < len(labels) <= MAX_LABELS:
        raise UserError(f"{len(labels)} labels given; a label map takes 1 to {MAX_LABELS} class names")
    longest = max(len(label) for label in labels)
    if longest > MAX_NAME:
        raise UserError(f"a label has {longest} characters; a class name has at most {MAX_NAME}")


def _decoded(image: object) -> bytes:
    if not isinstance(image, str):  # MLflow lets any object pass for a string of the signature
        raise UserError(f"image is a {type(image).__name__}, not text; encode the bytes of a file as base64")
    if len(image) > MAX_TEXT:
        raise UserError(
            f"image has {len(image):,} characters; at most {MAX_TEXT:,} are taken, a file of 64 MiB"
        )
    try:
        return base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"image is not base64 ({error}); encode the bytes of a file") from error


def _size(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return picture.size
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        # Pillow's words for a foreign file tell an address in memory.
        reason = (
            f"it is none of {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else str(error)
        )
        raise UserError(
            f"image cannot be decoded as a picture ({reason}); encode a whole image file"
        ) from error


def request(picture: bytes, labels: Sequence[str]) -> dict[str, Any]:
    """Give a row that the model takes, from an image file's content and class names."""
    return {"image": base64.b64encode(picture).decode("ascii"), "labels": list(labels)}


def example(size: int, labels: Sequence[str]) -> pd.DataFrame:
    """Give a row with a plain grey picture, as MLflow keeps one beside each model."""
    content = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 128, dtype=np.uint8)).save(content, format="PNG")
    return pd.DataFrame([request(content.getvalue(), labels)])


mlflow.models.set_model(RegisteredPredictor())
