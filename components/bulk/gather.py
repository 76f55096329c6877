"""Join the shards of a list: one table, a histogram of classes, and a summary that is written last."""

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cascade_core.bulk.shards import Shard
from cascade_core.errors import UserError
from cascade_core.runtime.files import sha256, system_errors_as_user_errors
from cascade_core.runtime.listing import short_list
from components.bulk import annotations
from components.bulk.plan import PLAN, SHARDS, Plan, ShardManifest, as_json, read_plan, read_shard_manifest
from components.bulk.table import parts_of, totals, write_joined
from components.exchange.formats import Format
from components.progress import progress
from components.storage.result_folder import ResultFolder, result_folder

TABLE, HISTOGRAM, SUMMARY = "predictions.parquet", "histogram.csv", "summary.json"
MOST_FAILURES = 1_000
"""`Gathered` holds so many failures; the table has all."""


@dataclass(frozen=True)
class ClassTotal:
    """A class in all pictures: how many have it, its pixels, and their share of all pixels."""

    id: int
    label: str
    pictures: int
    pixels: int
    share: float


@dataclass(frozen=True)
class Gathered:
    """What all shards have.

    Attributes:
        pictures: their number, and `failed` that of pictures with an error.
        classes: every label in the order of the ids.
        failures: address and error of the first pictures with an error.
        names_below: the folder that the names in the format's file are relative to; None without such a file.
    """

    pictures: int
    failed: int
    classes: tuple[ClassTotal, ...]
    failures: tuple[tuple[str, str], ...]
    names_below: str | None = None


def run(out: str, form: Format | None = None) -> Gathered:
    """Write the table of all shards in `out`, the number of pictures and pixels of each class, and a summary.

    With `form`, write the label maps of all pictures in that format too.

    Raises:
        UserError: no shard began there, one is missing or is not finished, was made by another plan, or its table has
            changed; or as of `annotations.write`; nothing is written then.
    """
    folder = result_folder(out)
    plan = read_plan(folder)
    if plan is None:
        raise UserError(f"{out}/{PLAN} does not exist; give the --out of `cascade-clip predict --shard`")
    manifests = _manifests(plan, folder)
    counts: dict[int, tuple[int, int]] = {}
    failures: list[tuple[str, str]] = []
    with (
        tempfile.TemporaryDirectory() as temporary,
        system_errors_as_user_errors(Path(temporary)),
        progress("gather", len(manifests)) as bar,
    ):

        def tables() -> Iterator[pa.Table]:
            for done, (shard, manifest) in enumerate(manifests.items(), start=1):
                for table in _parts(folder, shard, manifest):
                    for class_id, (pictures, pixels) in totals(table).items():
                        before = counts.get(class_id, (0, 0))
                        counts[class_id] = (before[0] + pictures, before[1] + pixels)
                    failures.extend(_failures(table, most=MOST_FAILURES - len(failures)))
                    yield table
                bar.advance(done)

        path = Path(temporary, TABLE)
        count = write_joined(path, tables(), plan.table_metadata())
        if count != plan.pictures:
            raise UserError(
                f"{out}: the shards have {count:,} rows, the list has {plan.pictures:,} pictures; run the shards again"
            )
        failed = sum(manifest.failed for manifest in manifests.values())
        below = None
        if form is not None:
            below = annotations.write(form, path, folder, plan, pictures=count - failed)
        folder.remove(SUMMARY)
        folder.send(path, TABLE)
    classes = _class_totals(plan, counts)
    folder.write(HISTOGRAM, histogram(classes))
    folder.write(SUMMARY, _summary(plan, count, failed))
    return Gathered(count, failed, classes, tuple(failures), below)


def _manifests(plan: Plan, folder: ResultFolder) -> dict[Shard, ShardManifest]:
    shards = [Shard(index, plan.shards) for index in range(plan.shards)]
    manifests = {shard: read_shard_manifest(folder, shard) for shard in shards}
    if missing := [str(shard) for shard, manifest in manifests.items() if manifest is None]:
        raise UserError(
            f"{folder}: {len(missing)} of {plan.shards} shards are missing or not finished: "
            f"{short_list(missing, most=8)}; call `cascade-clip predict` with --shard {missing[0]} again"
        )
    present = {shard: manifest for shard, manifest in manifests.items() if manifest is not None}
    if others := [str(shard) for shard, manifest in present.items() if manifest.plan_sha256 != plan.sha256()]:
        raise UserError(
            f"{folder}: shards {short_list(others, most=8)} were made by another plan than {PLAN} (another list or "
            "request); run them again"
        )
    return present


def _parts(folder: ResultFolder, shard: Shard, manifest: ShardManifest) -> Iterator[pa.Table]:
    name = f"{SHARDS}/{shard.file_name}.parquet"
    again = f"call `cascade-clip predict` with --shard {shard} again"
    if name.rpartition("/")[2] not in folder.names(SHARDS):
        raise UserError(f"{folder}/{name} is missing; {again}")
    with folder.local(name) as path:
        if sha256(path) != manifest.table_sha256:
            raise UserError(
                f"{folder}/{name} is not the table that shard {shard} wrote; remove it, and {again}"
            )
        yield from parts_of(path)


def _failures(table: pa.Table, *, most: int) -> list[tuple[str, str]]:
    """Return address and error of the first pictures with an error, at most `most`."""
    failed = table.filter(pc.is_valid(table.column("error"))).slice(0, most)
    return list(zip(failed.column("picture").to_pylist(), failed.column("error").to_pylist(), strict=True))


def _class_totals(plan: Plan, counts: dict[int, tuple[int, int]]) -> tuple[ClassTotal, ...]:
    all_pixels = sum(pixels for _, pixels in counts.values())
    totals = [(class_id, label, *counts.get(class_id, (0, 0))) for class_id, label in enumerate(plan.labels)]
    return tuple(ClassTotal(*total, share=total[-1] / all_pixels if all_pixels else 0.0) for total in totals)


def histogram(classes: Sequence[ClassTotal]) -> bytes:
    """Return a CSV table of every label: pictures that have it, its pixels, and its share of all pixels."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("id", "class", "pictures", "pixels", "share"))
    writer.writerows(astuple(total) for total in classes)
    return stream.getvalue().encode()


def _summary(plan: Plan, pictures: int, failed: int) -> bytes:
    content = {
        "format": 1,
        "plan_sha256": plan.sha256(),
        "list_sha256": plan.list_sha256,
        "pictures": pictures,
        "failed": failed,
        "request": plan.request,
    }
    return as_json(content)
