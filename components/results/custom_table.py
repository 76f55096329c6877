"""What is in a data set of one's own: a table of pictures and pixels, and what is odd about it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Give a row per class with its pictures and share of the pixels in every split."""
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
