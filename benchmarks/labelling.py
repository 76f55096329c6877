"""Labelling of a large picture, from the logits to the label map: `python -m benchmarks.labelling`.

Cascade-CLIP on a ViT-B/16 with random weights and 171 classes labels a picture of 4096 x 4096 pixels, which the model
sees with a short side of 512, on a CPU. The baseline are tiles of 16 x 32 pixels, whatever the picture. Only the tiles'
time counts, in which logits become labels and confidence; the share is that of the whole run, model included.
"""

import statistics
import time
from unittest import mock

import numpy as np

from benchmarks.compare import surroundings
from benchmarks.inference import Case, case
from benchmarks.stopwatch import Stopwatch
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.strips import Limits
from cascade_core.inference.tiles import CPU_NUMBERS, Tiles, Tiling
from cascade_core.inference.views import views

SIZE, ROUNDS = (4096, 4096), 3
SMALL_TILES = Limits(tiling=Tiling(height=16, width=32, numbers=CPU_NUMBERS, bounded=True))


def timed(picture_case: Case, limits: Limits) -> tuple[np.ndarray, float, float]:
    """Return the label map, the seconds of labelling, and those of the whole call."""
    watch, data = Stopwatch(), picture_case.config.data
    with mock.patch.object(Tiles, "update_best", _around(watch)):
        began = time.perf_counter()
        labels, _ = label_photographs(
            picture_case.vocabulary,
            [picture_case.picture],
            views=views(),
            evaluate=picture_case.config.evaluate,
            mean=data.mean,
            std=data.std,
            limits=limits,
        )
        return labels, watch.seconds, time.perf_counter() - began


def _around(watch: Stopwatch) -> object:
    plain = Tiles.update_best

    def update_best(tiles: Tiles, *maps: object, first: int) -> None:
        watch.around(lambda: plain(tiles, *maps, first=first))()  # type: ignore[arg-type]

    return update_best


def line(seen_penalty: float) -> str:
    """Compare the tiles that are chosen for the picture with small ones, in turns: medians of `ROUNDS` runs."""
    picture_case = case(SIZE, seen_penalty)
    rounds = [[timed(picture_case, limits) for limits in (Limits(), SMALL_TILES)] for _ in range(ROUNDS + 1)][
        1:
    ]
    chosen, small = (
        statistics.median(seconds for _, seconds, _ in runs) for runs in zip(*rounds, strict=True)
    )
    whole = statistics.median(whole for (_, _, whole), _ in rounds)
    different = np.count_nonzero(rounds[0][0][0] != rounds[0][1][0])
    return (
        f"{SIZE[1]} x {SIZE[0]}, seen penalty {seen_penalty}: labelling {chosen:.3f} s / {small:.3f} s = "
        f"{chosen / small:.3f}, {100 * chosen / whole:.0f} % of the whole ({whole:.3f} s); {different} of "
        f"{SIZE[0] * SIZE[1]:,} labels differ"
    )


if __name__ == "__main__":
    print(surroundings())
    for penalty in (0.1, 0.0):
        print(line(penalty), flush=True)
