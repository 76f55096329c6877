"""Step: unpack, convert and check the official files of a public data set, and write its index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cascade_core.errors import UserError
from cascade_core.runtime.cores import usable_cores
from components.contract import Call, Option, Output, Place, step
from components.inputs.prepared import Prepared

WORKERS = min(usable_cores(), 8)


@step("prepare")
def run(
    call: Call,
    /,
    *,
    name: Annotated[str, Option("Name of the public data set, such as voc12.")],
    sources: Annotated[
        Sequence[Path],
        Place("Archive, or a folder that holds it packed or unpacked; repeatable.", flag="--from"),
    ] = (),
    raw: Annotated[
        Path | None, Place("Folder for pictures and label maps; if left out, local_outputs/raw/NAME.")
    ] = None,
    out: Annotated[Path, Output(default="local_outputs/prepared")],
    protocol: Annotated[
        str | None,
        Option("Protocol: label set and unseen classes; if left out, the usual one of the data set."),
    ] = None,
    splits: Annotated[
        Sequence[str],
        Option("Split to prepare, such as only val for evaluation; repeatable.", flag="--split"),
    ] = ("train", "val"),
    workers: Annotated[int, Option("Processes that convert label maps.", minimum=1)] = WORKERS,
    allow_subset: Annotated[
        bool, Option("Accept a part of the data set, or files that are not the official ones.")
    ] = False,
) -> Prepared:
    """Prepare a public data set from its official files.

    `raw` keeps all parts that are complete: the next call continues from there, and needs no sources for those
    parts. With --allow-subset, files may have another size or checksum, and splits another number of pictures; the
    summary then says that the data set is not complete.

    Raises:
        UserError: parts are missing (the message lists all), files are not the official ones, damaged or unsafe,
            a split does not have the official number of pictures, or pictures or label maps are wrong.
    """
    from cascade_core.datasets.catalogue import data_set as named_data_set
    from components.inputs import official_files as files
    from components.inputs.indexing import write_index

    data_set, raw = named_data_set(name), raw or Path("local_outputs/raw") / name
    release, protocol, splits = (
        files.release_of(data_set),
        files.protocol_of(data_set, protocol),
        tuple(splits),
    )
    files.check_sources(sources, splits)
    state = files.read_state(raw, data_set)
    for part in files.locate(data_set.title, release.requirements(splits), sources, state["parts"]):
        files.install(part, raw, state, allow_subset=allow_subset)
    plan = release.plan(raw, splits)
    differences = files.differences_from_official(release, plan)
    if differences and not allow_subset:
        raise UserError(
            f"{data_set.title} in {raw}: {'; '.join(differences)}; unpack the official archives into an empty --raw, "
            "or accept a part of the data set with --allow-subset"
        )
    files.convert_maps(name, plan, raw, workers)
    notes = {**plan.notes, **release.verify(raw)}
    source = files.source_of(name, release, state, plan, differences=differences, notes=notes)
    return write_index(call, raw / release.root, protocol=protocol, image_sets=plan.image_sets, source=source)
