"""Label one shard of a list: a table with a row for each picture, label maps in tars, and a manifest last.

Buckets are committed one by one: first the tar of label maps, then the rows. A shard that is killed anywhere and called
again takes the finished buckets as they are and computes the others from their first picture, in the batches of an undisturbed call.
"""

import io
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from cascade_core.bulk.outcomes import Failure, Outcome
from cascade_core.bulk.shards import Shard
from cascade_core.bulk.worker import Request, Worker
from cascade_core.inference.views import views
from cascade_core.predictor import Predictor, checked_labels
from cascade_core.render.visualise import label_png
from cascade_core.runtime.files import sha256, system_errors_as_user_errors
from cascade_core.runtime.pool import parallel_map
from components.bulk.plan import MAPS, SHARDS, Plan, ShardManifest, agree, make_plan
from components.bulk.sources import ListedPicture, Store
from components.bulk.table import Area, Row, as_bytes, from_bytes, table_of, write_joined
from components.pictures.predict import request_of
from components.progress import progress
from components.storage.result_folder import ResultFolder, result_folder
from components.vectors.encoding import encoded

CHECKS = 16
"""Pictures whose versions are looked up at a time."""


@dataclass(frozen=True)
class ShardResult:
    """How many pictures a shard has, how many of their rows were there already, and how many have an error."""

    pictures: int
    kept: int
    failed: int


@dataclass(frozen=True)
class _Labelled:
    """A row of the table, and the label map as a PNG file."""

    row: Row
    label_map: bytes | None


class Labelling(Protocol):
    """Something that labels buckets of pictures."""

    def results(self, buckets: Iterable[Sequence[ListedPicture]]) -> Iterator[_Labelled]:
        """Yield the result of every picture, in any order."""
        ...


Engine = Callable[[Predictor, Request, Callable[[ListedPicture, Outcome], _Labelled]], Labelling]
"""Makes what labels pictures of a model, a request, and the function that makes the result of a picture's outcome."""


def run(
    *,
    predictor: Predictor,
    pictures: Sequence[str],
    labels: Sequence[str],
    out: str,
    shard: Shard,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    batch: int = 1,
    engine: Engine | None = None,
    wait: bool = False,
) -> ShardResult:
    """Label a shard of the pictures at `pictures` (addresses, as in `sources`), and write its results to `out`.

    With `wait`, wait until another process on this shard ends, or its lease expires five minutes after its death.

    Rows of a call before are kept if all pictures of their bucket are unchanged by size and modification time (or ETag);
    no kept picture is read. A picture that cannot be read or is too large is a row with its error. `engine` computes in
    place of a `Worker` in this process.

    Raises:
        UserError: labels or scales are invalid; other shards in `out` have another plan; without `wait`, another process works on
            this shard; the object store is away; or the disk is full.
    """
    names = checked_labels(labels)
    views(scales, flip=flip)
    folder = result_folder(out)
    encoded(predictor, names)
    request = request_of(predictor, names, scales=scales, flip=flip)
    all_labels = predictor.map_labels(names)
    plan = make_plan(pictures, shards=shard.number, batch=batch, request=request.record(), labels=all_labels)
    agree(plan, folder)
    work = _Shard(plan, shard, folder, pictures)
    colours = predictor.colours_of(names)
    finish = partial(_labelled, bucket_size=plan.bucket, num_labels=len(all_labels), colours=colours)
    worker = (engine or Worker)(predictor, Request(names, request.scales, flip, batch), finish)
    with folder.held(f"{SHARDS}/{shard.file_name}", work=f"worker of shard {shard}", wait=wait):
        with progress(f"shard {shard}", work.num_pictures) as bar:
            work.label(worker, bar.advance)
        return work.join()


