"""The command that puts models side by side: `cascade-clip compare`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Background, Device, Out, Prepared, SplitsFolder, Text


def compare(
    checkpoint: Annotated[
        list[Path], typer.Option("--checkpoint", help="Checkpoint folder; two or more, in order.")
    ],
    out: Out,
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    split: Annotated[str, typer.Option(help="Split whose pictures are shown.")] = "val",
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many pictures, evenly spread; all if left out.")
    ] = None,
    device: Device = None,
    background: Background = None,
) -> None:
    """Put picture, truth and the predictions of several models on one page.

    The page needs nothing else, sorts by the difference between the first and the last model, and filters by
    class.
    """
    from cascade_core.labels.background import parse_background
    from components.steps import compare

    done = compare.run(
        checkpoints=checkpoint,
        prepared=prepared,
        splits=splits,
        text=text,
        split=split,
        out=out,
        limit=limit,
        device=device,
        background=None if background is None else parse_background(background),
    )
    print(f"{done.page}: {done.num_pictures} pictures")
