"""The engines of a profile: the first model's graph in each of them, on pictures of the package."""

import numpy as np
import torch

from cascade_core.batches.transforms import resize_image
from cascade_core.data.pictures import read_image
from cascade_core.engines.comparison import EngineTime, compare_engines
from cascade_core.engines.graph import Exportable
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.threads import threads_used
from cascade_core.shipped.contents import example_pictures
from components.profiling.models import Model
from components.progress import progress


def measure_engines(
    model: Model, image_size: int, repeats: int, threads: int | None
) -> tuple[EngineTime, ...]:
    """Compare the engines on one square picture of `image_size`; the others calibrate the int8 graph.

    The pictures are those of the package, enlarged: they have the colours and edges of scenes, which noise has not.

    Raises:
        UserError: the graph in float32 differs from torch by more than its tolerance.
    """
    segmentor = model.subject.at(image_size)
    assert isinstance(segmentor, Segmentor), "the two-stage baseline is never the first model"
    vectors = model.subject.class_vectors.cpu().numpy()
    penalties = np.zeros(len(vectors), dtype=np.float32)
    first, *others = (
        (_crop(resize_image(read_image(path), (image_size, image_size))), vectors, penalties)
        for path in example_pictures()
    )
    threads = threads or torch.get_num_threads()
    with progress("engines") as bar, threads_used(threads):
        return compare_engines(
            Exportable(segmentor, model.config),
            first,
            others,
            threads=threads,
            repeats=repeats,
            report=lambda done, total, text: bar.advance(done, text, total=total),
        )


def _crop(picture: np.ndarray) -> np.ndarray:
    return picture.transpose(2, 0, 1)[None].astype(np.float32)
