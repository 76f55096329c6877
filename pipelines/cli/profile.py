"""The command that measures what models cost: `cascade-clip profile`.

Whatever is slow to import (torch) is imported inside it, so that `--help` is at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cascade_core.configs.overrides import parse_overrides
from pipelines.cli.options import Device, Out, Set, Text, whole_numbers


def profile(
    out: Out,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="Checkpoint folder; repeatable.")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="Recipe, with random weights: no cost depends on them; repeatable."),
    ] = None,
    two_stage: Annotated[
        int | None,
        typer.Option(
            "--two-stage",
            metavar="REGIONS",
            help="Also a two-stage baseline: CLIP on so many crops of a picture, such as 100.",
        ),
    ] = None,
    batch_sizes: Annotated[str, typer.Option(help="Pictures at once, by commas.")] = "1,8",
    image_sizes: Annotated[
        str, typer.Option(help="Sides of pictures in pixels, by commas; each model's own if left out.")
    ] = "",
    classes: Annotated[
        int | None,
        typer.Option(help="Random text vectors instead of the label set's; no --text needed then."),
    ] = None,
    text: Text = Path("outputs/text"),
    set_: Set = None,
    repeats: Annotated[int, typer.Option(help="Timed runs of each batch and picture size.")] = 5,
    device: Device = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads on a CPU; torch's own choice if left out.")
    ] = None,
) -> None:
    """Measure parameters, multiply-adds, speed, memory.

    Latency and peak memory at each batch and picture size, throughput, and a breakdown by part, as JSON, CSV,
    Markdown and a plot. Several models take turns and stand in one table, with ratios to the first.
    """
    from rich.console import Console

    from cascade_core.profile.measure import Settings
    from components.results.profile_table import WIDE, tables
    from components.steps import profile

    profiles = profile.side_by_side(
        checkpoints=checkpoint or (),
        recipes=recipe or (),
        overrides=parse_overrides(set_ or ()),
        two_stage=two_stage,
        num_classes=classes,
        text=text,
        settings=Settings(
            batch_sizes=whole_numbers("--batch-sizes", batch_sizes),
            image_sizes=whole_numbers("--image-sizes", image_sizes),
            repeats=repeats,
        ),
        device=device,
        threads=threads,
        out=out,
    )
    # A file, or DVC's log, has no width: nothing is to be cut there.
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    for table in tables(profiles):
        console.print(table)
    print(f"plot and tables: {out.resolve()}")
