"""Commands that bring public data sets from their official files to a checked index.

Whatever is slow to import is imported inside them, so that `--help` is at once.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Out


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
AllowSubset = Annotated[
    bool,
    typer.Option(
        "--allow-subset", help="Take a part of the data set, or files other than the official ones."
    ),
]
WORKERS = min(os.cpu_count() or 1, 8)


def voc12(
    from_: From = None,
    raw: Annotated[Path, typer.Option(help="Folder for pictures and maps.")] = Path(
        "local_outputs/raw/voc12"
    ),
    out: Out = Path("outputs/prepared"),
    protocol: DataProtocol = None,
    split: OnlySplit = None,
    workers: Workers = WORKERS,
    allow_subset: AllowSubset = False,
) -> None:
    """Pascal VOC 2012, with SBD's annotations for training.

    Needs VOCtrainval_11-May-2012.tar, and for training benchmark.tgz (SBD) or a folder SegmentationClassAug.
    """
    _prepare("voc12", from_, raw, out, protocol, split, workers, allow_subset)


def context(
    from_: From = None,
    raw: Annotated[Path, typer.Option(help="Folder for pictures and maps.")] = Path(
        "local_outputs/raw/context"
    ),
    out: Out = Path("outputs/prepared"),
    protocol: DataProtocol = None,
    split: OnlySplit = None,
    workers: Workers = WORKERS,
    allow_subset: AllowSubset = False,
) -> None:
    """Pascal Context, 59 classes.

    Needs VOCtrainval_03-May-2010.tar, and trainval_merged.json or a folder SegmentationClassContext with lists.
    """
    _prepare("context", from_, raw, out, protocol, split, workers, allow_subset)


def cocostuff(
    from_: From = None,
    raw: Annotated[Path, typer.Option(help="Folder for pictures and maps.")] = Path(
        "local_outputs/raw/cocostuff"
    ),
    out: Out = Path("outputs/prepared"),
    protocol: DataProtocol = None,
    split: OnlySplit = None,
    workers: Workers = WORKERS,
    allow_subset: AllowSubset = False,
) -> None:
    """COCO-Stuff 164K, 171 classes.

    Needs train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip.
    """
    _prepare("cocostuff", from_, raw, out, protocol, split, workers, allow_subset)


def ade20k(
    from_: From = None,
    raw: Annotated[Path, typer.Option(help="Folder for pictures and maps.")] = Path(
        "local_outputs/raw/ade20k"
    ),
    out: Out = Path("outputs/prepared"),
    protocol: DataProtocol = None,
    split: OnlySplit = None,
    workers: Workers = WORKERS,
    allow_subset: AllowSubset = False,
) -> None:
    """ADE20K, 150 classes, a target of evaluation.

    Needs ADEChallengeData2016.zip.
    """
    _prepare("ade20k", from_, raw, out, protocol, split, workers, allow_subset)


def _prepare(
    name: str,
    sources: list[Path] | None,
    raw: Path,
    out: Path,
    protocol: str | None,
    splits: list[Split] | None,
    workers: int,
    allow_subset: bool,
) -> None:
    from components import prepare_dataset

    prepare_dataset.run(
        name=name,
        sources=sources or [],
        raw=raw,
        out=out,
        protocol=protocol,
        splits=tuple(split.value for split in splits or Split),
        workers=workers,
        allow_subset=allow_subset,
    )
