"""Commands that bring public data sets from their official files to a checked index.

Whatever is slow to import is imported inside them, so that `--help` is at once.
"""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade_core.datasets.catalogue import DATA_SETS
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


def _command(name: str, help_text: str) -> Callable[..., None]:
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


COMMANDS = tuple(
    (
        data_set.name,
        _command(data_set.name, data_set.release.help),
        f"cascade-clip prepare {data_set.name} {data_set.release.example} --out local_outputs/prepared",
    )
    for data_set in DATA_SETS
    if data_set.release is not None
)
"""Name, function and example of each public data set that has official files."""
