"""Write and read `split.json`: seen and unseen classes, pictures of each split, training pixels per class."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from cascade_core.data.prepared import SUMMARY_FILE
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit, split_of
from cascade_core.labels.label_file import LabelFile
from cascade_core.runtime.files import read_json
from cascade_core.runtime.listing import brief, short_list
from cascade_core.runtime.validation import validated

SPLIT_FILE = "split.json"
TRAINING_SPLIT = "train"


def split_content(
    split: ClassSplit, index: pd.DataFrame, splits: Iterable[str], pixels: Sequence[int]
) -> dict[str, Any]:
    """Return the content of `split.json`, with that of a label file."""
    content: dict[str, Any] = {
        "protocol": split.name,
        "classes": list(split.classes),
        "seen": list(split.seen_names),
        "unseen": list(split.unseen_names),
        "splits": {name: index.loc[index["split"] == name, "name"].tolist() for name in splits},
        "training_pixels": dict(zip(split.classes, pixels, strict=True)),
    }
    if split.own is not None:
        content["own"] = split.own.model_dump(mode="json")
    return content


def class_counts(split: ClassSplit, pixels: Sequence[int]) -> dict[str, float]:
    """Count the seen and unseen classes, and their training pixels."""
    of_class = dict(zip(split.classes, pixels, strict=True))
    return {
        "classes.seen": len(split.seen),
        "classes.unseen": len(split.unseen),
        "training_pixels.seen": sum(of_class[name] for name in split.seen_names),
        "training_pixels.unseen": sum(of_class[name] for name in split.unseen_names),
    }


class _Content(BaseModel):
    """The fields of `split.json` that decide the split."""

    protocol: str
    classes: tuple[str, ...]
    unseen: tuple[str, ...]
    own: LabelFile | None = None


def read_split(splits: Path) -> ClassSplit:
    """Read the class split of a splits step, and check it against its protocol or label file.

    Raises:
        UserError: the file is missing or lacks a field, or its classes or unseen names are not those of the protocol.
    """
    path = splits / SPLIT_FILE
    content = validated(_Content, read_json(path), source=path, way_out="run the splits step again")
    split = (
        named_protocol(content.protocol) if content.own is None else _own(content.own, content.protocol, path)
    )
    stray = [name for name in content.unseen if name not in split.classes]
    if stray:
        raise UserError(
            f"{path}: unseen: {brief(stray[:5])} are not in label set {split.label_set.name!r}; "
            f"it has {', '.join(split.classes)}"
        )
    for field, names, expected in (
        ("classes", content.classes, split.classes),
        ("unseen", content.unseen, split.unseen_names),
    ):
        if list(names) != list(expected):
            raise UserError(
                f"{path}: {field}: {len(names)} names differ from the {len(expected)} of protocol "
                f"{split.name!r} (names or order), so that scores could not be compared; run the splits step again"
            )
    return split


def _own(own: LabelFile, protocol: str, path: Path) -> ClassSplit:
    """Return the class split of the label file in `split.json`."""
    split = split_of(own)
    if split.name != protocol:
        raise UserError(
            f"{path}: protocol is {protocol!r}, the label set in it is {split.name!r}; run the splits step again"
        )
    return split


def training_pixels(splits: Mapping[str, Any], split: ClassSplit, prepared: Path) -> list[int]:
    """Return the pixels per class in training pictures, as the prepare step counted them; zeros without such pictures.

    Raises:
        UserError: an earlier version of this package prepared the data, and counted no pixels.
    """
    if TRAINING_SPLIT not in splits:
        return [0] * split.num_classes
    if splits[TRAINING_SPLIT].get("pixels") is None:
        raise UserError(f"{prepared / SUMMARY_FILE} counts no pixels; run the prepare step again")
    pixels = splits[TRAINING_SPLIT]["pixels"]
    if missing := [name for name in split.classes if name not in pixels]:
        raise UserError(
            f"{prepared / SUMMARY_FILE} counts no pixels of {short_list(missing, most=3)}; run the prepare step again"
        )
    return [pixels[name] for name in split.classes]
