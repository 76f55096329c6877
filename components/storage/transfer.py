"""Store files and folders in an object store and fetch them: complete or not at all, verified, and resumable.

A file is one object with its SHA-256. A folder is a prefix; its index, the object `_files.json`, lists every file with
size and hash. The index is written last, so that an incomplete folder is recognized. A repeated call skips the files
that were already transferred, by their hash. boto3's transfer manager moves large files in parts, several at a time.
"""

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import (
    new_file,
    put_in_place,
    read_json,
    sha256,
    system_errors_as_user_errors,
    write_json,
)
from cascade_core.runtime.listing import shortened
from cascade_core.runtime.pool import parallel_map
from cascade_core.runtime.targets import check_path, replaceable_folder, writable_file
from cascade_core.runtime.validation import validated
from components.progress import progress
from components.storage import s3
from components.storage.places import cache_folder
from components.storage.s3 import Address

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig

log = logging.getLogger(__name__)

INDEX, HASH = "_files.json", "sha256"
MEBIBYTE = 2**20
PART_BYTES, THREADS = 16 * MEBIBYTE, 4
"""The part size of larger files, and the number of files, and of parts of each, that move at a time."""


@dataclass(frozen=True)
class Moved:
    """The number of files in a transfer, their size, and how many were skipped because they were there already."""

    files: int
    num_bytes: int
    kept: int


@dataclass(frozen=True)
class Item:
    """A file: its name in the folder, size, and SHA-256 if known."""

    name: str
    size: int
    sha256: str | None


def store(path: Path, uri: str) -> Moved:
    """Copy a file or a folder to an address; existing objects are replaced one by one, the index last.

    Raises:
        UserError: there is no such file, the folder is empty, the address is invalid, or the store does not
            answer, lacks the bucket, refuses, or breaks off (then repeat the call).
    """
    place = s3.address(uri)
    if not path.exists():
        raise UserError(f"{path} does not exist; give a file or a folder to store")
    if path.is_file():
        if not place.key or place.key.endswith("/"):
            place = place.below(path.name)
        items = [Item("", path.stat().st_size, None)]
    else:
        files = _files_below(path)
        items = [Item(file.relative_to(path).as_posix(), file.stat().st_size, None) for file in files]
    if not items:
        raise UserError(f"{path} is a folder without files; there is nothing to store")
    client = s3.connect()
    s3.check_bucket(client, place)
    stored_sizes = {} if path.is_file() else s3.list_files(client, place)
    with _byte_counter(f"store {path.name}", items) as count:

        def send(item: Item) -> tuple[Item, bool]:
            source, target = (path / item.name, place.below(item.name)) if item.name else (path, place)
            hashed = Item(item.name, item.size, sha256(source))
            kept = (not item.name or stored_sizes.get(item.name) == item.size) and _same(
                client, target, hashed
            )
            if kept:
                count(item.size)
            else:
                _send(client, source, target, hashed, count)
            return hashed, kept

        done = parallel_map(send, items, workers=THREADS)
    if path.is_dir():
        body = json.dumps({"files": [vars(item) for item, _ in done]}, indent=1, allow_nan=False).encode()
        with s3.translate_errors(place):
            client.put_object(Bucket=place.bucket, Key=place.below(INDEX).key, Body=body)
    return _moved(done)


def fetch(uri: str, to: Path, *, remembered: bool = True) -> Moved:
    """Copy an object to the file `to`, or all objects below a prefix to the folder `to`, which is replaced.

    A folder is not replaced if it contains files that are not at the address and did not come with an earlier call, which
    the cache remembers if `remembered`.

    `to` stays unchanged until everything has arrived with the right hash. Files of an interrupted call stay in a
    hidden folder next to it, for the next call. Folders stored by other tools have no index; their files are checked
    against the sizes in the store, and against its checksums if there are any.

    Raises:
        UserError: there is nothing at the address, the folder there is incomplete, a file differs from what was
            stored, the disk is full, or as for `store`.
    """
    check_path(to)
    place = s3.address(uri)
    client = s3.connect()
    s3.check_bucket(client, place)
    head = s3.head_object(client, place) if place.key and not place.key.endswith("/") else None
    # An empty object may stand for a folder: some tools make one.
    if head is not None and (head["ContentLength"] or not s3.list_files(client, place)):
        file = writable_file(to / PurePosixPath(place.key).name if to.is_dir() else to)
        item = _item(file.name, head)
        kept = _matches(file, item)
        if not kept:
            with _byte_counter(f"fetch {file.name}", [item]) as count:
                _get(client, place, item, file, count)
        return _moved([(item, kept)])
    items = _read_index(client, place)
    to = _replaceable(to, {item.name for item in items}, place)
    working = to.with_name(f".{to.name}.fetching")
    with system_errors_as_user_errors(to), _byte_counter(f"fetch {to.name}", items) as count:

        def get(item: Item) -> tuple[Item, bool]:
            for folder in (working, to):
                if _matches(folder / item.name, item):
                    count(item.size)
                    if folder == to:
                        with new_file(working / item.name) as partial:
                            shutil.copyfile(to / item.name, partial)
                    return item, True
            _get(client, place.below(item.name), item, working / item.name, count)
            return item, False

        done = parallel_map(get, items, workers=THREADS)
    # An interrupted call may have fetched files that the folder no longer has.
    names = {item.name for item in items}
    for path in [path for path in working.rglob("*") if path.is_file()]:
        if path.relative_to(working).as_posix() not in names:
            path.unlink()
    put_in_place(working, to)
    if not remembered:
        return _moved(done)
    try:
        write_json(_record_of(to), sorted(names))
    except UserError as error:  # the files are there; only a later call knows less
        log.warning("%s; a later fetch to %s refuses to remove files that the store no longer has", error, to)
    return _moved(done)


