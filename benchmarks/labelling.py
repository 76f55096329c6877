"""Labelling of a large picture, from the logits to the label map: `python -m benchmarks.labelling`.

Cascade-CLIP on a ViT-B/16 with random weights and 171 classes labels a picture of 4096 x 4096 pixels, which the model
sees with a short side of 512, on a CPU. The baseline are tiles of 16 x 32 pixels, whatever the picture. Only the tiles'
time counts, in which logits become labels and confidence; the share is that of the whole run, model included.
"""

import statistics
import time
from dataclasses import dataclass
from unittest import mock

import numpy as np

from benchmarks.inference import Case, case
from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from benchmarks.stopwatch import Stopwatch
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.strips import Limits
from cascade_core.inference.tiles import CPU_NUMBERS, Tiles, Tiling
from cascade_core.inference.views import views

SIZE = (4096, 4096)
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


@dataclass(frozen=True)
class Labelling:
    """Medians in seconds: labelling with the tiles chosen for the picture, with small ones, and the first one's whole call.

    `different` counts the labels that differ between the two.
    """

    chosen: float
    small: float
    whole: float
    different: int

    def ratio(self) -> str:
        return f"{self.chosen / self.small:.2f} ({self.chosen:.2f} s / {self.small:.2f} s)"

    def share(self) -> str:
        return f"{100 * self.chosen / self.whole:.0f} % of the whole ({self.whole:.2f} s)"


def measure(seen_penalty: float, *, rounds: int) -> Labelling:
    """Compare the tiles that are chosen for the picture with small ones, in turns."""
    picture_case = case(SIZE, seen_penalty)
    runs = [[timed(picture_case, limits) for limits in (Limits(), SMALL_TILES)] for _ in range(rounds + 1)][
        1:
    ]
    chosen, small = (statistics.median(seconds for _, seconds, _ in way) for way in zip(*runs, strict=True))
    whole = statistics.median(whole for (_, _, whole), _ in runs)
    different = np.count_nonzero(runs[0][0][0] != runs[0][1][0])
    return Labelling(chosen, small, whole, int(different))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seen-penalty", nargs="+", type=float, default=[0.1, 0.0])
    options = parsed(parser)
    print(surroundings())
    for penalty in options.seen_penalty:
        labelled = measure(penalty, rounds=options.rounds)
        print(
            f"{SIZE[1]} x {SIZE[0]}, seen penalty {penalty}: labelling {labelled.ratio()}, {labelled.share()}; "
            f"{labelled.different} of {SIZE[0] * SIZE[1]:,} labels differ; {load()}",
            flush=True,
        )


if __name__ == "__main__":
    main()
