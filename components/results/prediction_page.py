"""The page of a list of pictures that shards labelled: counts, classes, and the first failures."""

from collections.abc import Sequence

import pandas as pd

from components.bulk.gather import Gathered
from components.results.pages import fill_template


def class_lines(gathered: Gathered) -> pd.DataFrame:
    """Return a row of texts for each class, the one with the most pixels first."""
    ordered = sorted(gathered.classes, key=lambda total: -total.pixels)
    lines = [
        {
            "class": total.label,
            "pictures": f"{total.pictures:,}",
            "pixels": f"{total.pixels:,}",
            "share": f"{100 * total.share:.2f} %",
        }
        for total in ordered
    ]
    return pd.DataFrame(lines, columns=["class", "pictures", "pixels", "share"])


def page(gathered: Gathered, *, place: str, failures: Sequence[tuple[str, str]]) -> str:
    """Fill the page; `failures` are address and error of the pictures that it names."""
    return fill_template(
        "predictions.html",
        place=place,
        pictures=gathered.pictures,
        failed=gathered.failed,
        lines=class_lines(gathered).to_dict("records"),
        failures=failures,
    )
