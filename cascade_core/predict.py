"""The old name of `cascade_core.predictor`, for versions registered before: MLflow kept their code, which imports it."""

from cascade_core.predictor import MAX_LABELS, Predictor

__all__ = ["MAX_LABELS", "Segmenter"]


class Segmenter(Predictor):
    """A `Predictor` under the names that versions registered before call it by."""

    segment = Predictor.predict
