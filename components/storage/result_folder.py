"""A folder of results on a disk or in an object store: every file is written whole, or not at all."""

import contextlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cascade_core.runtime.files import new_file, system_errors_as_user_errors
from cascade_core.runtime.targets import check_gathering_folder
from components.servers.patience import AwayError, patiently
from components.storage.lease import LEASE_SECONDS, RENEWAL_SECONDS, FolderInUseError, leased
from components.storage.places import in_store

log = logging.getLogger(__name__)

WAITING_SECONDS = 5.0
"""The pause between two looks at a lease in a store."""
T = TypeVar("T")


class ResultFolder(Protocol):
    """What writes results; names are relative, with slashes."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if there is no such file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file."""
        ...

    def send(self, source: Path, name: str) -> None:
        """Write or replace a file by a copy of a local one."""
        ...

    def new(self, name: str, *, begins: bytes = b"") -> contextlib.AbstractContextManager[Path]:
        """Yield a path to write to; the file there becomes or replaces `name` when the block succeeds.

        Raises:
            UserError: on a disk, a file with another beginning stands there.
        """
        ...

    def names(self, folder: str) -> set[str]:
        """Return the names of the files directly in a subfolder, which may be missing."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is missing is no error."""
        ...

    def local(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Yield the path of a file on this machine, for the block."""
        ...

    def held(self, name: str, work: str, *, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Hold a lease during the block, so that no other process holds the one of this name.

        With `wait`, wait until another process releases it or lets it expire.

        Raises:
            UserError: without `wait`, another process holds it; the message calls what it does `work`.
        """
        ...


def result_folder(place: str) -> ResultFolder:
    """Return the folder at a path or an s3:// address.

    Raises:
        UserError: something else than a folder stands there, it takes no files, or the store refuses or is away.
    """
    if in_store(place):
        return _StoreFolder(place)
    check_gathering_folder(Path(place))
    return _DiskFolder(Path(place))


class _DiskFolder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes | None:
        with system_errors_as_user_errors():
            path = self.root / name
            return path.read_bytes() if path.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        with new_file(self.root / name) as path:
            path.write_bytes(content)

    def send(self, source: Path, name: str) -> None:
        with new_file(self.root / name) as path:
            shutil.copyfile(source, path)

    @contextmanager
    def new(self, name: str, *, begins: bytes = b"") -> Iterator[Path]:
        with new_file(self.root / name, begins=begins) as path:
            yield path

    def names(self, folder: str) -> set[str]:
        place = self.root / folder
        with system_errors_as_user_errors():
            return {path.name for path in place.iterdir()} if place.is_dir() else set()

    def remove(self, name: str) -> None:
        path = self.root / name
        with system_errors_as_user_errors():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # Other files are in the folder.
                path.parent.rmdir()

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        yield self.root / name

    @contextmanager
    def held(self, name: str, work: str, *, wait: bool = False) -> Iterator[None]:
        with leased(self.root / name, work=work, wait=wait):
            yield


class _StoreFolder:
    def __init__(self, uri: str) -> None:
        from components.storage import s3

        self._s3, self.root = s3, s3.address(uri.rstrip("/"))
        self._client = s3.connect()
        patiently(lambda: s3.check_bucket(self._client, self.root))

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes | None:
        place = self.root.below(name)
        return patiently(lambda: self._s3.read_object(self._client, place, most=2**31))

    def write(self, name: str, content: bytes) -> None:
        self._ask(name, lambda place: self._client.put_object(**place, Body=content))

    def send(self, source: Path, name: str) -> None:
        def upload(place: dict[str, str]) -> None:
            with source.open("rb") as stream:
                self._client.upload_fileobj(stream, place["Bucket"], place["Key"])

        self._ask(name, upload)

    @contextmanager
    def new(self, name: str, *, begins: bytes = b"") -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            with system_errors_as_user_errors(path):
                yield path
            self.send(path, name)

    def names(self, folder: str) -> set[str]:
        files = patiently(lambda: self._s3.list_files(self._client, self.root.below(folder)))
        return {name for name in files if "/" not in name}

    def remove(self, name: str) -> None:
        self._ask(name, lambda place: self._client.delete_object(**place))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            with system_errors_as_user_errors(path):

                def download(place: dict[str, str]) -> None:
                    with path.open("wb") as stream:
                        self._client.download_fileobj(place["Bucket"], place["Key"], stream)

                self._ask(name, download)
            yield path

    @contextmanager
    def held(self, name: str, work: str, *, wait: bool = False) -> Iterator[None]:
        """Hold the lease in an object that is written again every minute; five minutes later it has expired."""
        lease, ended, waited = f"{name}.lease", threading.Event(), False
        while not self._ask(lease, self._put_new):
            age = self._age(lease)
            if age is None or age >= LEASE_SECONDS:
                self.write(lease, b"")
                break
            if not wait:
                raise FolderInUseError(
                    f"{self.root.below(name)} is in use: another {work} writes it (renewed {age:.0f} s ago); wait for it, "
                    f"or {LEASE_SECONDS / 60:.0f} minutes after its death"
                )
            if not waited:
                log.info("%s: waiting for another %s", self.root.below(name), work)
                waited = True
            time.sleep(WAITING_SECONDS)

        def renew() -> None:
            while not ended.wait(RENEWAL_SECONDS):
                with contextlib.suppress(AwayError):  # The next write of results says so.
                    self.write(lease, b"")

        renewal = threading.Thread(target=renew, daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            self.remove(lease)

    def _put_new(self, place: dict[str, str]) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.put_object(**place, Body=b"", IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def _age(self, name: str) -> float | None:
        """Return the seconds since an object was written, by the store's own clock; None if there is none."""
        head = patiently(lambda: self._s3.head_object(self._client, self.root.below(name)))
        if head is None:
            return None
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - head["LastModified"]).total_seconds())

    def _ask(self, name: str, request: Callable[[dict[str, Any]], T]) -> T:
        place = self.root.below(name)

        def once() -> T:
            with self._s3.translate_errors(place):
                return request({"Bucket": place.bucket, "Key": place.key})

        return patiently(once)
