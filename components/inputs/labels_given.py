"""Read the class names of `--labels` or `--labels-file`."""

from collections.abc import Sequence
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.inference.prediction import checked_labels
from cascade_core.runtime.files import read_text


def labels_given(listed: Sequence[str] | None, file: Path | None) -> tuple[str, ...]:
    """Return the class names of `--labels` or of `--labels-file`, a UTF-8 file with a name per line.

    Raises:
        UserError: neither or both are given, the file cannot be read, or `checked_labels` refuses the names.
    """
    if listed is not None and file is not None:
        raise UserError("--labels and --labels-file both give class names; leave one of them out")
    if listed is not None:
        return checked_labels(listed)
    if file is None:
        raise UserError('class names are missing; give --labels "zebra, grass", or a --labels-file')
    lines = read_text(file, "--labels-file").splitlines()
    try:
        return checked_labels([line for line in lines if line.strip()])
    except UserError as error:
        raise UserError(f"--labels-file {file}: {error}") from error
