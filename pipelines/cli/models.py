"""Commands that train models and measure them.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade_core.errors import UserError
from pipelines.cli.options import (
    Background,
    Checkpoint,
    Out,
    OverridesFile,
    Prepared,
    Recipe,
    Resume,
    Set,
    SplitsFolder,
    Text,
)
from pipelines.cli.overrides import parse_overrides


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


def train(
    recipe: Recipe,
    out: Out,
    clip: Annotated[Path | None, typer.Option(help="CLIP folder.")] = None,
    random_clip: Annotated[
        bool, typer.Option(help="Random image tower instead: smoke runs and controls.")
    ] = False,
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    set_: Set = None,
    overrides: OverridesFile = None,
    seed: int = 0,
    resume: Resume = True,
) -> None:
    """Train a recipe, unseen classes left out.

    With --set train.supervision=full every class's labels are shown.
    """
    from components.steps import train

    if (clip is None) != random_clip:
        raise UserError("train starts from --clip FOLDER, or from --random-clip: give exactly one of them")
    train.run(
        prepared=prepared,
        splits=splits,
        text=text,
        clip=clip,
        recipe=recipe,
        overrides=parse_overrides(set_ or (), overrides),
        seed=seed,
        out=out,
        resume=resume,
    )


def self_train(
    trained: Annotated[
        Path, typer.Option(help="Folder of the inductive training; its half-way checkpoint starts.")
    ],
    out: Out,
    protocol: Annotated[
        SelfTraining, typer.Option(help="oracle as published, or strict: unlabelled pixels tell nothing.")
    ] = SelfTraining.oracle,
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    set_: Set = None,
    overrides: OverridesFile = None,
    resume: Resume = True,
) -> None:
    """Train on with pseudo-labels (transductive)."""
    from components.steps import self_train

    self_train.run(
        prepared=prepared,
        splits=splits,
        text=text,
        trained=trained,
        protocol=protocol.value,
        overrides=parse_overrides(set_ or (), overrides),
        out=out,
        resume=resume,
    )


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
