"""Step: draw the mini benchmark's pictures and label maps in Pascal VOC's layout."""

from pathlib import Path
from typing import Annotated

from cascade_core.errors import UserError
from components.contract import Call, Output, step
from components.contract.shared import Seed


@step("mini_data", example="cascade-clip mini-data --out local_outputs/world", tracked=False)
def run(
    call: Call,
    /,
    *,
    out: Annotated[Path, Output("Folder to write; must hold no pictures.", default="data/mini")],
    seed: Seed = 0,
) -> Path:
    """Draw the mini benchmark's pictures anew.

    Returns the folder of the pictures.

    Raises:
        UserError: `out` holds pictures already; they are never edited in place.
    """
    from cascade_core.mini.voc_layout import SPLIT_SIZES, write_benchmark
    from components.progress import progress

    if (out / "VOCdevkit").exists():
        raise UserError(
            f"{out / 'VOCdevkit'} exists; the benchmark's pictures are not edited in place: move it away"
        )
    count = 0
    with progress("draw pictures", sum(SPLIT_SIZES.values())) as bar:

        def advance(split: str, _index: int) -> None:
            nonlocal count
            count += 1
            bar.advance(count, split)

        return write_benchmark(out, seed=seed, on_picture=advance)
