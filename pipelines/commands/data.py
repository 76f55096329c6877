"""Commands that make what training reads: index, splits, and the mini benchmark's pictures and CLIP.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Out, Prepared, Protocol
from pipelines.overrides import parse_image_sets


def index(
    raw: Annotated[Path, typer.Option(help="Data set folder, such as one that holds VOCdevkit/VOC2012.")],
    protocol: Protocol,
    image_set: Annotated[
        list[str],
        typer.Option(metavar="SPLIT=LISTS", help="Image lists of a split, joined by '+'; repeatable."),
    ],
    out: Out = Path("outputs/prepared"),
) -> None:
    """Check a data set that lies ready in a folder, and write its index."""
    from components import prepare

    prepare.run(raw=raw, protocol=protocol, image_sets=parse_image_sets(image_set), out=out)


def splits(
    protocol: Protocol, prepared: Prepared = Path("outputs/prepared"), out: Out = Path("outputs/splits")
) -> None:
    """State seen and unseen classes, and each split."""
    from components import splits

    splits.run(prepared=prepared, protocol=protocol, out=out)


def mini_data(
    out: Annotated[Path, typer.Option(help="Folder to write; must not hold anything.")] = Path("data/mini"),
    seed: int = 0,
) -> None:
    """Draw the mini benchmark's pictures anew."""
    from components import mini_data

    mini_data.run(seed=seed, out=out)


def pretrain(
    out: Annotated[Path, typer.Option(help="CLIP folder to write.")] = Path("data/mini/clip"),
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps; the shipped weights' number if left out.")
    ] = None,
    seed: int = 0,
) -> None:
    """Pretrain the mini benchmark's CLIP from nothing.

    With the image-caption contrastive loss alone: no label map is ever read.
    """
    from components import pretrain

    pretrain.run(steps=steps, seed=seed, out=out)
