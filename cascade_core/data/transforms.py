"""The old name of `cascade_core.batches.transforms`; the stored code of older registered models imports it."""

from cascade_core.batches.transforms import short_side_size

__all__ = ["short_side_size"]
