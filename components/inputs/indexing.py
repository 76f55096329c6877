"""Check every picture and label map of a raw data set, and write the index that later steps read."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cascade_core.data.index import index_folders, index_voc, voc_root
from cascade_core.data.layouts import FolderLayout, Layout, VocLayout
from cascade_core.data.prepared import INDEX_FILE, SUMMARY_FILE, data_sha256
from cascade_core.datasets.catalogue import layout_of
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.files import write_json
from cascade_core.runtime.pool import Progress
from components.contract import Call
from components.inputs.prepared import Prepared
from components.progress import progress
from components.tracking.tracker import StepTracker

log = logging.getLogger(__name__)


def write_index(
    call: Call,
    raw: Path,
    *,
    protocol: str,
    image_sets: Mapping[str, str],
    source: Mapping[str, Any] | None = None,
) -> Prepared:
    """Write the index and the summary of `raw` into the call's folder.

    `source` goes into the summary as it is; it says where the files of `raw` came from.

    Raises:
        UserError: a picture, label map or image set is wrong; nothing is written.
    """
    split = named_protocol(protocol)
    if not raw.is_dir():
        raise UserError(
            f"data set {raw} is not a folder; fetch the data first, or give the folder that holds them"
        )
    layout = _layout(split.label_set, image_sets)
    root = voc_root(raw) if isinstance(layout, VocLayout) else raw
    parameters = {"protocol": split.name, "image_sets": dict(image_sets)}
    with call.writing(
        protocol=split.name,
        parameters=parameters,
        tracked_parameters={**parameters, "raw": str(raw)},
        inputs={"raw": root},
    ) as work:
        with progress(f"prepare {split.name}") as bar:
            index = _index(
                root, layout, split.label_set, image_sets, lambda done, total: bar.advance(done, total=total)
            )
        summary = _summary(index, split.name, split.label_set, image_sets)
        if source is not None:
            summary["source"] = dict(source)
        index.to_parquet(work.folder / INDEX_FILE, index=False)
        write_json(work.folder / SUMMARY_FILE, summary)
        work.hashes["raw"] = data_hash = summary["data_sha256"]
        track_data_set(work.tracker, summary, root)
    pictures: dict[str, int] = {name: counts["pictures"] for name, counts in summary["splits"].items()}
    log.info("prepared %s: %s", split.name, ", ".join(f"{count} {name}" for name, count in pictures.items()))
    return Prepared(call.out / INDEX_FILE, pictures, data_hash)


def track_data_set(tracker: StepTracker, summary: Mapping[str, Any], root: Path) -> None:
    """Record the summary of a data set in `root` with the step's run: its hash, its classes and its pictures."""
    tracker.tags({"data_hash": summary["data_sha256"], "label_set": summary["label_set"]})
    tracker.dataset(summary["protocol"], summary["data_sha256"], source=str(root))
    counts = {f"pictures.{name}": float(counts["pictures"]) for name, counts in summary["splits"].items()}
    classes = next(iter(summary["splits"].values()))["pixels"]
    tracker.metrics({"classes": float(len(classes)), **counts})


def _layout(label_set: LabelSet, image_sets: Mapping[str, str]) -> Layout:
    """Return the layout of the data set; with a label file, image sets with a colon mean parallel folders."""
    if layout := layout_of(label_set):
        return layout
    return FolderLayout() if any(":" in folders for folders in image_sets.values()) else VocLayout()


def _index(
    root: Path, layout: Layout, label_set: LabelSet, image_sets: Mapping[str, str], progress: Progress
) -> pd.DataFrame:
    match layout:
        case FolderLayout():
            folders = _folder_pairs(image_sets)
            return index_folders(root, label_set=label_set, folders=folders, layout=layout, progress=progress)
        case VocLayout():
            return index_voc(
                root, label_set=label_set, image_sets=image_sets, layout=layout, progress=progress
            )


def _folder_pairs(image_sets: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    pairs = {}
    for split, folders in image_sets.items():
        images, colon, labels = folders.partition(":")
        if not (images and colon and labels):
            raise UserError(
                f"image set {split}={folders!r} names no folders; expected PICTURES:LABELS, "
                "such as images/train2017:annotations/train2017"
            )
        pairs[split] = (images, labels)
    return pairs


def _summary(
    index: pd.DataFrame, protocol: str, label_set: LabelSet, image_sets: Mapping[str, str]
) -> dict[str, Any]:
    """Count pictures per split, and pictures and pixels per class and split."""
    splits = {}
    for split in image_sets:
        rows = index[index["split"] == split]
        occurrences = rows[["classes", "pixels"]].explode(["classes", "pixels"])
        of_class = occurrences.groupby("classes")["pixels"].agg(["size", "sum"])
        pictures, pixels = (
            of_class[column].reindex(range(label_set.num_classes), fill_value=0) for column in ("size", "sum")
        )
        splits[split] = {
            "pictures": len(rows),
            "pictures_with_class": dict(zip(label_set.classes, pictures.astype(int).tolist(), strict=True)),
            "pixels": dict(zip(label_set.classes, pixels.astype(int).tolist(), strict=True)),
        }
    return {
        "protocol": protocol,
        "label_set": label_set.name,
        "data_sha256": data_sha256(index),
        "splits": splits,
    }
