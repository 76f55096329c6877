"""The old name of `cascade_core.inference.prediction`, for versions registered before: MLflow kept their code."""

from cascade_core.inference.prediction import Prediction as Segmentation

__all__ = ["Segmentation"]
