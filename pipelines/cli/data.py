"""The command that checks what training reads."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Prepared, SplitsFolder, Text


def preflight(
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    clip: Annotated[
        Path | None, typer.Option(help="CLIP folder whose text tower tells the vectors' order.")
    ] = None,
    stored: Annotated[
        Path | None, typer.Option(help="Or vectors to compare with: .npy [classes, width].")
    ] = None,
    stored_order: Annotated[
        str | None, typer.Option(help="Label set whose classes their rows are; the protocol's if left out.")
    ] = None,
) -> None:
    """Check that label maps, class names and text vectors agree.

    Before a long training or an evaluation. With --clip or --stored also that each vector is that of its own name.
    """
    from components.inputs.preflight import preflight as compare

    found = compare(
        prepared=prepared, splits=splits, text=text, clip=clip, stored=stored, stored_order=stored_order
    )
    for sentence in found.passed:
        print(f"ok    {sentence}")
    for sentence in found.notes:
        print(f"note  {sentence}")
