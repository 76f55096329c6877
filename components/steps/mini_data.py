"""Step: draw pictures and label maps of the mini benchmark, in Pascal VOC's layout."""

from itertools import count
from pathlib import Path
from typing import Annotated

from components.contract import Call, Output, step
from components.contract.shared import Seed


@step("mini_data", example="cascade-clip mini-data --out local_outputs/world", tracked=False)
def run(
    call: Call,
    /,
    *,
    out: Annotated[Path, Output("Folder to write; must be new or empty.", default="local_outputs/world")],
    seed: Seed = 0,
) -> Path:
    """Draw the pictures of the mini benchmark.

    The same seed draws the same pictures and label maps.
    """
    from cascade_core.mini.voc_layout import SPLIT_SIZES, write_benchmark
    from components.progress import progress

    numbers = count(1)
    with progress("draw pictures", sum(SPLIT_SIZES.values())) as bar:
        return write_benchmark(out, seed=seed, on_picture=lambda split, _: bar.advance(next(numbers), split))
