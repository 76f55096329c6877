"""Step: draw pictures and label maps of a synthetic benchmark, in Pascal VOC's layout."""

from itertools import count
from pathlib import Path
from typing import Annotated, Literal

from components.contract import Call, Option, Output, step
from components.contract.shared import Seed


@step("mini_data", example="cascade-clip mini-data --out local_outputs/world", tracked=False)
def run(
    call: Call,
    /,
    *,
    out: Annotated[Path, Output("Folder to write; must be new or empty.", default="local_outputs/world")],
    world: Annotated[
        Literal["mini", "hard", "hard-drawn"],
        Option("The mini benchmark, mini-hard, or mini-hard's twin of drawings."),
    ] = "mini",
    seed: Seed = 0,
) -> Path:
    """Draw the pictures of the mini benchmark, or of the harder one.

    The same seed draws the same pictures and label maps. Those of mini-hard with seed 0 are compared with the hash that the
    code states, and nothing is written if they differ.

    Raises:
        UserError: the folder is not empty, or the pictures of this machine have another hash.
    """
    from cascade_core.mini.voc_layout import write_benchmark
    from cascade_core.mini.worlds import named_world
    from components.progress import progress

    numbers, pictured = count(1), named_world(world)
    with progress(f"draw pictures of {world}", sum(pictured.sizes.values())) as bar:
        return write_benchmark(
            out, world=pictured, seed=seed, on_picture=lambda split, _: bar.advance(next(numbers), split)
        )
