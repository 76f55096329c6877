"""Read the class names of `--labels` or `--labels-file`."""

from collections.abc import Sequence
from pathlib import Path

from cascade_core.datasets.catalogue import DATA_SETS
from cascade_core.errors import UserError
from cascade_core.inference.prediction import checked_labels
from cascade_core.labels.label_file import is_label_file, read_label_file
from cascade_core.runtime.files import read_text


def label_set_names(name: str) -> tuple[str, ...]:
    """Return the class names of a public data set or protocol, such as cocostuff or context59; () if it is none."""
    for data_set in DATA_SETS:
        for split in data_set.protocols:
            if name.strip() in (data_set.name, split.name, split.label_set.name):
                return split.foreground().classes
    return ()


def labels_at(text: str) -> tuple[str, ...]:
    """Return the class names of a pipeline's parameter: names by commas, a data set's name, or a label file's address.

    Raises:
        UserError: the file is missing or cannot be read, or as for `labels_given`.
    """
    from components.contract.shared import names_by_commas
    from components.storage import places

    given = places.protocol(text)
    if is_label_file(given):
        return labels_given(None, Path(given))
    return labels_given(names_by_commas(given, source="parameter labels"), None)


def labels_given(listed: Sequence[str] | None, file: Path | None) -> tuple[str, ...]:
    """Return the class names of `--labels` or of `--labels-file`.

    A single name that is a data set's, such as cocostuff, stands for its classes. The file is a UTF-8 text with a name
    per line, or a label file (.yaml), whose classes give the names.

    Raises:
        UserError: neither or both are given, the file cannot be read, or `checked_labels` refuses the names.
    """
    if listed is not None and file is not None:
        raise UserError("--labels and --labels-file both give class names; leave one of them out")
    if listed is not None:
        named = label_set_names(listed[0]) if len(listed) == 1 else ()
        return named or checked_labels(listed)
    if file is None:
        raise UserError('class names are missing; give --labels "zebra, grass", or a --labels-file')
    if is_label_file(str(file)):
        return checked_labels(read_label_file(file).class_names)
    lines = read_text(file, "--labels-file").splitlines()
    try:
        return checked_labels([line for line in lines if line.strip()])
    except UserError as error:
        raise UserError(f"--labels-file {file}: {error}") from error
