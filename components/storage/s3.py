"""S3-compatible object stores: addresses, a client configured by the environment, and errors of one sentence.

`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_DEFAULT_REGION` select the store and the
account; MLflow's artifacts and DVC use the same variables. boto3 retries transient failures with growing pauses.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from cascade_core.errors import UserError
from components.servers.addresses import check_endpoints, masked
from components.servers.certificates import VARIABLE as CA_VARIABLE
from components.servers.patience import AwayError
from components.storage.places import S3

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
RETRIES, CONNECT_SECONDS, READ_SECONDS = 5, 10, 60
CONNECTIONS = 16
"""The size of the connection pool: four files at a time, four parts of each."""

KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REFUSED = (
    "403",
    "401",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
)
"""Error codes for keys that are wrong, expired or not authorized."""
OTHER_REGION = (
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
)
MISSING = ("404", "NoSuchKey", "NotFound")
BUSY = ("500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown")
"""Error codes of transient failures, which may outlast the client's retries."""


@dataclass(frozen=True)
class Address:
    """The address of an object, or of a folder of objects with the same prefix."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{S3}{self.bucket}/{self.key}"

    def below(self, name: str) -> "Address":
        """Return the address of a file in this folder."""
        return Address(self.bucket, f"{self.key.rstrip('/')}/{name}" if self.key.strip("/") else name)


def address(uri: str) -> Address:
    """Parse an address such as s3://bucket/data/mini.

    Raises:
        UserError: `uri` has another form.
    """
    scheme, mark, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if f"{scheme.lower()}{mark}" != S3 or not bucket or "@" in bucket:
        raise UserError(
            f"{masked(uri)!r} is no address of an object store; give one like s3://bucket/data/mini"
        )
    return Address(bucket, key)


def connect(
    *,
    connect_seconds: float = CONNECT_SECONDS,
    read_seconds: float = READ_SECONDS,
    tries: int | None = None,
) -> Any:
    """Return a boto3 client for the store in the environment; each request has these timeouts and tries (`RETRIES`).

    Raises:
        UserError: the environment names an address, a profile or a region that cannot be used.
    """
    check_endpoints()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": tries or RETRIES},
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        max_pool_connections=CONNECTIONS,
    )
    try:
        # A new session: the default one remembers keys that the environment no longer holds.
        return boto3.Session().client("s3", config=config)
    except (exceptions.BotoCoreError, ValueError) as error:  # boto3 raises ValueError for an address
        raise UserError(
            f"no connection to an object store can be set up ({masked(str(error))}); check {ENDPOINT_VARIABLE}, AWS_PROFILE "
            "and AWS_DEFAULT_REGION"
        ) from error


def bucket_names(client: Any) -> list[str]:
    """Return the names of the buckets that the keys may list.

    Raises:
        UserError: the store does not answer, or refuses the keys.
    """
    with translate_errors("the list of buckets"):
        return [str(bucket["Name"]) for bucket in client.list_buckets().get("Buckets", ())]


def check_bucket(client: Any, place: Address) -> None:
    """Check that the store answers, accepts the keys and has the bucket, before any long work starts.

    Raises:
        UserError: one of these fails; the message says which.
    """
    if _unless_missing(place, lambda: client.head_bucket(Bucket=place.bucket)) is None:
        raise _no_bucket(place)


def head_object(client: Any, place: Address) -> dict[str, Any] | None:
    """Return the metadata of an object, or None if there is no such object."""
    return _unless_missing(place, lambda: client.head_object(Bucket=place.bucket, Key=place.key))


def read_object(client: Any, place: Address, *, most: int) -> bytes | None:
    """Return the first `most` bytes of an object, or None if there is no such object."""
    answer = _unless_missing(place, lambda: client.get_object(Bucket=place.bucket, Key=place.key))
    if answer is None:
        return None
    with translate_errors(place):
        return bytes(answer["Body"].read(most))


def _unless_missing(place: Address, request: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    with translate_errors(place):
        try:
            return request()
        except exceptions.ClientError as error:
            if _code(error) in MISSING:
                return None
            raise


def _objects(client: Any, folder: Address) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all objects in a folder and its subfolders: the name relative to it, and what the store lists of the object."""
    prefix = f"{folder.key.rstrip('/')}/" if folder.key.strip("/") else ""
    with translate_errors(folder):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(prefix), item