class _Shard:
    """A shard's buckets, its files, and what is finished of them."""

    def __init__(self, plan: Plan, shard: Shard, out: ResultFolder, pictures: Sequence[str]) -> None:
        self.plan, self.shard, self.out, self.pictures = plan, shard, out, pictures
        all_buckets = plan.buckets()
        self.buckets = {number: all_buckets[number] for number in shard.buckets(len(all_buckets))}
        self.table = f"{SHARDS}/{shard.file_name}.parquet"
        self.manifest = f"{SHARDS}/{shard.file_name}.json"
        self.parts = f"{SHARDS}/{shard.file_name}.parts"
        # With its plan, so that rows of another one are never taken for this one's.
        self.metadata = {**plan.table_metadata(), "plan": plan.sha256()}
        self.kept, self._store = 0, Store()

    @property
    def num_pictures(self) -> int:
        return sum(map(len, self.buckets.values()))

    def label(self, worker: Labelling, advance: Callable[[int], None]) -> None:
        """Compute and commit the buckets that are not finished."""
        done, results = 0, dict[int, list[_Labelled]]()
        commits: deque[Future[None]] = deque()

        def unfinished() -> Iterator[list[ListedPicture]]:
            nonlocal done
            for number, pictures in self._unfinished():
                if pictures:
                    yield pictures
                else:
                    done += len(self.buckets[number])
                    advance(done)

        with ThreadPoolExecutor(1, thread_name_prefix="commit") as committer:
            for result in worker.results(unfinished()):
                number = result.row.position // self.plan.bucket
                bucket = results.setdefault(number, [])
                bucket.append(result)
                done += 1
                advance(done)
                if len(bucket) == len(self.buckets[number]):
                    commits.append(committer.submit(self._commit, number, results.pop(number)))
                while commits and (commits[0].done() or len(commits) > 2):
                    commits.popleft().result()
            for commit in commits:
                commit.result()

    def join(self) -> ShardResult:
        """Write the shard's table from its parts, then the manifest, and remove the parts.

        A finished shard without a new part stays as it is.
        """
        parts = self.out.names(self.parts)
        if not parts and (content := self.out.read(self.manifest)) is not None:
            manifest = ShardManifest.model_validate_json(content)
            return ShardResult(manifest.pictures, self.kept, manifest.failed)
        failed = 0

        def tables() -> Iterator[pa.Table]:
            nonlocal failed
            old = self._old_table()
            for number in self.buckets:
                table = self._rows(number, old, parts)
                assert table is not None, f"bucket {number} of shard {self.shard} has no rows"
                failed += len(table) - table.column("error").null_count
                yield table

        with tempfile.TemporaryDirectory() as folder, system_errors_as_user_errors(Path(folder)):
            path = Path(folder, "table.parquet")
            pictures = write_joined(path, tables(), self.metadata)
            digest = sha256(path)
            self.out.send(path, self.table)
        manifest = ShardManifest(
            shard=str(self.shard),
            plan_sha256=self.plan.sha256(),
            table_sha256=digest,
            pictures=pictures,
            failed=failed,
        )
        self.out.write(self.manifest, manifest.content())
        for name in sorted(parts):
            self.out.remove(f"{self.parts}/{name}")
        return ShardResult(pictures, self.kept, failed)

    def _unfinished(self) -> Iterator[tuple[int, list[ListedPicture]]]:
        """Yield every bucket with its pictures, or without any if its rows hold."""
        parts, maps, old = self.out.names(self.parts), self.out.names(MAPS), self._old_table()
        for number, positions in self.buckets.items():
            pictures = [ListedPicture(i, self.pictures[i], self._store) for i in positions]
            rows = self._rows(number, old, parts)
            if rows is not None and self._holds(number, rows, pictures, maps):
                self.kept += len(pictures)
                yield number, []
            else:
                yield number, pictures

    def _holds(self, number: int, rows: pa.Table, pictures: Sequence[ListedPicture], maps: set[str]) -> bool:
        has_maps = rows.column("label_map").null_count < len(rows)
        if has_maps and _tar_name(number) not in maps:
            return False
        versions = parallel_map(ListedPicture.current_version, pictures, workers=CHECKS)
        return bool(rows.column("version").to_pylist() == versions)

    def _old_table(self) -> pa.Table | None:
        content = self.out.read(self.table)
        return None if content is None else from_bytes(content, self.metadata)

    def _rows(self, number: int, old: pa.Table | None, parts: set[str]) -> pa.Table | None:
        """Return the rows of a bucket from its part, or from the shard's table of an earlier call."""
        name, positions = f"{number:06}.parquet", self.buckets[number]
        rows = None
        if name in parts:
            content = self.out.read(f"{self.parts}/{name}")
            rows = None if content is None else from_bytes(content, self.metadata)
        elif old is not None:
            rows = old.slice(positions.start - next(iter(self.buckets.values())).start, len(positions))
        complete = rows is not None and rows.column("position").to_pylist() == list(positions)
        return rows if complete else None

    def _commit(self, number: int, results: list[_Labelled]) -> None:
        results.sort(key=lambda result: result.row.position)
        self.out.remove(self.manifest)  # The shard is not finished until its table has these rows.
        if any(result.label_map for result in results):
            self.out.write(f"{MAPS}/{_tar_name(number)}", _tar(results))
        part = as_bytes(table_of([result.row for result in results]), self.metadata)
        self.out.write(f"{self.parts}/{number:06}.parquet", part)


def _labelled(
    picture: ListedPicture, outcome: Outcome, *, bucket_size: int, num_labels: int, colours: Sequence[str]
) -> _Labelled:
    row_of = partial(Row, picture.position, picture.address, picture.version, outcome.sha256)
    if isinstance(outcome, Failure):
        width, height = outcome.size or (None, None)
        return _Labelled(row_of(width, height, error=outcome.reason), None)
    prediction, stream = outcome.prediction, io.BytesIO()
    label_png(prediction.label_map, num_labels, colours).save(stream, format="PNG")
    height, width = prediction.label_map.shape
    row = row_of(
        width,
        height,
        prediction.mean_confidence,
        tuple(Area(area.id, area.label, area.pixels, area.confidence) for area in prediction.areas),
        f"{MAPS}/{_tar_name(picture.position // bucket_size)}#{_member_name(picture.position)}",
    )
    return _Labelled(row, stream.getvalue())


def _tar_name(bucket: int) -> str:
    return f"{bucket:06}.tar"


def _member_name(position: int) -> str:
    return f"{position:09}.png"


def _tar(results: Sequence[_Labelled]) -> bytes:
    """Return a tar of the label maps, whose bytes depend on them alone."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for result in results:
            if result.label_map is not None:
                member = tarfile.TarInfo(_member_name(result.row.position))
                member.size = len(result.label_map)
                archive.addfile(member, io.BytesIO(result.label_map))
    return stream.getvalue()
