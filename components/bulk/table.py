"""The table of a shard: a row for each picture, in the order of the list; equal rows give equal bytes."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

ROWS = 2**14
"""Rows of a row group, whatever parts the table is joined from."""
AREA = pa.struct(
    [("id", pa.int32()), ("label", pa.string()), ("pixels", pa.int64()), ("confidence", pa.float64())]
)
SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("picture", pa.string()),
        ("version", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("confidence", pa.float64()),
        ("classes", pa.list_(AREA)),
        ("label_map", pa.string()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Area:
    """A class in a picture's label map: pixels and mean confidence."""

    id: int
    label: str
    pixels: int
    confidence: float


@dataclass(frozen=True)
class Row:
    """A picture: its position in the list and address, its file, and what the model says, or the error.

    Attributes:
        version: size and modification time of the file, or size and ETag of the object; None if it is missing.
        label_map: the tar of the bucket and the member in it (TAR#MEMBER); None with an error.
    """

    position: int
    picture: str
    version: str | None
    sha256: str | None
    width: int | None
    height: int | None
    confidence: float | None = None
    classes: tuple[Area, ...] | None = None
    label_map: str | None = None
    error: str | None = None


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)


def as_bytes(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return the content of a Parquet file with these metadata."""
    stream = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata(dict(metadata)), stream, compression="zstd")
    return stream.getvalue()


def from_bytes(content: bytes, metadata: Mapping[str, str]) -> pa.Table | None:
    """Return the table in a Parquet file; None if it is damaged, or has other columns or metadata."""
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError):
        return None
    own = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    fits = table.schema.equals(SCHEMA) and metadata.items() <= own.items()
    return table.replace_schema_metadata(None) if fits else None


def write_joined(path: Path, tables: Iterable[pa.Table], metadata: Mapping[str, str]) -> int:
    """Write tables one after the other as one file with these metadata; return the number of rows.

    The file's bytes depend on rows and metadata alone, because rows fill groups of `ROWS` across the tables.
    """
    schema = SCHEMA.with_metadata(dict(metadata))
    count, waiting = 0, SCHEMA.empty_table()
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            count += len(table)
            waiting = pa.concat_tables([waiting, table.replace_schema_metadata(None)])
            while len(waiting) >= ROWS:
                _write(writer, waiting.slice(0, ROWS), schema)
                waiting = waiting.slice(ROWS)
        if len(waiting) or not count:
            _write(writer, waiting, schema)
    return count


def _write(writer: parquet.ParquetWriter, table: pa.Table, schema: pa.Schema) -> None:
    writer.write_table(table.combine_chunks().replace_schema_metadata(schema.metadata))


def parts_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a file in parts, with these columns, or all.

    Raises:
        pyarrow.ArrowInvalid: it is no Parquet file.
    """
    with parquet.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=ROWS, columns=columns):
            yield pa.Table.from_batches([batch])


def totals(table: pa.Table) -> dict[int, tuple[int, int]]:
    """Return the number of pictures and pixels of each class in a table, by its id."""
    counts: dict[int, Any] = {}
    for areas in table.column("classes").to_pylist():
        for area in areas or ():
            pictures, pixels = counts.get(area["id"], (0, 0))
            counts[area["id"]] = (pictures + 1, pixels + area["pixels"])
    return counts
