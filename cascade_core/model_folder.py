"""The old name of `cascade_core.checkpoints.model_folder`, for versions registered before: MLflow kept their code."""

from cascade_core.checkpoints.model_folder import CHECKPOINT, TEXT_TOWER

__all__ = ["CHECKPOINT", "TEXT_TOWER"]
