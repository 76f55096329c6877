"""The outputs of the steps before training, read and checked together before any long work starts."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from cascade_core.data.prepared import check_label_set, data_root, read_index, rows_of_split
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from components.inputs.split import read_split
from components.vectors.vector_files import read_class_vectors


@dataclass(frozen=True)
class Inputs:
    """What earlier steps prepared, read and checked together before any long work starts."""

    split: ClassSplit
    index: pd.DataFrame
    root: Path
    class_vectors: Float[Tensor, "classes embed"]


def read_inputs(*, prepared: Path, splits: Path, text: Path, protocol_name: str) -> Inputs:
    """Read the training rows, the class split and the text vectors.

    Raises:
        UserError: the steps were run for different protocols or label sets, the text vectors do not fit the classes, or
            the training split is empty; the message names file and field.
    """
    split = read_split(splits)
    if split.name != protocol_name:
        raise UserError(
            f"{splits}: protocol is {split.name!r}, the recipe or target is {protocol_name!r}; "
            "run the splits step for that protocol"
        )
    check_label_set(prepared, split.label_set)
    return Inputs(
        split=split,
        index=read_index(prepared),
        root=data_root(prepared),
        class_vectors=read_class_vectors(text, split.foreground()),
    )


def rows_of(inputs: Inputs, split: str) -> pd.DataFrame:
    """Return the index rows of one split.

    Raises:
        UserError: there are none; the message lists the splits there are.
    """
    return rows_of_split(inputs.index, split)


def check_limit(limit: int | None) -> None:
    """Check a limit of pictures: None takes all, a number so many.

    Raises:
        UserError: it is 0 or negative.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; give 1 or more pictures, or leave it out to take all")
