"""Read the CSV tables that steps write."""

from pathlib import Path

import pandas as pd

from cascade_core.errors import UserError
from cascade_core.runtime.files import system_errors_as_user_errors
from cascade_core.runtime.listing import shortened


def read_table(path: Path, *, names: str = "class", step: str) -> pd.DataFrame:
    """Read the table of `step`; the column `names`, if there is one, holds text.

    Only an empty cell is a missing number, because a class may be called null, NA or 7.

    Raises:
        UserError: the file is missing or is not a table.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the folder of {step}, or run it again")
    try:
        with system_errors_as_user_errors():
            return pd.read_csv(path, dtype={names: str}, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a table of {step} ({shortened(str(error))}); run it again") from error
