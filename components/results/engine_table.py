"""The engines of a profile as a table: on a terminal, in Markdown and as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cascade_core.engines.comparison import EngineTime
from components.results.profile_table import TEXTS, table_of, texts_of
from components.results.rows import padded_markdown

if TYPE_CHECKING:
    from rich.table import Table

CSV_FILE = "engines.csv"
NOT_INSTALLED = "not installed"


def engines_frame(times: Sequence[EngineTime]) -> pd.DataFrame:
    """Tabulate each engine and precision, with ratios to the first, torch in fp32."""
    reference = times[0].milliseconds
    assert reference is not None, "torch is always installed"
    return pd.DataFrame([_row(time, reference) for time in times])


def _row(time: EngineTime, reference: float) -> dict[str, Any]:
    low, high = time.milliseconds_quartiles or (None, None)
    missing = time.milliseconds is None
    return {
        "engine": time.engine,
        "precision": time.precision,
        "ms/picture": NOT_INSTALLED if missing else time.milliseconds,
        "lower quartile": low,
        "upper quartile": high,
        "time ratio": None if time.milliseconds is None else time.milliseconds / reference,
        "labels as torch, %": _percent(time.labels_equal),
        "of logits, %": _percent(time.labels_of_logits_equal),
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def engine_table(times: Sequence[EngineTime], where: str) -> "Table":
    """Lay out the table for a terminal; `where` names model, picture and threads."""
    return table_of(engines_frame(times), f"Engines ({where})", CAPTION)


def write_engines(folder: Path, times: Sequence[EngineTime], where: str, *, page: Path) -> None:
    """Write engines.csv, and the table as one more section of the Markdown `page`."""
    frame = engines_frame(times)
    frame.to_csv(folder / CSV_FILE, index=False)
    section = f"## Engines ({where})\n\n{CAPTION}\n\n{padded_markdown(texts_of(frame), texts=TEXTS)}"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{section}", encoding="utf-8")


CAPTION = (
    "median and quartiles of a picture's logits, probabilities and labels; labels equal to those of torch in fp32, by the "
    "engine's label map and by its logits upsampled in float32"
)
