"""Commands that bring public data sets from their official files to a checked index.

Whatever is slow to import is imported inside them, so that `--help` is at once.
"""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Out


class Split(StrEnum):
    """Parts of a public data set."""

    train = "train"
    val = "val"


From = Annotated[
    list[Path] | None,
    typer.Option("--from", metavar="PATH", help="Archive, or folder with it packed or unpacked; repeatable."),
]
OnlySplit = Annotated[
    list[Split] | None,
    typer.Option("--split", help="Only this split, such as val of a mere target; repeatable."),
]
DataProtocol = Annotated[str | None, typer.Option("--protocol", help="Label set and unseen classes by name.")]
Workers = Annotated[int, typer.Option(min=1, help="Label maps converted side by side.")]
Raw = Annotated[Path, typer.Option(help="Folder for pictures and maps.")]
AllowSubset = Annotated[
    bool,
    typer.Option(
        "--allow-subset", help="Take a part of the data set, or files other than the official ones."
    ),
]
WORKERS = min(os.cpu_count() or 1, 8)


def _prepare(name: str, help_text: str) -> Callable[..., None]:
    """Give the command of one public data set; all take the same options."""

    def command(
        from_: From = None,
        raw: Raw = Path("local_outputs/raw") / name,
        out: Out = Path("outputs/prepared"),
        protocol: DataProtocol = None,
        split: OnlySplit = None,
        workers: Workers = WORKERS,
        allow_subset: AllowSubset = False,
    ) -> None:
        from components.steps import prepare_dataset

        prepare_dataset.run(
            name=name,
            sources=from_ or [],
            raw=raw,
            out=out,
            protocol=protocol,
            splits=tuple(part.value for part in split or Split),
            workers=workers,
            allow_subset=allow_subset,
        )

    command.__doc__ = help_text
    return command


voc12 = _prepare(
    "voc12",
    """Pascal VOC 2012, with SBD's annotations for training.

    Needs VOCtrainval_11-May-2012.tar, and for training benchmark.tgz (SBD) or a folder SegmentationClassAug.
    """,
)
context = _prepare(
    "context",
    """Pascal Context, 59 classes.

    Needs VOCtrainval_03-May-2010.tar, and trainval_merged.json or a folder SegmentationClassContext with lists.
    """,
)
cocostuff = _prepare(
    "cocostuff",
    """COCO-Stuff 164K, 171 classes.

    Needs train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip.
    """,
)
ade20k = _prepare(
    "ade20k",
    """ADE20K, 150 classes, a target of evaluation.

    Needs ADEChallengeData2016.zip.
    """,
)
