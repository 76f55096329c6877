"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from cascade_core.errors import UserError

Prepared = Annotated[Path, typer.Option(help="Folder of the prepare step.")]
SplitsFolder = Annotated[Path, typer.Option("--splits", help="Folder of the splits step.")]
Text = Annotated[Path, typer.Option(help="Folder of the text-vectors step.")]
Out = Annotated[Path, typer.Option(help="Folder to write; replaced whole, or left as it was on an error.")]
Protocol = Annotated[
    str,
    typer.Option(help="Label set and unseen classes: a name such as voc12-15-5, or your label file (.yaml)."),
]
Recipe = Annotated[str, typer.Option(help="Complete configuration by name, such as mini_zegclip.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override of the recipe; repeatable.")
]
OverridesFile = Annotated[
    Path | None, typer.Option("--overrides", help="YAML file whose section `overrides` is put in first.")
]
Resume = Annotated[bool, typer.Option(help="Go on from an interrupted run's last checkpoint.")]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="Pixels of no class: dropped, threshold=0.3, or prompts=sky,wall; as trained if left out.",
    ),
]
Checkpoint = Annotated[Path, typer.Option(help="Checkpoint folder, such as outputs/train/zegclip/final.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "--checkpoint",
        help="Model folder, checkpoint folder, or an address such as models:/mini-18-6-cascade_clip@champion.",
    ),
]
Clip = Annotated[
    Path | None, typer.Option(help="CLIP folder of a bare checkpoint; data/mini/clip if left out.")
]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one if left out.")]


def whole_numbers(option: str, listed: str) -> tuple[int, ...]:
    """Read an option's whole numbers by commas.

    Raises:
        UserError: there is something else among them.
    """
    try:
        return tuple(int(part) for part in listed.split(",") if part.strip())
    except ValueError:
        raise UserError(f"{option} {listed!r} are not whole numbers by commas, such as 0,1,2") from None
