"""The pictures of a list by their addresses: a path, an object in a store, or a member of a tar (FILE.tar#member)."""

import tarfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from cascade_core.bulk.outcomes import PictureError
from cascade_core.errors import UserError
from cascade_core.runtime.stamp import Stamp
from components.servers.patience import patiently
from components.storage.places import in_store

MEMBER = ".tar#"
"""Ends the path of a tar in an address, before the member's name."""


@dataclass
class ListedPicture:
    """A picture of a list, by its position there.

    Attributes:
        version: what a changed picture changes, as `current_version` gives it; of the file that was read last.
    """

    position: int
    address: str
    store: "Store"
    version: str | None = field(default=None, compare=False)

    @property
    def where(self) -> str:
        return self.address

    def read(self) -> bytes:
        """Return the content of the picture's file, and note its version.

        Raises:
            PictureError: there is no such picture, or it cannot be read.
            UserError: the object store does not answer or refuses.
        """
        if in_store(self.address):
            content, self.version = self.store.read(self.address)
            return content
        # Before reading: a change meanwhile then counts as one.
        self.version = self.current_version()
        try:
            if MEMBER not in self.address:
                return Path(self.address).read_bytes()
            path, name = split_member(self.address)
            first, size = _member(path, name)
            with Path(path).open("rb") as stream:
                stream.seek(first)
                return stream.read(size)
        except OSError as error:
            raise PictureError(f"{self.address}: cannot be read ({error.strerror or error})") from error

    def current_version(self) -> str | None:
        """Return size and modification time of the file (or of its tar), or size and ETag of an object; None without one.

        Raises:
            UserError: the object store does not answer or refuses.
        """
        if in_store(self.address):
            return self.store.version(self.address)
        path = split_member(self.address)[0] if MEMBER in self.address else self.address
        stamp = Stamp.of(path)
        return None if stamp is None else str(stamp)


class Store:
    """The object store of the environment; connects when its first object is read."""

    def __init__(self) -> None:
        self._lock, self._connected = Lock(), None  # type: tuple[Lock, Any]

    def __reduce__(self) -> tuple[type["Store"], tuple[()]]:
        return Store, ()  # In another process, a picture's store connects anew.

    @property
    def client(self) -> Any:
        from components.storage import s3

        with self._lock:
            if self._connected is None:
                self._connected = s3.connect()
        return self._connected

    def read(self, uri: str) -> tuple[bytes, str]:
        """Return the content and the version of an object.

        Raises:
            PictureError: there is no such object.
            UserError: the store does not answer or refuses.
        """
        from components.storage import s3

        place = s3.address(uri)

        def once() -> tuple[bytes, str] | None:
            with s3.translate_errors(place):
                try:
                    answer = self.client.get_object(Bucket=place.bucket, Key=place.key)
                except self.client.exceptions.NoSuchKey:
                    return None
                return answer["Body"].read(), _version(answer)

        content = patiently(once)
        if content is None:
            raise PictureError(f"{uri}: there is no such object")
        return content

    def version(self, uri: str) -> str | None:
        from components.storage import s3

        head = patiently(lambda: s3.head_object(self.client, s3.address(uri)))
        return None if head is None else _version(head)


def _version(answer: dict[str, Any]) -> str:
    return f"{answer['ContentLength']}-{str(answer['ETag']).strip(chr(34))}"


def split_member(address: str) -> tuple[str, str]:
    """Return the path of a tar and the name of the member in it."""
    path, _, name = address.partition(MEMBER)
    return f"{path}.tar", name


def members(tar: str) -> dict[str, tuple[int, int]]:
    """Return where the content of each file in a tar begins, and its size in bytes; of equal names the last counts.

    Raises:
        UserError: the file is no uncompressed tar, or cannot be read.
    """
    try:
        with tarfile.open(tar, "r:") as archive:
            return {
                item.name.removeprefix("./"): (item.offset_data, item.size)
                for item in archive
                if item.isreg() and not item.issparse()
            }
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{tar}: cannot be read as a tar ({error}); it must be uncompressed and complete"
        ) from error


_TARS = Lock()


def _member(tar: str, name: str) -> tuple[int, int]:
    with _TARS:  # Several threads begin with the same tar.
        if (stamp := Stamp.of(tar)) is None:
            raise PictureError(f"{tar}: cannot be read (it is missing, or its folder is closed)")
        index = _index(tar, stamp)
    if name not in index:
        raise PictureError(f"{tar}: has no member {name}")
    return index[name]


@lru_cache(maxsize=4)
def _index(tar: str, stamp: Stamp) -> dict[str, tuple[int, int]]:
    return members(tar)
