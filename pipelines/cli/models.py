"""Commands that train models and measure them.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    Background,
    Checkpoint,
    Out,
    Prepared,
    SplitsFolder,
    Text,
)


class SelfTraining(StrEnum):
    """Transductive protocols."""

    oracle = "oracle"
    strict = "strict"


class TargetSeen(StrEnum):
    """Which classes of another data set count as seen."""

    all = "all"
    names = "names"


class Control(StrEnum):
    """Negative controls of an evaluation."""

    words = "words"
    random_tower = "random_tower"


def evaluate(
    checkpoint: Checkpoint,
    split: Annotated[str, typer.Option(help="Split of the prepared data, such as val or test.")],
    out: Out,
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    control: Annotated[
        Control | None,
        typer.Option(help="words: unseen text vectors exchanged; random_tower: names the row."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Protocol of another data set, such as ade20k-150; the three folders are of it."),
    ] = None,
    target_seen: Annotated[
        TargetSeen, typer.Option(help="all as published, or names: those the checkpoint saw by name.")
    ] = TargetSeen.all,
    background: Background = None,
) -> None:
    """Score a checkpoint: table, confusion, pictures.

    With --target on another data set than it was trained on.
    """
    from cascade_core.labels.background import parse_background
    from components.steps import evaluate

    found = evaluate.run(
        prepared=prepared,
        splits=splits,
        text=text,
        checkpoint=checkpoint,
        split=split,
        out=out,
        control=None if control is None else control.value,
        limit=limit,
        background=None if background is None else parse_background(background),
        target=target,
        target_seen=target_seen.value,
    )
    scores = {
        "pAcc": found.pAcc,
        "mIoU(S)": found.miou_seen,
        "mIoU(U)": found.miou_unseen,
        "hIoU": found.hiou,
    }
    shown = ("-" if value is None else f"{100 * value:.1f}" for value in scores.values())
    told = " | ".join(f"{name} {value}" for name, value in zip(scores, shown, strict=True))
    policy = "" if found.background == "dropped" else f", background by {found.background}"
    print(f"{found.method} {found.setting} on {found.split} of {found.protocol}{policy}: {told}")
