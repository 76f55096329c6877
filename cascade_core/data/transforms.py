"""The old name of `cascade_core.batches.transforms`, for versions registered before: MLflow kept their code, which imports it."""

from cascade_core.batches.transforms import short_side_size

__all__ = ["short_side_size"]
