"""Read the output of the prepare step: the index of a data set, and the folder of its pictures."""

import os
from pathlib import Path

import pandas as pd

from cascade_core.data.index import COLUMNS
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.files import read_json
from cascade_core.runtime.formats import read_manifest
from cascade_core.runtime.targets import MANIFEST_FILE

INDEX_FILE, SUMMARY_FILE = "index.parquet", "summary.json"


def read_index(prepared: Path) -> pd.DataFrame:
    """Read the index that a prepare step wrote, a row per picture.

    Raises:
        UserError: the folder has no index, or columns are missing.
    """
    path = prepared / INDEX_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the prepare step, or give the folder it wrote")
    try:
        index = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # by Arrow, for a file that is not Parquet
        raise UserError(f"{path} cannot be read ({error}); run the prepare step again") from error
    # Indexes of earlier versions lack the column "pixels"; no later step reads it.
    missing = [column for column in COLUMNS if column not in index.columns and column != "pixels"]
    if missing:
        raise UserError(f"{path}: columns {missing} are missing; run the prepare step again")
    return index


def rows_of_split(index: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the index rows of one split.

    Raises:
        UserError: the split has no rows; the message lists the splits of the index.
    """
    rows = index[index["split"] == split]
    if rows.empty:
        splits = ", ".join(sorted(set(index["split"])))
        raise UserError(f"split {split!r} has no pictures in the prepared index; it has {splits}")
    return rows


def check_label_set(prepared: Path, label_set: LabelSet) -> None:
    """Check that the data were prepared for a label set, since two class orders can read the same label maps.

    Raises:
        UserError: the data were prepared for another label set.
    """
    name = read_json(prepared / SUMMARY_FILE).get("label_set")
    if name != label_set.name:
        raise UserError(
            f"{prepared / SUMMARY_FILE}: label_set is {name!r}, the protocol needs {label_set.name!r}; "
            "run the prepare step for this protocol, or give the folder that it wrote"
        )


def data_root(prepared: Path) -> Path:
    """Find the folder that the paths in a prepared index are relative to.

    Raises:
        UserError: no prepare step wrote the folder, or the pictures have moved.
    """
    file = prepared / MANIFEST_FILE
    match read_manifest(file):
        case {"inputs": {"raw": {"path": str(path)}}}:
            root = Path(os.path.normpath(prepared.resolve() / path))
        case _:
            raise UserError(
                f"{file} is not from a prepare step: it has no inputs.raw.path; give the folder of that step"
            )
    if not root.is_dir():
        raise UserError(
            f"{file}: inputs.raw: the data set is not at {root}; "
            "move it back, or run the prepare step on its new place"
        )
    return root
