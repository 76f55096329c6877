"""Class names as people give them: in one argument by commas, or in a file, one a line."""

from collections.abc import Sequence
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.inference.prediction import checked_labels
from cascade_core.runtime.files import read_text


def labels_given(listed: Sequence[str] | None, file: Path | None) -> tuple[str, ...]:
    """Give the class names of `--labels` or `--labels-file`, of which exactly one is given.

    In a file (UTF-8) each line is a name as it stands, and empty lines do not count.

    Raises:
        UserError: neither or both are given, the file cannot be read, or as of `checked_labels`.
    """
    if (listed is None) == (file is None):
        raise UserError('give class names either by --labels "zebra, grass" or in a --labels-file, not both')
    if listed is not None:
        return checked_labels(listed)
    assert file is not None
    lines = read_text(file, "--labels-file").splitlines()
    try:
        return checked_labels([line for line in lines if line.strip()])
    except UserError as error:
        raise UserError(f"--labels-file {file}: {error}") from error
