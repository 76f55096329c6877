"""Official files of a public data set: found, checked, brought into a raw folder, and converted."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade_core.data.sources.archives import is_archive
from cascade_core.data.sources.convert import convert
from cascade_core.data.sources.official import check_file
from cascade_core.data.sources.part_search import LocatedPart, Part, find, gather
from cascade_core.data.sources.plan import Plan, Splits
from cascade_core.datasets.data_set import DataSet, Release
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, read_json, write_json
from components.progress import progress

log = logging.getLogger(__name__)

STATE_FILE = "sources.json"
"""In the raw folder: which parts lie there whole, and where each came from."""


def release_of(data_set: DataSet) -> Release:
    """Give the official release of a data set; a `UserError` where it has none."""
    if data_set.release is None:
        raise UserError(f"data set {data_set.name!r} has no official files to prepare; index it as it lies")
    return data_set.release


def protocol_of(data_set: DataSet, protocol: str | None) -> str:
    """Give the protocol asked for, checked to be one of the data set's, or its usual one."""
    known = [split.name for split in data_set.protocols]
    if protocol is not None and protocol not in known:
        raise UserError(
            f"protocol {protocol!r} is not one of data set {data_set.name!r}; its own are {', '.join(known)}"
        )
    return protocol or known[0]


def check_sources(sources: Sequence[Path], splits: Splits) -> None:
    """Refuse sources that do not exist or hold no parts, and splits that no data set has."""
    if missing := [str(path) for path in sources if not path.exists()]:
        raise UserError(f"--from {', '.join(missing)}: no such folder or file; check the path")
    if strange := [path for path in sources if path.is_file() and not _may_be_a_part(path)]:
        raise UserError(
            f"--from {strange[0]} is neither a folder nor an archive (.tar, .tgz, .zip) nor a .json"
        )
    if not splits or set(splits) - {"train", "val"}:
        raise UserError(f"splits {', '.join(splits) or 'none'} are not to be had; allowed are train and val")


def _may_be_a_part(path: Path) -> bool:
    return is_archive(path) or path.suffix == ".json"


def locate(
    title: str, requirements: Sequence[Sequence[Part]], sources: Sequence[Path], there: dict[str, Any]
) -> list[LocatedPart]:
    """Find all parts that do not lie in the raw folder yet, or say in one message which are nowhere."""
    located, missing = [], []
    for alternatives in requirements:
        if any(_key(part) in there for part in alternatives):
            continue
        one = next((one for part in alternatives if (one := find(part, sources))), None)
        if one is None:
            missing.append(alternatives)
        else:
            located.append(one)
    if missing:
        where = ", ".join(str(source) for source in sources) or "no folder, for none was given"
        wanted = "".join(f"\n  - {' or '.join(_wanted(part) for part in row)}" for row in missing)
        raise UserError(
            f"{title}: {len(missing)} of {len(requirements)} parts are missing, looked in {where}:"
            f"{wanted}\ngive each with --from: the archive, or a folder that holds it packed or unpacked"
        )
    return located


def _wanted(part: Part) -> str:
    folder = f"unpacked with {', '.join(part.take)}, or as " if part.take else ""
    return f"{part.what}: {folder}{part.file.describe()}"


def _key(part: Part) -> str:
    return f"{part.what}: {', '.join(part.take) or part.file.name}"


def bring(located: LocatedPart, raw: Path, state: dict[str, Any], *, allow_subset: bool) -> None:
    """Check the file a part comes in, bring the part below `raw`, and note that it is there."""
    checked = located.is_file and located.part.file.known and not allow_subset
    if checked:
        with progress(f"check {located.at.name}") as bar:
            check_file(
                located.at, located.part.file, progress=lambda done, all_: bar.advance(done, total=all_)
            )
    with progress(f"{'unpack' if is_archive(located.at) else 'link'} {located.at.name}") as bar:
        files = gather(located, raw, progress=lambda done, all_: bar.advance(done, total=all_))
    if absent := [item for item in located.part.take if not (raw / located.part.into / item).exists()]:
        raise UserError(
            f"{located.at} holds no {', '.join(absent)} below {located.part.root or 'its root'}; "
            f"expected {located.part.file.describe()}"
        )
    state["parts"][_key(located.part)] = {
        "from": located.at.name,
        "bytes": located.at.stat().st_size if located.is_file else None,
        "official_file": "checked" if checked else "not checked",
        "files": files,
    }
    write_json(raw / STATE_FILE, state)


def read_state(raw: Path, data_set: DataSet) -> dict[str, Any]:
    """Read which parts lie in the raw folder; a `UserError` where it is of another data set."""
    if not (raw / STATE_FILE).is_file():
        return {"data_set": data_set.name, "parts": {}}
    state = read_json(raw / STATE_FILE)
    if not isinstance(state, dict) or state.get("data_set") != data_set.name or "parts" not in state:
        raise UserError(
            f"{raw / STATE_FILE} is not of data set {data_set.name!r}; every data set needs a --raw folder of its own"
        )
    return state


def differing(release: Release, plan: Plan) -> list[str]:
    """Say which splits have another number of pictures than officially."""
    return [
        f"{split} has {count:,} pictures, officially {release.counts[split]:,}"
        for split, count in plan.counts.items()
        if count != release.counts[split]
    ]


def convert_maps(name: str, plan: Plan, raw: Path, workers: int) -> None:
    """Write the image lists, and convert the label maps that are not there yet."""
    for path, names in plan.lists.items():
        with new_file(raw / path) as file:
            file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if plan.jobs:
        with progress(f"convert {name}", len(plan.jobs)) as bar:
            convert(plan.jobs, workers=workers, progress=lambda done, all_: bar.advance(done, total=all_))


def source_of(
    name: str,
    release: Release,
    state: dict[str, Any],
    plan: Plan,
    *,
    differing: list[str],
    notes: dict[str, Any],
) -> dict[str, Any]:
    """Give what the summary says of where the data came from."""
    for difference in differing:
        log.warning("%s: a part of the data set: %s", name, difference)
    return {
        "data_set": name,
        "complete": not differing,
        "pictures": dict(plan.counts),
        "official_pictures": {split: release.counts[split] for split in plan.counts},
        "parts": state["parts"],
        **notes,
    }
