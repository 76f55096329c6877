"""The old name of `cascade_core.inference.prediction`; the stored code of older registered models imports it."""

from cascade_core.inference.prediction import Prediction as Segmentation

__all__ = ["Segmentation"]
