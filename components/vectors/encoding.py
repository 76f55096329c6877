"""Text vectors of class names before the first picture, with a bar: 80 templates a name take seconds on a CPU."""

from collections.abc import Sequence
from contextlib import ExitStack

from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.predictor import Predictor
from components.progress import Progress, progress


def encoded(predictor: Predictor, names: Sequence[str]) -> Vocabulary:
    """Return a model's vocabulary of class names, and show the progress of its texts; cached names show nothing.

    Raises:
        UserError: as `Predictor.vocabulary`.
    """
    with ExitStack() as stack:
        bars: list[Progress] = []

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress("text vectors", total)))
            bars[0].advance(done)

        return predictor.vocabulary(names, on_texts=show)
