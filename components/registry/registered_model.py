"""The registered model: MLflow runs this file when a version is loaded or served ("models from code").

Input is pictures (an image file in base64) with class names; output is label maps with confidences. Weights are
safetensors, so that loading a model unpickles nothing. MLflow copies this file into every version, where it stays
unchanged while the project moves on. Of the project it therefore imports only the public API `cascade_clip`, which
must be installed where a version is loaded.

A served model gets untrusted input: it checks a picture's size in the file header before it decodes pixels, and
answers a bad row with a 4xx status, the row's number and the reason.
"""

import base64
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
from mlflow.types import schema
from mlflow.types.schema import ColSpec, DataType, Property, Schema
from PIL import Image, UnidentifiedImageError

from cascade_clip import MAX_LABELS, PICTURE_FORMATS, Predictor, UserError, decode_image

log = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000
"""Limit on the posted pixels of all pictures in a call, and on the pixels of each picture after resizing."""
MAX_ROWS = 64
MAX_FILE_BYTES = 64 * 2**20
"""Limit on an image file; a compressed photograph of `MAX_PIXELS` is smaller."""
MAX_TEXT = -(-MAX_FILE_BYTES // 3) * 4
"""Limit on the base64 text of an image file, in characters without line ends."""
MAX_NAME = 200
"""Limit on a class name, in characters."""

CONFIDENCE_MAP = "confidence_map"
"""The name of a call's parameter, and of the column that it adds to the answer."""

AREA_TYPES = {"id": "long", "label": "string", "pixels": "long", "share": "double", "confidence": "double"}
AREA = schema.Object([Property(name, kind) for name, kind in AREA_TYPES.items()])
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, "image"),
            ColSpec(schema.Array(DataType.string), "labels", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(schema.AnyType(), "label_map"),
            ColSpec(schema.Array(DataType.string), "labels"),
            ColSpec(DataType.double, "mean_confidence"),
            ColSpec(schema.Array(AREA), "classes"),
            ColSpec(schema.AnyType(), CONFIDENCE_MAP, required=False),
        ]
    ),
    params=schema.ParamSchema([schema.ParamSpec(CONFIDENCE_MAP, DataType.boolean, default=False)]),
)


class RefusedInputError(MlflowException, UserError):  # type: ignore[misc, unused-ignore]
    """The input cannot be segmented: a `UserError` for callers in Python, status 400 over HTTP."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)


class RegisteredPredictor(PythonModel):  # type: ignore[misc, unused-ignore]
    """A `Predictor` with MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint and the text tower, onto the GPU if there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folders = {name: Path(path) for name, path in context.artifacts.items()}
        self.predictor = Predictor.load(folders["checkpoint"], folders["text_tower"], device=device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Segment each row, and return its `label_map` (height x width) with `labels`, the names of its ids.

        If no row has labels, each gets the classes of the training.

        Each answer also has the picture's `mean_confidence`, and `classes`: id, label, pixels, share and mean
        confidence of each class in the label map, largest first, as `cascade-clip predict` writes them. The parameter
        `confidence_map` adds the confidence of every pixel, 0..255; the answer is then twice as long.

        Raises:
            RefusedInputError: a row's image is not base64, not a picture or too large, its labels are invalid, or
                the call has too many rows or pixels; the message names the row.
            MlflowException: the program failed at a row; status 500, and the log has the trace.
        """
        if not 0 < len(model_input) <= MAX_ROWS:
            raise RefusedInputError(f"{len(model_input)} rows given; a call takes 1 to {MAX_ROWS} pictures")
        stated = model_input["labels"] if "labels" in model_input else [None] * len(model_input)
        rows, contents, num_pixels = [], [], 0
        # The cheap checks run first, for all rows, and decode no picture.
        for number, (image, labels) in enumerate(zip(model_input["image"], stated, strict=True)):
            with _row(number):
                labels = self.predictor.default_labels if labels is None else labels
                _check_labels(labels)
                rows.append((image, labels))
                contents.append(_decoded(image))
                num_pixels += self._check_size(contents[-1])
                # The label maps of a call fill the memory together, even if each of them is small.
                if num_pixels > MAX_PIXELS:
                    raise UserError(
                        f"the pictures up to this one have {num_pixels:,} pixels; at most {MAX_PIXELS:,} are taken "
                        "in one call: spread them over several"
                    )
        answers = []
        for number, (content, (_, labels)) in enumerate(zip(contents, rows, strict=True)):
            with _row(number):
                prediction = self.predictor.predict(decode_image(content, "posted image"), list(labels))
                answer = {
                    "label_map": prediction.label_map,
                    "labels": list(prediction.labels),
                    "mean_confidence": prediction.mean_confidence,
                    "classes": [asdict(area) for area in prediction.areas],
                }
                if (params or {}).get(CONFIDENCE_MAP):
                    answer[CONFIDENCE_MAP] = prediction.confidence_levels
                answers.append(answer)
        return answers

    def _check_size(self, content: bytes) -> int:
        """Refuse decompression bombs, and thin pictures that resizing enlarges; return the number of pixels."""
        width, height = _size(content)
        resized_height, resized_width = self.predictor.size_seen(height, width)
        if max(width * height, resized_height * resized_width) > MAX_PIXELS:
            raise UserError(
                f"image has {width} x {height} pixels, {resized_width} x {resized_height} as the model sees it; at most "
                f"{MAX_PIXELS:,} are taken: scale it down, or cut it"
            )
        return width * height


@contextmanager
def _row(number: int) -> Iterator[None]:
    """Add the row's number to errors, and give defects of the program status 500; MLflow would answer 400."""
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


def _check_labels(labels: Sequence[str]) -> None:
    """Refuse too many and too long labels before the text tower works on them."""
    if not 0 < len(labels) <= MAX_LABELS:
        raise UserError(f"{len(labels)} labels given; a label map takes 1 to {MAX_LABELS} class names")
    longest = max(len(label) for label in labels)
    if longest > MAX_NAME:
        raise UserError(f"a label has {longest} characters; a class name has at most {MAX_NAME}")


def _decoded(image: object) -> bytes:
    if not isinstance(image, str):  # MLflow accepts any object for a string of the signature.
        raise UserError(f"image is a {type(image).__name__}, not text; encode the bytes of a file as base64")
    if image.startswith("data:"):
        raise UserError("image is a data: address; send the base64 after its comma alone")
    text = image.replace("\n", "").replace(
        "\r", ""
    )  # The program `base64` and Python's `encodebytes` break lines.
    if len(text) > MAX_TEXT:
        raise UserError(
            f"image has {len(text):,} characters; at most {MAX_TEXT:,} are taken, a file of 64 MiB"
        )
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise UserError(f"image is not base64 ({error}); encode the bytes of a file") from error


def _size(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content), formats=PICTURE_FORMATS) as picture:
            return picture.size
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        # Pillow's own message about an unknown format contains a memory address.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none of {', '.join(PICTURE_FORMATS)}" if unknown else str(error)
        raise UserError(
            f"image cannot be decoded as a picture ({reason}); encode a whole image file"
        ) from error


def request(picture: bytes, labels: Sequence[str]) -> dict[str, Any]:
    """Return an input row for an image file's content and class names."""
    return {"image": base64.b64encode(picture).decode("ascii"), "labels": list(labels)}


def example(size: int, labels: Sequence[str]) -> pd.DataFrame:
    """Return an input row with a plain grey picture, for MLflow to keep beside the model."""
    content = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 128, dtype=np.uint8)).save(content, format="PNG")
    return pd.DataFrame([request(content.getvalue(), labels)])


mlflow.models.set_model(RegisteredPredictor())
