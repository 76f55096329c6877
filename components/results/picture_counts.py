"""Pixel counts of every picture of an evaluation: what an interval over pictures needs.

`picture_counts.parquet` has a row for each picture and class that the picture's truth or prediction has: the labelled pixels that are
`correct` (of the class in both), `predicted` and `true`. Their sums over the pictures are the diagonal, the columns and the rows of the
confusion matrix. A picture without a labelled pixel has no row.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64
from pyarrow import parquet

from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.scoring.pictures import PictureCounts
from components.results.names import PICTURE_COUNTS_FILE

COUNTS = ("correct", "predicted", "true")
CLASSES, UNSEEN = b"classes", b"unseen"
"""Keys of the file's metadata: the names of all classes in their order, and of the unseen ones, as JSON."""


@dataclass(frozen=True)
class CountsOfPictures:
    """The pixel counts of an evaluation's pictures: correct, predicted and true pixels of each class.

    `unseen` holds places in `classes`.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    unseen: tuple[int, ...]
    counts: Int64[np.ndarray, "pictures 3 classes"]

    @property
    def seen(self) -> tuple[int, ...]:
        return tuple(place for place in range(len(self.classes)) if place not in self.unseen)

    def comparable(self, other: "CountsOfPictures") -> bool:
        """Say whether both are of the same pictures with the same labels, in one order, and of the same classes."""
        return (self.names, self.classes, self.unseen) == (
            other.names,
            other.classes,
            other.unseen,
        ) and np.array_equal(self.counts[:, -1], other.counts[:, -1])


def write_counts(folder: Path, pictures: Mapping[str, PictureCounts], scored: ClassSplit) -> None:
    """Write `picture_counts.parquet`; equal counts give equal bytes."""
    parts = list(pictures.values())
    places = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.ids) for part in parts])

    def joined(field: str) -> np.ndarray:
        return np.concatenate([[], *(getattr(part, field) for part in parts)]).astype(np.int32)

    columns = {
        "picture": pa.DictionaryArray.from_arrays(places, pa.array(list(pictures), pa.string())),
        "class": pa.DictionaryArray.from_arrays(joined("ids"), pa.array(scored.classes, pa.string())),
        **{name: pa.array(joined(name)) for name in COUNTS},
    }
    unseen = [scored.classes[place] for place in scored.unseen]
    metadata = {
        CLASSES: json.dumps(scored.classes, allow_nan=False),
        UNSEEN: json.dumps(unseen, allow_nan=False),
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    parquet.write_table(table, folder / PICTURE_COUNTS_FILE, compression="zstd")


def read_counts(evaluation: Path) -> CountsOfPictures | None:
    """Read the counts in the folder of an evaluation; None for one without them, as older ones are.

    Raises:
        UserError: the file is broken.
    """
    file = evaluation / PICTURE_COUNTS_FILE
    if not file.exists():
        return None
    try:
        table = parquet.read_table(file)
        metadata = table.schema.metadata or {}
        classes, unseen = (tuple(json.loads(metadata[key])) for key in (CLASSES, UNSEEN))
        names = pc.unique(table["picture"].cast(pa.string()))
        columns = (("picture", names), ("class", pa.array(classes, pa.string())))
        places, ids = (
            pc.index_in(table[name].cast(pa.string()), value_set=values).to_numpy()
            for name, values in columns
        )
        counts = np.zeros((len(names), len(COUNTS), len(classes)), dtype=np.int64)
        for row, name in enumerate(COUNTS):
            counts[places, row, ids] = table[name].to_numpy()
        return CountsOfPictures(tuple(names.to_pylist()), classes, tuple(map(classes.index, unseen)), counts)
    except (OSError, KeyError, TypeError, ValueError, IndexError, pa.ArrowException) as error:
        raise UserError(f"{file}: {error}; run the evaluate step again") from error
