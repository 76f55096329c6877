"""Class names as people give them: in one argument by commas, or in a file, one a line."""

import csv
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.inference.prediction import checked_labels


def labels_given(listed: str | None, file: Path | None) -> tuple[str, ...]:
    """Give the class names of `--labels` or `--labels-file`, of which exactly one is given.

    In a list, a name with a comma stands in double quotes; in a file (UTF-8) each line is a name as it
    stands, and empty lines do not count.

    Raises:
        UserError: neither or both are given, the file cannot be read, or as of `checked_labels`.
    """
    if (listed is None) == (file is None):
        raise UserError('give class names either by --labels "zebra, grass" or in a --labels-file, not both')
    if listed is not None:
        return checked_labels(next(csv.reader([listed], skipinitialspace=True), []))
    assert file is not None
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"--labels-file {file} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"--labels-file {file} is not UTF-8 text ({error.reason}); save it as such"
        ) from error
    try:
        return checked_labels([line for line in lines if line.strip()])
    except ValueError as error:
        raise UserError(f"--labels-file {file}: {error}") from error
