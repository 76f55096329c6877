"""Step: from the official files of a public data set to its checked index."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade_core.data.sources.ade20k import ADE20K
from cascade_core.data.sources.archives import is_archive
from cascade_core.data.sources.cocostuff import COCOSTUFF
from cascade_core.data.sources.context import CONTEXT
from cascade_core.data.sources.convert import convert
from cascade_core.data.sources.official import check_file
from cascade_core.data.sources.parts import Found, Part, find, gather
from cascade_core.data.sources.plan import DataSet, Plan, Splits
from cascade_core.data.sources.voc12 import VOC12
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, read_json, write_json
from cascade_core.runtime.listing import by_name
from components.progress import progress
from components.steps import prepare

log = logging.getLogger(__name__)

DATA_SETS = {data_set.name: data_set for data_set in (VOC12, CONTEXT, COCOSTUFF, ADE20K)}
STATE_FILE = "sources.json"
"""In the raw folder: which parts lie there whole, and where each came from."""


def run(
    *,
    name: str,
    sources: Sequence[Path],
    raw: Path,
    out: Path,
    protocol: str | None = None,
    splits: Splits = ("train", "val"),
    workers: int = 4,
    allow_subset: bool = False,
) -> prepare.Prepared:
    """Bring the data set `name` from `sources` (folders, archives) into `raw`, convert it, and index it into `out`.

    Whatever was done stays in `raw`: another call goes on from there, and needs no source of a part that lies
    there whole. `allow_subset` takes files of other size or checksum and other numbers of pictures than the
    official ones, as samples have; the summary then says so.

    Raises:
        UserError: parts are missing (all are named at once), files are not the official ones, damaged or
            unsafe, numbers of pictures are not the official ones, or pictures and label maps are not well.
    """
    data_set, chosen = by_name(name, DATA_SETS, kind="data set"), _protocol(name, protocol)
    _check_sources(sources, splits)
    state = _read_state(raw, data_set)
    parts = _locate(data_set, sources, splits, state["parts"])
    for found in parts:
        _bring(found, raw, state, allow_subset=allow_subset)
    plan = data_set.plan(raw, splits)
    differing = _differing(data_set, plan)
    if differing and not allow_subset:
        raise UserError(
            f"{data_set.title} in {raw}: {'; '.join(differing)}. Files are missing or too many: unpack the official "
            "archives into an empty --raw, or allow a part of the data set with --allow-subset"
        )
    _convert(data_set, plan, raw, workers)
    notes = {**plan.notes, **data_set.verify(raw)}
    return prepare.run(
        raw=raw / data_set.root,
        protocol=chosen,
        image_sets=plan.image_sets,
        out=out,
        source=_told(data_set, state, plan, differing, notes),
    )


def _protocol(name: str, protocol: str | None) -> str:
    known = DATA_SETS[name].protocols
    if protocol is not None and protocol not in known:
        raise UserError(
            f"protocol {protocol!r} is not one of data set {name!r}; its own are {', '.join(known)}"
        )
    return protocol or known[0]


def _check_sources(sources: Sequence[Path], splits: Splits) -> None:
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


def _locate(data_set: DataSet, sources: Sequence[Path], splits: Splits, there: dict[str, Any]) -> list[Found]:
    """Find all parts that do not lie in the raw folder yet, or say in one message which are nowhere."""
    located, missing = [], []
    for alternatives in data_set.requirements(splits):
        if any(_key(part) in there for part in alternatives):
            continue
        found = next((found for part in alternatives if (found := find(part, sources))), None)
        if found is None:
            missing.append(alternatives)
        else:
            located.append(found)
    if missing:
        where = ", ".join(str(source) for source in sources) or "no folder, for none was given"
        wanted = "".join(f"\n  - {' or '.join(_wanted(part) for part in row)}" for row in missing)
        raise UserError(
            f"{data_set.title}: {len(missing)} of {len(data_set.requirements(splits))} parts are missing, looked in {where}:"
            f"{wanted}\ngive each with --from: the archive, or a folder that holds it packed or unpacked"
        )
    return located


def _wanted(part: Part) -> str:
    folder = f"unpacked with {', '.join(part.take)}, or as " if part.take else ""
    return f"{part.what}: {folder}{part.file.describe()}"


def _key(part: Part) -> str:
    return f"{part.what}: {', '.join(part.take) or part.file.name}"


def _bring(found: Found, raw: Path, state: dict[str, Any], *, allow_subset: bool) -> None:
    """Check the file a part comes in, bring the part below `raw`, and note that it is there."""
    checked = found.is_file and found.part.file.known and not allow_subset
    if checked:
        with progress(f"check {found.at.name}") as bar:
            check_file(found.at, found.part.file, progress=lambda done, all_: bar.advance(done, total=all_))
    with progress(f"{'unpack' if is_archive(found.at) else 'link'} {found.at.name}") as bar:
        files = gather(found, raw, progress=lambda done, all_: bar.advance(done, total=all_))
    if absent := [item for item in found.part.take if not (raw / found.part.into / item).exists()]:
        raise UserError(
            f"{found.at} holds no {', '.join(absent)} below {found.part.root or 'its root'}; "
            f"expected {found.part.file.describe()}"
        )
    state["parts"][_key(found.part)] = {
        "from": found.at.name,
        "bytes": found.at.stat().st_size if found.is_file else None,
        "official_file": "checked" if checked else "not checked",
        "files": files,
    }
    write_json(raw / STATE_FILE, state)


def _read_state(raw: Path, data_set: DataSet) -> dict[str, Any]:
    if not (raw / STATE_FILE).is_file():
        return {"data_set": data_set.name, "parts": {}}
    state = read_json(raw / STATE_FILE)
    if not isinstance(state, dict) or state.get("data_set") != data_set.name or "parts" not in state:
        raise UserError(
            f"{raw / STATE_FILE} is not of data set {data_set.name!r}; every data set needs a --raw folder of its own"
        )
    return state


def _differing(data_set: DataSet, plan: Plan) -> list[str]:
    return [
        f"{split} has {count:,} pictures, officially {data_set.counts[split]:,}"
        for split, count in plan.counts.items()
        if count != data_set.counts[split]
    ]


def _convert(data_set: DataSet, plan: Plan, raw: Path, workers: int) -> None:
    for path, names in plan.lists.items():
        with new_file(raw / path) as file:
            file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if plan.jobs:
        with progress(f"convert {data_set.name}", len(plan.jobs)) as bar:
            convert(plan.jobs, workers=workers, progress=lambda done, all_: bar.advance(done, total=all_))


def _told(
    data_set: DataSet, state: dict[str, Any], plan: Plan, differing: list[str], notes: dict[str, Any]
) -> dict[str, Any]:
    for difference in differing:
        log.warning("%s: a part of the data set: %s", data_set.name, difference)
    return {
        "data_set": data_set.name,
        "complete": not differing,
        "pictures": dict(plan.counts),
        "official_pictures": {split: data_set.counts[split] for split in plan.counts},
        "parts": state["parts"],
        **notes,
    }
