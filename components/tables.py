"""Reading the CSV tables that steps write, whatever classes are called."""

from pathlib import Path

import pandas as pd

from cascade_core.errors import UserError
from cascade_core.runtime.files import system_errors_as_user_errors


def read_table(path: Path, *, names: str = "class", step: str) -> pd.DataFrame:
    """Read the table of a step, with the class names of the column `names`, if it has that, as they stand.

    Only an empty cell is a missing number: a class may be called null, NA or 7, and is no number for that.

    Raises:
        UserError: the file is missing, unreadable or no table; the message says to run `step` again.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the folder of {step}, or run it again")
    try:
        with system_errors_as_user_errors():
            return pd.read_csv(path, dtype={names: str}, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no table of {step} ({error}); run it again") from error
