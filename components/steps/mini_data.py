"""Step: draw the mini benchmark's pictures and label maps in Pascal VOC's layout."""

from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.mini.voc_layout import SPLIT_SIZES, write_benchmark
from components.progress import progress


def run(*, seed: int, out: Path) -> Path:
    """Write the benchmark under `out` and return the folder of its pictures.

    Raises:
        UserError: `out` holds pictures already; they are never edited in place.
    """
    if (out / "VOCdevkit").exists():
        raise UserError(
            f"{out / 'VOCdevkit'} exists; the benchmark's pictures are not edited in place: move it away"
        )
    drawn = 0
    with progress("draw pictures", sum(SPLIT_SIZES.values())) as bar:

        def tell(split: str, _index: int) -> None:
            nonlocal drawn
            drawn += 1
            bar.advance(drawn, split)

        return write_benchmark(out, seed=seed, on_picture=tell)
