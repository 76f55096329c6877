"""Find, check, unpack and convert the official files of a public data set."""

import logging
from collections.abc import Mapping, Sequence
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
"""This file in the raw folder lists the parts that are complete there, and the source of each."""


def release_of(data_set: DataSet) -> Release:
    """Return the official release of a data set.

    Raises:
        UserError: the data set has none.
    """
    if data_set.release is None:
        raise UserError(
            f"data set {data_set.name!r} has no official files; run `cascade-clip prepare index` on its folder"
        )
    return data_set.release


def protocol_of(data_set: DataSet, protocol: str | None) -> str:
    """Return `protocol`, or the data set's usual one.

    Raises:
        UserError: the data set has no such protocol.
    """
    names = [split.name for split in data_set.protocols]
    if protocol is not None and protocol not in names:
        raise UserError(
            f"protocol {protocol!r} is not one of data set {data_set.name!r}; its own are {', '.join(names)}"
        )
    return protocol or names[0]


def check_sources(sources: Sequence[Path], splits: Splits) -> None:
    """Check the values of `--from` and `--split`.

    Raises:
        UserError: a source does not exist or is neither folder, archive nor JSON, or a split is unknown.
    """
    if missing := [str(path) for path in sources if not path.exists()]:
        raise UserError(f"--from {', '.join(missing)}: no such folder or file; check the path")
    for path in sources:
        if path.is_file() and not is_archive(path) and path.suffix != ".json":
            raise UserError(
                f"--from {path} is neither a folder nor an archive (.tar, .tgz, .zip) nor a .json"
            )
    if not splits or set(splits) - {"train", "val"}:
        raise UserError(
            f"--split {', '.join(splits) or 'is empty'}: public data sets have splits train and val; give these"
        )


def locate(
    title: str, requirements: Sequence[Sequence[Part]], sources: Sequence[Path], present: Mapping[str, Any]
) -> list[LocatedPart]:
    """Find the parts that the raw folder lacks; `present` lists those that it has.

    Each of `requirements` is a row of alternatives, of which one part is enough.

    Raises:
        UserError: parts are in none of the sources; the message lists all of them.
    """
    located, missing = [], []
    for alternatives in requirements:
        if any(_key(part) in present for part in alternatives):
            continue
        first = next(filter(None, (find(part, sources) for part in alternatives)), None)
        if first is None:
            missing.append(alternatives)
        else:
            located.append(first)
    known = {part.file.name for alternatives in requirements for part in alternatives}
    unknown = ", ".join(str(path) for path in sources if path.is_file() and path.name not in known)
    if missing:
        where = ", ".join(map(str, sources)) or "no folder (give --from)"
        wanted = "".join(f"\n  - {' or '.join(map(_wanted, alternatives))}" for alternatives in missing)
        unused = (
            f"\n{unknown} is not used, because no part has a file of that name: rename it" if unknown else ""
        )
        raise UserError(
            f"{title}: {len(missing)} of {len(requirements)} parts are missing, looked in {where}:"
            f"{wanted}\ngive each with --from: the archive, or a folder that holds it packed or unpacked{unused}"
        )
    if unknown:
        log.warning("--from %s is not used: no part of these splits has a file of that name", unknown)
    return located


def _wanted(part: Part) -> str:
    folder = f"unpacked with {', '.join(part.take)}, or as " if part.take else ""
    return f"{part.what}: {folder}{part.file.describe()}"


def _key(part: Part) -> str:
    return f"{part.what}: {', '.join(part.take) or part.file.name}"


def install(located: LocatedPart, raw: Path, state: dict[str, Any], *, allow_subset: bool) -> None:
    """Check the archive of a part, unpack or link the part below `raw`, and record that in `sources.json`.

    Raises:
        UserError: the archive is not the official one (unless `allow_subset`), or lacks files of the part.
    """
    checked = located.is_file and located.part.file.known and not allow_subset
    if checked:
        with progress(f"check {located.at.name}") as bar:
            check_file(
                located.at, located.part.file, progress=lambda done, total: bar.advance(done, total=total)
            )
    with progress(f"{'unpack' if is_archive(located.at) else 'link'} {located.at.name}") as bar:
        files = gather(located, raw, progress=lambda done, total: bar.advance(done, total=total))
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
    """Read `sources.json` of the raw folder; an empty state if there is none.

    Raises:
        UserError: the raw folder is that of another data set.
    """
    if not (raw / STATE_FILE).is_file():
        return {"data_set": data_set.name, "parts": {}}
    state = read_json(raw / STATE_FILE)
    if not isinstance(state, dict) or state.get("data_set") != data_set.name or "parts" not in state:
        raise UserError(
            f"{raw / STATE_FILE} is not of data set {data_set.name!r}; every data set needs a --raw folder of its own"
        )
    return state


def differences_from_official(release: Release, plan: Plan) -> list[str]:
    """Return a sentence for each split whose number of pictures is not the official one."""
    return [
        f"{split} has {count:,} pictures, officially {release.counts[split]:,}"
        for split, count in plan.counts.items()
        if count != release.counts[split]
    ]


def convert_maps(name: str, plan: Plan, raw: Path, workers: int) -> None:
    """Write the image lists, and convert the label maps that were not converted before."""
    for path, names in plan.lists.items():
        with new_file(raw / path) as file:
            file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if plan.jobs:
        with progress(f"convert {name}", len(plan.jobs)) as bar:
            convert(plan.jobs, workers=workers, progress=lambda done, total: bar.advance(done, total=total))


def source_of(
    name: str,
    release: Release,
    state: dict[str, Any],
    plan: Plan,
    *,
    differences: list[str],
    notes: dict[str, Any],
) -> dict[str, Any]:
    """Return the field `source` of the summary: where the data came from, and whether they are complete."""
    for difference in differences:
        log.warning("%s is not complete: %s", name, difference)
    return {
        "data_set": name,
        "complete": not differences,
        "pictures": dict(plan.counts),
        "official_pictures": {split: release.counts[split] for split in plan.counts},
        "parts": state["parts"],
        **notes,
    }
