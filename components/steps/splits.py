"""Step: state which classes are seen and unseen, which pictures belong to which split, and what training shows."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_file import LabelFile
from cascade_core.labels.protocols import protocol as named_protocol
from cascade_core.runtime.files import new_folder, read_json, write_json
from cascade_core.runtime.validation import validated
from components.artifacts import write_manifest
from components.steps.prepare import SUMMARY_FILE, read_index
from components.tracking.tracker import tracked_step

log = logging.getLogger(__name__)

SPLIT_FILE = "split.json"
TRAINING_SPLIT = "train"


@dataclass(frozen=True)
class Splits:
    """Where the split file lies, and what it says about classes."""

    path: Path
    split: ClassSplit


def run(*, prepared: Path, protocol: str, out: Path) -> Splits:
    """Write `out/split.json`: classes, seen, unseen, the pictures of each split, and training pixels per class.

    `protocol` is a name or the path of a label file, whose content then goes into `split.json`.
    The pixel counts tell what training *could* see of each class: those of unseen classes are in the
    pictures, but inductive training does not get their labels.

    Raises:
        UserError: the data were prepared for another label set than the protocol's, or by a version of this
            package that did not count pixels yet.
    """
    split = named_protocol(protocol)
    summary = read_json(prepared / SUMMARY_FILE)
    if summary.get("label_set") != split.label_set.name:
        raise UserError(
            f"{prepared / SUMMARY_FILE}: label_set is {summary.get('label_set')!r}, protocol {split.name!r} needs "
            f"{split.label_set.name!r}; run the prepare step for this protocol"
        )
    index = read_index(prepared)
    pixels = _training_pixels(summary["splits"], split, prepared)
    tags = {"data_hash": summary.get("data_sha256"), "label_set": split.label_set.name}
    with tracked_step(
        "splits", protocol=split.name, parameters={"protocol": split.name}, tags=tags, out=out
    ) as tracker:
        with new_folder(out) as folder:
            write_json(folder / SPLIT_FILE, _content(split, index, summary["splits"], pixels))
            write_manifest(
                folder, step="splits", inputs={"prepared": prepared}, parameters={"protocol": split.name}
            )
        tracker.metrics(_counts(split, pixels))
    log.info("split %s: %d seen and %d unseen classes", split.name, len(split.seen), len(split.unseen))
    return Splits(out / SPLIT_FILE, split)


def _content(
    split: ClassSplit, index: pd.DataFrame, splits: Iterable[str], pixels: Sequence[int]
) -> dict[str, Any]:
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


def _counts(split: ClassSplit, pixels: Sequence[int]) -> dict[str, float]:
    """Give how many classes of each kind there are, and the training pixels of each kind."""
    of_class = dict(zip(split.classes, pixels, strict=True))
    return {
        "classes.seen": len(split.seen),
        "classes.unseen": len(split.unseen),
        "training_pixels.seen": sum(of_class[name] for name in split.seen_names),
        "training_pixels.unseen": sum(of_class[name] for name in split.unseen_names),
    }


def read_split(splits: Path) -> ClassSplit:
    """Read the class split of a splits step, checked against the protocol it names or the label file it holds.

    Raises:
        UserError: the file is missing or lacks a field, an unseen name is not in the label set, or classes
            and unseen names are not those of the protocol.
    """
    path = splits / SPLIT_FILE
    content = read_json(path)
    missing = [field for field in ("protocol", "classes", "unseen") if field not in content]
    if missing:
        raise UserError(f"{path}: fields {missing} are missing; run the splits step again")
    split = named_protocol(content["protocol"]) if "own" not in content else _own(content, path)
    stray = [name for name in content["unseen"] if name not in split.classes]
    if stray:
        raise UserError(
            f"{path}: unseen: {stray} are not in label set {split.label_set.name!r}; "
            f"it has {', '.join(split.classes)}"
        )
    for field, given, wanted in (
        ("classes", content["classes"], split.classes),
        ("unseen", content["unseen"], split.unseen_names),
    ):
        if list(given) != list(wanted):
            raise UserError(
                f"{path}: {field}: {len(given)} names differ from the {len(wanted)} of protocol {split.name!r} "
                "(names or order); run the splits step again, numbers of other splits cannot be compared"
            )
    return split


def _own(content: dict[str, Any], path: Path) -> ClassSplit:
    """Give the split of a label file as `split.json` holds it."""
    way_out = "run the splits step again"
    split = validated(LabelFile, content["own"], source=f"{path}: own", way_out=way_out).split()
    if split.name != content["protocol"]:
        raise UserError(
            f"{path}: protocol is {content['protocol']!r}, the label set in it is {split.name!r}; {way_out}"
        )
    return split


def _training_pixels(splits: Mapping[str, Any], split: ClassSplit, prepared: Path) -> list[int]:
    """Give the pixels of every class that the prepare step counted in training pictures; without those, zeros."""
    if TRAINING_SPLIT not in splits:
        return [0] * split.num_classes
    if "pixels" not in splits[TRAINING_SPLIT]:
        raise UserError(f"{prepared / SUMMARY_FILE} counts no pixels; run the prepare step again")
    return [splits[TRAINING_SPLIT]["pixels"][name] for name in split.classes]
