"""Text vectors of class names before the first picture, with a bar and the cache: 171 names of 15 templates take a CPU long."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from torch import Tensor

from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.predictor import Predictor
from components.progress import Progress, progress
from components.vectors.text_cache import kept_vectors


def encoded(predictor: Predictor, names: Sequence[str]) -> Vocabulary:
    """Return a model's vocabulary of class names, and show the progress of its texts; cached names show nothing.

    The cache keeps the vectors for later processes, unless the model is one in memory.

    Raises:
        UserError: as `Predictor.vocabulary`.
    """
    with ExitStack() as stack:
        bars: list[Progress] = []

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress("text vectors", total)))
            bars[0].advance(done)

        def kept(labels: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
            clip = predictor.text_fingerprint
            if clip is None:
                return make()
            config = predictor.manifest.config
            return kept_vectors(clip, labels, config.data.templates, make, form=config.model.text)

        return predictor.vocabulary(names, on_texts=show, kept=kept)
