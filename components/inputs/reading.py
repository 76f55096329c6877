"""Read the outputs of the steps before training, and check that they fit together."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cascade_core.configs.model import TextForm
from cascade_core.data.prepared import check_label_set, data_root, read_index
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.model.queries import ClassVectors
from components.inputs.split import read_split
from components.vectors.vector_files import read_class_vectors


@dataclass(frozen=True)
class Inputs:
    """Class split, index, data folder and text vectors of one protocol."""

    split: ClassSplit
    index: pd.DataFrame
    root: Path
    class_vectors: ClassVectors


def read_inputs(
    *, prepared: Path, splits: Path, text: Path, protocol_name: str, form: TextForm = "mean"
) -> Inputs:
    """Read the class split, the index and the text vectors in a form.

    Raises:
        UserError: the steps were run for different protocols or label sets, or the text vectors do not fit the
            classes; the message names file and field.
    """
    split = read_split(splits)
    if split.name != protocol_name:
        raise UserError(
            f"{splits}: protocol is {split.name!r}, but that of the recipe or target is {protocol_name!r}; "
            "run the splits step for that protocol"
        )
    check_label_set(prepared, split.label_set)
    return Inputs(
        split=split,
        index=read_index(prepared),
        root=data_root(prepared),
        class_vectors=read_class_vectors(text, split.foreground(), form=form),
    )


def check_limit(limit: int | None) -> None:
    """Check a limit on the number of pictures; None takes all.

    Raises:
        UserError: the limit is 0 or negative.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; give 1 or more pictures, or leave it out to take all")
