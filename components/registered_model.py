"""The registered model: MLflow runs this file where a version is loaded or served ("models from code").

It takes pictures (base64 of any image file) with the class names to look for, and gives label maps. Weights
come as safetensors beside it, so that loading a model unpickles nothing; the code that runs them is this
package, which the place that loads a model must have installed.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

from cascade_core.data.pictures import decode_image
from cascade_core.predict import Segmenter

CHECKPOINT, TEXT_TOWER = "checkpoint", "text_tower"
"""Names of the two folders that go with the code."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image"), ColSpec(Array(DataType.string), "labels")]),
    outputs=Schema([ColSpec(AnyType(), "label_map"), ColSpec(Array(DataType.string), "labels")]),
)


class RegisteredSegmenter(PythonModel):  # type: ignore[misc, unused-ignore]
    """A `Segmenter` behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the checkpoint and the text tower, onto a GPU where there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folders = {name: Path(path) for name, path in context.artifacts.items()}
        self.segmenter = Segmenter.load(folders[CHECKPOINT], folders[TEXT_TOWER], device=device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Give `label_map` (uint8, height x width) and its class names `labels` for each row.

        Raises:
            ValueError: naming the row: its image is no picture in base64, or its labels are unusable.
        """
        rows = zip(model_input["image"], model_input["labels"], strict=True)
        return [self._row(f"row {number}", image, labels) for number, (image, labels) in enumerate(rows)]

    def _row(self, where: str, image: str, labels: Sequence[str]) -> dict[str, Any]:
        try:
            content = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"{where}: image is not base64 ({error}); encode the bytes of a file") from error
        segmentation = self.segmenter.segment(decode_image(content, f"{where}, image"), list(labels))
        return {"label_map": segmentation.label_map, "labels": list(segmentation.labels)}


def request(picture: bytes, labels: Sequence[str]) -> dict[str, Any]:
    """Give a row that the model takes, from an image file's content and class names."""
    return {"image": base64.b64encode(picture).decode("ascii"), "labels": list(labels)}


def example(size: int, labels: Sequence[str]) -> pd.DataFrame:
    """Give a row with a plain grey picture, as MLflow keeps one beside each model."""
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 128, dtype=np.uint8)).save(content, format="PNG")
    return pd.DataFrame([request(content.getvalue(), labels)])


mlflow.models.set_model(RegisteredSegmenter())
