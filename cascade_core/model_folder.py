"""The old name of `cascade_core.checkpoints.model_folder`; the stored code of older registered models imports it."""

from cascade_core.checkpoints.model_folder import CHECKPOINT, TEXT_TOWER

__all__ = ["CHECKPOINT", "TEXT_TOWER"]
