"""Step: from the official files of a public data set to its checked index."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cascade_core.errors import UserError
from components.contract import Call, Option, Output, Place, step
from components.inputs.prepared import Prepared

WORKERS = min(os.cpu_count() or 1, 8)


@step("prepare")
def run(
    call: Call,
    /,
    *,
    name: Annotated[str, Option("Public data set, such as voc12.")],
    sources: Annotated[
        Sequence[Path],
        Place("Archive, or folder with it packed or unpacked; repeatable.", flag="--from"),
    ] = (),
    raw: Annotated[
        Path | None, Place("Folder for pictures and maps; local_outputs/raw/NAME if left out.")
    ] = None,
    out: Annotated[Path, Output(default="outputs/prepared")],
    protocol: Annotated[str | None, Option("Label set and unseen classes by name.")] = None,
    splits: Annotated[
        Sequence[str],
        Option("Only this split, such as val of a mere target; repeatable.", flag="--split"),
    ] = ("train", "val"),
    workers: Annotated[int, Option("Label maps converted side by side.", minimum=1)] = WORKERS,
    allow_subset: Annotated[
        bool, Option("Take a part of the data set, or files other than the official ones.")
    ] = False,
) -> Prepared:
    """Bring a public data set from its official files to a checked index.

    Whatever was done stays in `raw`: another call goes on from there, and needs no source of a part that lies
    there whole. A subset may have files of other size or checksum and other numbers of pictures than the
    official ones, as samples have; the summary then says so.

    Raises:
        UserError: parts are missing (all are named at once), files are not the official ones, damaged or
            unsafe, numbers of pictures are not the official ones, or pictures and label maps are not well.
    """
    from cascade_core.datasets.catalogue import data_set as named_data_set
    from components.inputs import official_files as files
    from components.inputs.indexing import write_index

    data_set, raw = named_data_set(name), raw or Path("local_outputs/raw") / name
    release, chosen, asked = files.release_of(data_set), files.protocol_of(data_set, protocol), tuple(splits)
    files.check_sources(sources, asked)
    state = files.read_state(raw, data_set)
    for part in files.locate(data_set.title, release.requirements(asked), sources, state["parts"]):
        files.bring(part, raw, state, allow_subset=allow_subset)
    plan = release.plan(raw, asked)
    differing = files.differing(release, plan)
    if differing and not allow_subset:
        raise UserError(
            f"{data_set.title} in {raw}: {'; '.join(differing)}. Files are missing or too many: unpack the official "
            "archives into an empty --raw, or allow a part of the data set with --allow-subset"
        )
    files.convert_maps(name, plan, raw, workers)
    notes = {**plan.notes, **release.verify(raw)}
    source = files.source_of(name, release, state, plan, differing=differing, notes=notes)
    return write_index(call, raw / release.root, protocol=chosen, image_sets=plan.image_sets, source=source)
