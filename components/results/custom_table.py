"""A summary of the user's own data set: pictures and pixels of each class as a table, and its oddities."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lay out a row per class: its pictures, and its share of the pixels, in every split."""
    table = Table(title=str(summary["protocol"]))
    table.add_column("class", no_wrap=True)
    for split in summary["splits"]:
        table.add_column(f"{split} pictures", justify="right")
        table.add_column(f"{split} pixels", justify="right")
    splits = list(summary["splits"].values())
    for name in [*splits[0]["pixels"], *splits[0]["other_pixels"]]:
        table.add_row(name, *_cells(name, splits))
    table.add_section()
    table.add_row("all", *(cell for counts in splits for cell in (str(counts["pictures"]), "")))
    return table


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """Report the classes that a split lacks, and the number of duplicate pictures in it."""
    empty = summary["empty_classes"].items()
    copies = summary["copies_within_splits"].items()
    return [
        *(f"no pixel in {split}: {', '.join(names)}" for split, names in empty if names),
        *(f"{count} pictures of {split} are copies of others in it" for split, count in copies if count),
    ]


def _cells(name: str, splits: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield, for each split, a class's number of pictures and its share of the pixels."""
    for counts in splits:
        pixels = {**counts["pixels"], **counts["other_pixels"]}
        pictures = counts["pictures_with_class"].get(name)
        yield "" if pictures is None else str(pictures)
        yield f"{100 * pixels[name] / sum(pixels.values()):.2f} %"
