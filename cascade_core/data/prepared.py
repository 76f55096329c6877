"""Read the output of the prepare step: the index of a data set, and the folder of its pictures."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from cascade_core.data.index import COLUMNS
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.files import read_json
from cascade_core.runtime.formats import read_manifest
from cascade_core.runtime.listing import brief
from cascade_core.runtime.targets import MANIFEST_FILE
from cascade_core.runtime.validation import validated

INDEX_FILE, SUMMARY_FILE = "index.parquet", "summary.json"
MOST_ROWS, MOST_BYTES = 2**23, 2**29
"""Limits on an index: its number of pictures, and the bytes of its values."""
_TEXTS = ("name", "split", "image", "label", "image_sha256", "label_sha256")
_LISTS = ("classes", "pixels")


def read_index(prepared: Path) -> pd.DataFrame:
    """Read the index that a prepare step wrote, a row per picture.

    Raises:
        UserError: the folder has no index; or the index is damaged, too large, or lacks a column or values of the right type.
    """
    path = prepared / INDEX_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the prepare step, or give the folder it wrote")
    try:
        with pq.ParquetFile(path, read_dictionary=list(_TEXTS), thrift_string_size_limit=2**24) as file:
            fault = _fault(file)
            if fault is None:
                table = file.read(list(set(COLUMNS) & set(file.schema_arrow.names)), use_threads=False)
                table.validate(full=True)
                fault = _fault_of_values(table)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        OverflowError,
    ) as error:  # by Arrow, for a damaged file
        fault = f"cannot be read ({brief(str(error))})"
    if fault is not None:
        raise UserError(f"{path} {fault}; run the prepare step again")
    # Texts stay packed as in the file until their size is checked, because a small file may unpack to gigabytes.
    texts = [
        pa.field(name, pa.large_string()) if name in _TEXTS else table.field(name)
        for name in table.column_names
    ]
    index = table.cast(pa.schema(texts)).to_pandas(ignore_metadata=True)
    return index[[name for name in COLUMNS if name in index]]


def _fault(file: pq.ParquetFile) -> str | None:
    """Describe a fault in the metadata of an index, before its values are read; return None if there is none."""
    names, head = file.schema_arrow.names, file.metadata
    # Indexes of earlier versions lack the column "pixels"; no later step reads it.
    if missing := [column for column in COLUMNS if column not in names and column != "pixels"]:
        return f"lacks the columns {missing}"
    chunks = [
        head.row_group(i).column(j) for i in range(head.num_row_groups) for j in range(head.num_columns)
    ]
    values = sum(chunk.num_values for chunk in chunks)
    if (
        head.num_rows > MOST_ROWS
        or sum(chunk.total_uncompressed_size for chunk in chunks) > MOST_BYTES
        or (values > MOST_BYTES // 8)
    ):
        return f"has {head.num_rows:,} rows and {values:,} values, more than any data set"
    for name in set(COLUMNS) & set(names):
        kind = file.schema_arrow.field(name).type
        inner = kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_list(kind) else kind
        right = pa.types.is_string if name in _TEXTS else pa.types.is_integer
        if not (right(inner) or (name in _TEXTS and pa.types.is_large_string(inner))):
            return f"has values of {kind} in column {name!r}"
        if pa.types.is_list(kind) != (name in _LISTS):
            return f"has values of {kind} in column {name!r}"
    return None


def _fault_of_values(table: pa.Table) -> str | None:
    """Describe a fault in the values of an index, whose texts are still packed; return None if there is none."""
    for name in table.column_names:
        if table[name].null_count:
            return f"has no value in {table[name].null_count} rows of column {name!r}"
    for name in _TEXTS:
        lengths = (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in table[name].chunks)
        if (longest := max(lengths, default=0)) * table.num_rows > MOST_BYTES:
            return f"has a text of {longest:,} bytes in column {name!r}, more than any data set"
    return None


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


def data_sha256(index: pd.DataFrame) -> str:
    """Hash the content of a data set, or of some of its rows: names, splits and file contents, but not paths or the index's file format."""
    digest = hashlib.sha256()
    for row in index.sort_values(["split", "name"]).itertuples():
        digest.update(f"{row.split}\0{row.name}\0{row.image_sha256}\0{row.label_sha256}\n".encode())
    return digest.hexdigest()


def check_label_set(prepared: Path, label_set: LabelSet) -> None:
    """Check that the data were prepared for a label set, since two class orders can read the same label maps.

    Raises:
        UserError: the data were prepared for another label set.
    """
    name = read_summary(prepared)["label_set"]
    if name != label_set.name:
        raise UserError(
            f"{prepared / SUMMARY_FILE}: label_set is {brief(name)}, the protocol needs {label_set.name!r}; "
            "run the prepare step for this protocol, or give the folder that it wrote"
        )


class _SplitSummary(BaseModel, strict=True):
    pictures: int | None = None
    pixels: dict[str, int] | None = None


class _Source(BaseModel):
    data_set: str
    complete: bool
    pictures: dict[str, int]
    official_pictures: dict[str, int]


class _Summary(BaseModel):
    label_set: str
    splits: dict[str, _SplitSummary]
    data_sha256: str | None = None
    source: _Source | None = None


def read_summary(prepared: Path) -> dict[str, Any]:
    """Read the summary of a prepare step: its label set, and what it counted in each split.

    Raises:
        UserError: the file is missing or no summary, or a field has a wrong type.
    """
    file = prepared / SUMMARY_FILE
    content: dict[str, Any] = read_json(file)
    validated(_Summary, content, source=file, way_out="run the prepare step again")
    return content


def check_splits(prepared: Path, names: Collection[str], *, use: str) -> None:
    """Check that a prepare step's folder has these splits; `use` says who wants them, as in "--split".

    Raises:
        UserError: one is missing, or the folder has no summary; the message lists those that are there.
    """
    present = read_summary(prepared)["splits"]
    if lacking := [name for name in names if name not in present]:
        raise UserError(
            f"{use}: {prepared} has no split {', '.join(map(brief, lacking))}, only {', '.join(present)}; name one of these, or prepare "
            "it too (--image-set)"
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
