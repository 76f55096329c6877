"""The old name of `cascade_core.predictor`; the stored code of older registered models imports it."""

from cascade_core.predictor import MAX_LABELS, Predictor

__all__ = ["MAX_LABELS", "Segmenter"]


class Segmenter(Predictor):
    """A `Predictor` with the class and method name that older registered models use."""

    segment = Predictor.predict