def _replaceable(to: Path, names: set[str], place: Address) -> Path:
    """Return the folder to write; UserError if it holds a file that is not in the store and was not fetched."""
    to = replaceable_folder(to)
    known = names.union(read_json(_record_of(to), most=2**28) if _record_of(to).is_file() else ())
    files = [path.relative_to(to).as_posix() for path in (_files_below(to) if to.exists() else ())]
    own = [name for name in files if name not in known]
    if own:
        raise UserError(
            f"{to} contains {len(own)} files that {place} lacks, such as {own[0]}, and would be replaced; "
            "give a new folder, or move those files away"
        )
    return to


def _record_of(folder: Path) -> Path:
    """Return the file in the cache that lists what earlier calls fetched to a folder, which has no other trace of them."""
    return cache_folder() / "fetched" / f"{hashlib.sha256(bytes(folder.resolve())).hexdigest()}.json"


def _files_below(folder: Path) -> list[Path]:
    """List a folder's files in order, also those below linked folders, without an index of this module.

    Raises:
        UserError: a link leads nowhere, or to a folder that contains it, or something is neither file nor folder.
    """
    files: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        above = {above.resolve() for above in (Path(place), *Path(place).parents)}
        looping = [Path(place, name) for name in folders if Path(place, name).resolve() in above]
        here = [Path(place, name) for name in names]
        if wrong := [*looping, *(path for path in here if not path.is_file())]:
            raise UserError(
                f"{wrong[0]} is no file, or a link that leads nowhere or back to its folder; remove it"
            )
        files.extend(here)
    return sorted(set(files) - {folder / INDEX})


def _raise(error: OSError) -> None:
    raise error


def _read_index(client: Any, folder: Address) -> list[Item]:
    sizes = s3.list_files(client, folder)
    if not sizes:
        raise UserError(f"there is nothing at {folder}; check the address, and that it was stored")
    if INDEX not in sizes:
        log.warning("%s has no %s, so nothing shows whether it is complete", folder, INDEX)
        return [Item(_safe(name, folder), size, None) for name, size in sizes.items()]
    place = folder.below(INDEX)
    with s3.translate_errors(place):
        body = client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    try:
        items = validated(list[Item], json.loads(body)["files"], source="files")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{place} is no index of files ({shortened(str(error))}); store the folder again"
        ) from error
    missing = [item.name for item in items if sizes.get(_safe(item.name, folder)) != item.size]
    if missing:
        raise UserError(
            f"{folder} is not complete: {len(missing)} files are missing or of another size, such as {missing[0]}; "
            "store it again, or wait until that is done"
        )
    return items


def _safe(name: str, folder: Address) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(f"{folder}: the name {name!r} leads out of the folder; it is not fetched")
    if str(path) != name or "\0" in name:
        raise UserError(f"{folder}: no file can have the name {name!r}; rename that object, then fetch again")
    return name


def _send(client: Any, source: Path, target: Address, item: Item, count: Callable[[int], None]) -> None:
    with s3.translate_errors(target), source.open("rb") as stream:
        client.upload_fileobj(
            stream,
            target.bucket,
            target.key,
            ExtraArgs={"Metadata": {HASH: str(item.sha256)}},
            Callback=count,
            Config=_transfer_config(),
        )
    if not _same(client, target, item):
        raise UserError(
            f"{target} differs from {source}; if the file changed during the call, store it again"
        )


def _get(client: Any, place: Address, item: Item, to: Path, count: Callable[[int], None]) -> None:
    with new_file(to) as partial:
        with s3.translate_errors(place), partial.open("wb") as stream:
            client.download_fileobj(
                place.bucket, place.key, stream, Callback=count, Config=_transfer_config()
            )
        if not _matches(partial, item):
            raise UserError(
                f"{place} did not arrive as it was stored ({item.size} bytes, SHA-256 {item.sha256 or 'unknown'}); "
                "fetch it again, and store it again if that does not help"
            )


def _transfer_config() -> "TransferConfig":
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=THREADS,
        num_download_attempts=s3.RETRIES,
    )


def _same(client: Any, target: Address, item: Item) -> bool:
    head = s3.head_object(client, target)
    return head is not None and _item(item.name, head) == item


def _item(name: str, head: dict[str, Any]) -> Item:
    return Item(name, head["ContentLength"], head.get("Metadata", {}).get(HASH))


def _matches(path: Path, item: Item) -> bool:
    if not path.is_file() or path.stat().st_size != item.size:
        return False
    return item.sha256 is None or sha256(path) == item.sha256


@contextmanager
def _byte_counter(description: str, items: Iterable[Item]) -> Iterator[Callable[[int], None]]:
    """Show progress in MiB; yield a thread-safe function that counts transferred bytes."""
    total, done, lock = sum(item.size for item in items), 0, threading.Lock()
    with progress(f"{description} (MiB)", -(-total // MEBIBYTE)) as bar:

        def count(num_bytes: int) -> None:
            nonlocal done
            with lock:
                done += num_bytes
                bar.advance(-(-done // MEBIBYTE) if done >= total else done // MEBIBYTE)

        yield count


def _moved(done: list[tuple[Item, bool]]) -> Moved:
    return Moved(len(done), sum(item.size for item, _ in done), sum(kept for _, kept in done))
