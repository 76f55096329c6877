"""S3-like object stores: addresses, a client made from the environment alone, and errors said in one sentence.

`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_DEFAULT_REGION` say where and who; the
same names drive MLflow's artifacts and DVC. Transient failures are retried by boto3, with growing pauses.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cascade_core.errors import UserError
from components.patience import AwayError

SCHEME = "s3://"
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
RETRIES, CONNECT_SECONDS, READ_SECONDS = 5, 10, 60
CONNECTIONS = 16
"""Kept open at most: four files at a time, four parts of each."""

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
"""Codes by which stores say that the keys are wrong, out of date, or may not do this."""
MISSING = ("404", "NoSuchKey", "NotFound")
BUSY = ("500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown")
"""Codes of what may pass, though not within the tries of the client."""


@dataclass(frozen=True)
class Address:
    """A place in an object store: one object, or, as a prefix, a folder of them."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def below(self, name: str) -> "Address":
        """Give the address of a file of this folder."""
        return Address(self.bucket, f"{self.key.rstrip('/')}/{name}" if self.key.strip("/") else name)


def address(uri: str) -> Address:
    """Read an address such as s3://bucket/data/mini.

    Raises:
        UserError: it is none.
    """
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not bucket:
        raise UserError(f"{uri!r} is no address of an object store; one looks like s3://bucket/data/mini")
    return Address(bucket, key)


def connect() -> Any:
    """Give a client for the store that the environment names."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": RETRIES}
    config = Config(
        retries=retries,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
    )
    # A session of its own: the default one remembers keys that the environment no longer holds.
    return boto3.Session().client("s3", config=config)


def check_bucket(client: Any, place: Address) -> None:
    """Make sure, before anything long starts, that the store answers, knows us, and has the bucket.

    Raises:
        UserError: one of these does not hold; the message says which.
    """
    if _unless_missing(place, lambda: client.head_bucket(Bucket=place.bucket)) is None:
        raise _no_bucket(place)


def found(client: Any, place: Address) -> dict[str, Any] | None:
    """Give what the store says of one object, or None if it has none there."""
    return _unless_missing(place, lambda: client.head_object(Bucket=place.bucket, Key=place.key))


def _unless_missing(place: Address, ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    with told(place):
        try:
            return ask()
        except ClientError as error:
            if error_code(error) in MISSING:
                return None
            raise


def listed(client: Any, folder: Address) -> dict[str, int]:
    """Give the names of all objects below a folder, relative to it, with their sizes."""
    prefix = f"{folder.key.rstrip('/')}/" if folder.key.strip("/") else ""
    sizes: dict[str, int] = {}
    with told(folder):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                sizes[item["Key"].removeprefix(prefix)] = item["Size"]
    # Some tools put an empty object in a folder's place.
    return {name: size for name, size in sizes.items() if name and not name.endswith("/")}


@contextmanager
def told(place: Address) -> Iterator[None]:
    """Turn what boto3 raises into one sentence about `place`.

    Raises:
        AwayError: the store does not answer, or is too busy to.
        UserError: in place of whatever else the store or the way to it brought up.
    """
    from botocore import exceptions
    from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

    where = f"{place} at {os.environ.get(ENDPOINT_VARIABLE) or 'AWS'}"
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise UserError(f"{where}: no keys to go in with; set {KEYS}") from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        kind = UserError if isinstance(error, exceptions.SSLError) else AwayError
        raise kind(
            f"{where}: the object store does not answer ({error}); see that it runs and that {ENDPOINT_VARIABLE} is its "
            "address"
        ) from error
    except exceptions.ClientError as error:
        code = error_code(error)
        if code == "NoSuchBucket":
            raise _no_bucket(place) from error
        if code in REFUSED:
            raise UserError(
                f"{where}: the object store refuses ({code}); check {KEYS}, and that they may use the bucket"
            ) from error
        if code in BUSY:
            raise AwayError(f"{where}: the object store is busy ({error})") from error
        raise UserError(f"{where}: {error}") from error
    except S3DownloadFailedError as error:
        raise UserError(f"{where}: it was changed while it was fetched; fetch it again") from error
    except RetriesExceededError as error:
        raise AwayError(f"{where}: its answers break off ({error.last_exception}); try again") from error
    except exceptions.BotoCoreError as error:
        raise UserError(f"{where}: {error}") from error


def _no_bucket(place: Address) -> UserError:
    return UserError(
        f"{place}: there is no bucket {place.bucket!r} in this store; make it, or mend the address"
    )


def error_code(error: Any) -> str:
    """Give the code by which a store says what is wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))
