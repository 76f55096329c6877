"""`cascade-clip prepare custom`: a data set of one's own, and the table of what is in it.

Whatever is slow to import (torch, mlflow) is imported inside, so that `--help` is at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade_core.errors import UserError
from pipelines.cli.options import Out

if TYPE_CHECKING:
    from rich.table import Table


def custom(
    labels: Annotated[Path, typer.Option(help="Label file (.yaml): names, ids, unseen classes, background.")],
    images: Annotated[Path, typer.Option(help="Folder of the photographs.")],
    maps: Annotated[
        Path | None, typer.Option(help="Folder of label maps: PNGs at the photographs' paths.")
    ] = None,
    coco: Annotated[
        list[str] | None,
        typer.Option(metavar="[SPLIT=]FILE", help="Or COCO instances: one file, or one for each split."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPLIT=LIST", help="Pictures of a split: a list in a file, or a folder of them."
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPLIT=SHARE", help="Share of the training pictures for a split, such as val=0.2."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which pictures are held out.")] = 0,
    map_suffix: Annotated[
        str, typer.Option(help="What a label map's name has after its picture's.")
    ] = ".png",
    ignore_others: Annotated[
        bool, typer.Option(help="Ignore pixels of COCO categories that the label file does not name.")
    ] = False,
    leave_out: Annotated[bool, typer.Option(help="Leave out pictures with problems, and go on.")] = False,
    out: Out = Path("outputs/prepared"),
) -> None:
    """Check a data set of your own, and write its index.

    Without --split and --hold-out every folder of the photographs is a split.
    """
    from rich.console import Console

    from components.steps import prepare_custom

    source = prepare_custom.Source(
        images=images,
        maps=maps,
        map_suffix=map_suffix,
        coco=_coco(coco or ()),
        other_categories=ignore_others,
        splits=_by_split("--split", split or ()),
        held_out=_shares(hold_out or ()),
        seed=seed,
    )
    done = prepare_custom.run(labels=labels, source=source, out=out, leave_out=leave_out)
    Console().print(summary_table(done.summary))
    for line in remarks(done.summary):
        print(line)
    if done.left_out:
        print(prepare_custom.told(images, done.left_out, then="these pictures were left out"))


def summary_table(summary: Mapping[str, Any]) -> "Table":
    """Give a row per class with its pictures and share of the pixels in every split."""
    from rich.table import Table

    table = Table(title=str(summary["protocol"]))
    table.add_column("class", no_wrap=True)
    for split in summary["splits"]:
        table.add_column(f"{split} pictures", justify="right")
        table.add_column(f"{split} pixels", justify="right")
    first = next(iter(summary["splits"].values()))
    for name in [*first["pixels"], *first["other_pixels"]]:
        table.add_row(name, *_cells(name, summary["splits"].values()))
    table.add_section()
    totals = [str(counts["pictures"]) for counts in summary["splits"].values()]
    table.add_row("all", *(cell for total in totals for cell in (total, "")))
    return table


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """Say which classes a split lacks, and how many pictures it has twice."""
    empty = [
        f"no pixel in {split}: {', '.join(names)}"
        for split, names in summary["empty_classes"].items()
        if names
    ]
    copies = [
        f"{count} pictures of {split} are copies of others in it"
        for split, count in summary["copies_within_splits"].items()
        if count
    ]
    return empty + copies


def _cells(name: str, splits: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Give the pictures of a class, and its share of the pixels, in each split."""
    for counts in splits:
        pixels = {**counts["pixels"], **counts["other_pixels"]}
        pictures = counts["pictures_with_class"].get(name)
        yield "" if pictures is None else str(pictures)
        yield f"{100 * pixels[name] / sum(pixels.values()):.2f} %"


def _by_split(option: str, items: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in items:
        split, _, value = item.partition("=")
        if not (split.strip() and value.strip()):
            raise UserError(
                f"{option} {item!r} is not SPLIT=VALUE; examples are --split val=val.txt, --hold-out val=0.2"
            )
        if split.strip() in found:
            raise UserError(f"{option} names split {split.strip()!r} twice; give it once")
        found[split.strip()] = value.strip()
    return found


def _shares(items: Iterable[str]) -> dict[str, float]:
    shares = {}
    for split, value in _by_split("--hold-out", items).items():
        try:
            shares[split] = float(value)
        except ValueError:
            raise UserError(
                f"--hold-out {split}={value!r} is no share; an example is --hold-out val=0.2"
            ) from None
    return shares


def _coco(items: Iterable[str]) -> dict[str, Path]:
    """Read FILE or SPLIT=FILE; a path that is there may hold a = of its own."""
    files: dict[str, Path] = {}
    for item in items:
        split, equals, file = item.partition("=")
        name, path = (split, Path(file)) if equals and not Path(item).exists() else ("", Path(item))
        if name in files:
            raise UserError(
                f"--coco {item!r}: a file was given already; name the split of each: --coco val=FILE"
            )
        files[name] = path
    return files