def list_files(client: Any, folder: Address) -> dict[str, int]:
    """Return the sizes in bytes of all objects in a folder and its subfolders, by names relative to it."""
    sizes = {name: item["Size"] for name, item in _objects(client, folder)}
    # Some tools create an empty object for a folder, with or without a slash at its end.
    parents = {str(parent) for name in sizes for parent in PurePosixPath(name).parents}
    for name in sorted(parents & sizes.keys()):
        if sizes[name]:
            raise UserError(
                f"{folder.below(name)} is a file and a folder at once, which no disk can hold; rename one of the two"
            )
    return {
        name: size for name, size in sizes.items() if name and not name.endswith("/") and name not in parents
    }


@dataclass(frozen=True)
class Subfolder:
    """The objects below a folder: their names relative to it, all bytes, and when the newest was written."""

    names: frozenset[str]
    num_bytes: int
    changed: datetime


def subfolders(client: Any, folder: Address) -> dict[str, Subfolder]:
    """Return the folders directly in a folder, by name; objects directly in it are left out."""
    objects: dict[str, dict[str, dict[str, Any]]] = {}
    for path, item in _objects(client, folder):
        name, slash, rest = path.partition("/")
        if slash:
            objects.setdefault(name, {})[rest] = item
    return {
        name: Subfolder(
            frozenset(items),
            sum(item["Size"] for item in items.values()),
            max(item["LastModified"] for item in items.values()),
        )
        for name, items in objects.items()
    }


def remove_folder(client: Any, folder: Address, *, first: str) -> None:
    """Remove all objects in a folder, the one named `first` before all others; none is no error."""
    for name in sorted(list_files(client, folder), key=lambda name: name != first):
        place = folder.below(name)
        with translate_errors(place):
            client.delete_object(Bucket=place.bucket, Key=place.key)


@contextmanager
def translate_errors(place: Address | str) -> Iterator[None]:
    """Turn boto3's errors into a `UserError` of one sentence about `place`.

    Raises:
        AwayError: the store does not answer, or is too busy.
        UserError: any other error of the store or of the connection to it.
    """
    where = f"{place} at {masked(os.environ.get(ENDPOINT_VARIABLE) or 'AWS')}"
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise UserError(f"{where}: no keys for the object store; set {KEYS}") from error
    except exceptions.SSLError as error:
        raise UserError(
            f"{where}: the object store's certificate is not trusted ({_said(error)}); name the authority's in "
            f"{CA_VARIABLE}, or write http:// in {ENDPOINT_VARIABLE} if the store speaks no TLS"
        ) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise AwayError(
            f"{where}: the object store does not answer ({_said(error)}); check that it runs and that {ENDPOINT_VARIABLE} "
            "is its address"
        ) from error
    except exceptions.ClientError as error:
        code = _code(error)
        if code == "NoSuchBucket" and isinstance(place, Address):
            raise _no_bucket(place) from error
        if code in REFUSED:
            raise UserError(
                f"{where}: the object store refuses ({code}); check {KEYS}, and that they may use the bucket"
            ) from error
        if code in BUSY:
            raise AwayError(f"{where}: the object store is busy ({_said(error)}); try again") from error
        way_out = "look the code up in the store's manual"
        if code == "RequestTimeTooSkewed":
            way_out = "set the clock of this machine"
        elif code in OTHER_REGION:
            way_out = "set AWS_DEFAULT_REGION to the bucket's region"
        raise UserError(f"{where}: {_said(error)}; {way_out}") from error
    except S3DownloadFailedError as error:
        raise UserError(f"{where}: it changed during the fetch; fetch it again") from error
    except RetriesExceededError as error:
        raise AwayError(
            f"{where}: its answers break off ({_said(error.last_exception)}); try again"
        ) from error
    except exceptions.BotoCoreError as error:
        raise UserError(f"{where}: {_said(error)}; check the address") from error


def _said(error: BaseException) -> str:
    return masked(" ".join(str(error).split()))


def _no_bucket(place: Address) -> UserError:
    return UserError(
        f"{place}: there is no bucket {place.bucket!r} in this store; create it, or correct the address"
    )


def _code(error: exceptions.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
