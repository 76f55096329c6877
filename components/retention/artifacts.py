"""Kubeflow's folders of artifacts in an object store, ROOT/PIPELINE/RUN: which are needed, and how one is removed.

A folder stays with the pipeline's run in MLflow. Only folders of pipelines that MLflow knows as ours are looked at.
Kubeflow's own metadata of a removed artifact stay, and its page then says that it cannot read it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from components.retention.recorded import Family
from components.retention.rule import Item, StillNeededError
from components.storage import s3

RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class RunFolder:
    """The artifacts of one run of a pipeline: their bytes, and when the newest was written."""

    place: s3.Address
    pipeline: str
    kfp_run: str
    num_bytes: int
    written: datetime


def run_folders(client: Any, root: s3.Address, pipeline: str) -> list[RunFolder]:
    """Return the folders of a pipeline's runs.

    Raises:
        AwayError: the object store does not answer.
        UserError: it refuses.
    """
    parent = root.below(pipeline)
    return [
        RunFolder(parent.below(name), pipeline, name, folder.num_bytes, folder.changed)
        for name, folder in s3.subfolders(client, parent).items()
        if RUN_ID.fullmatch(name)
    ]


def folder_items(root: s3.Address, known: Sequence[Family], staying: Mapping[str, str]) -> Iterator[Item]:
    """Yield the folders of all pipelines among `known`; `staying` names the families that stay, by their runs' ids."""
    client = s3.connect()
    needed = {
        family.kfp_run: f"MLflow keeps {staying[family.run_id]}"
        for family in known
        if family.run_id in staying
    }
    for pipeline in sorted({family.parent.data.tags["pipeline"] for family in known if family.kfp_run}):
        for folder in run_folders(client, root, pipeline):
            yield Item(
                "artifacts",
                f"{pipeline} {folder.kfp_run}",
                folder.written,
                pipeline,
                folder.kfp_run,
                partial(_remove, client, root, folder),
                needed.get(folder.kfp_run, ""),
                folder.num_bytes,
            )


def _remove(client: Any, root: s3.Address, folder: RunFolder) -> None:
    """Remove a folder in which nothing was written since; Kubeflow writes into it again after "Retry"."""
    again = [one for one in run_folders(client, root, folder.pipeline) if one.kfp_run == folder.kfp_run]
    if any(one.written != folder.written for one in again):
        raise StillNeededError("something was written there since")
    s3.remove_folder(client, folder.place, first="")
