"""Read the CSV tables that steps write."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from cascade_core.errors import UserError
from cascade_core.runtime.files import system_errors_as_user_errors
from cascade_core.runtime.listing import shortened


def read_table(
    path: Path, *, names: str = "class", texts: Sequence[str] = (), numbers: Sequence[str] = (), step: str
) -> pd.DataFrame:
    """Read the table of `step`; the column `names`, if there is one, holds text.

    Only an empty cell is a missing number, because a class may be called null, NA or 7.

    Raises:
        UserError: the file is missing or is no table, a column of `texts` or `numbers` is missing, or one of `numbers`
            holds something else.
    """
    table = _table(path, names, step)
    missing = [f"column {name} is missing" for name in (*texts, *numbers) if name not in table]
    wrong = [f"column {name} holds no numbers" for name in numbers if not _is_numeric(table, name)]
    if faults := [*missing, *wrong]:
        raise UserError(f"{path} is not a table of {step} ({faults[0]}); run it again")
    return table


def read_classes(evaluation: Path) -> pd.DataFrame:
    """Read each class's group (seen or unseen) and IoU from an evaluate step's folder.

    Raises:
        UserError: the file is missing, or lacks a column.
    """
    file = evaluation / "per_class.csv"
    return read_table(file, texts=("class", "group"), numbers=("iou",), step="an evaluate step")


def read_square_table(path: Path, *, names: str, step: str) -> pd.DataFrame:
    """Read a table of `step` with a row and a column of whole numbers for each name in its column `names`.

    Raises:
        UserError: the file is missing or is no such table.
    """
    table = read_table(path, names=names, texts=(names,), step=step).set_index(names)
    try:
        # Of a class with the name `names`, pandas reads the counts as text and renames the column.
        counts = table.astype("int64")
        square = counts.shape[0] == counts.shape[1] and counts.index.is_unique
    except (ValueError, TypeError, OverflowError):
        square = False
    if not square:
        raise UserError(
            f"{path} is not a table of {step} (it needs a count for each pair of names); run it again"
        )
    counts.columns = counts.index
    return counts


def _is_numeric(table: pd.DataFrame, name: str) -> bool:
    return name not in table or table.empty or is_numeric_dtype(table[name])


def _table(path: Path, names: str, step: str) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the folder of {step}, or run it again")
    try:
        with system_errors_as_user_errors():
            return pd.read_csv(path, dtype={names: str}, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a table of {step} ({shortened(str(error))}); run it again") from error
