"""Files of more than one part, to and from an object store: an interrupted call goes on within the file.

What was sent of a file waits in the store as an upload that is not finished; the object `<key>.uploading` says
of what content it is, so that another machine can go on with it too. Each part that waits there is held
against the file by its MD5 (which stores give as ETag) and sent again where it differs. What was fetched of a
file lies beside its target, hidden and named after the content; it is always the beginning of the file.
"""

import glob
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from components.storage.s3 import MISSING, PENDING, RETRIES, Address, error_code, found

log = logging.getLogger(__name__)

MAX_PARTS = 10_000
"""What S3 takes of one object; a larger file gets larger parts."""
GONE = (*MISSING, "NoSuchUpload")
FIRST_PAUSE = 0.5

In = TypeVar("In")
Out = TypeVar("Out")
Count = Callable[[int], None]


def each(move: Callable[[In], Out], items: Iterable[In], *, threads: int) -> list[Out]:
    """Move several at a time; at the first error the ones not yet begun are left out."""
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(move, items))
    finally:
        pool.shutdown(cancel_futures=True)


def send(
    client: Any,
    source: Path,
    target: Address,
    *,
    metadata: dict[str, str],
    part_bytes: int,
    threads: int,
    count: Count,
) -> None:
    """Make the object `target` of a file, with what an interrupted call for the same `metadata` has sent already.

    The object appears when all of it is there. The errors are boto3's.
    """
    size = source.stat().st_size
    part_bytes = max(part_bytes, -(-size // MAX_PARTS))
    content = {**metadata, "part_bytes": part_bytes}
    place = {"Bucket": target.bucket, "Key": target.key}
    upload, there = _waiting(client, target, content) or (_begin(client, target, content, metadata), {})
    if there:
        log.info("%s: goes on after %d of %d parts", target, len(there), -(-size // part_bytes))

    def put(number: int) -> dict[str, Any]:
        body = _read(source, (number - 1) * part_bytes, part_bytes)
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        if there.get(number) != etag:
            etag = client.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        count(len(body))
        return {"PartNumber": number, "ETag": etag}

    sent = each(put, range(1, -(-size // part_bytes) + 1), threads=threads)
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": sent})
    client.delete_object(Bucket=target.bucket, Key=_note(target))


def receive(
    client: Any, place: Address, size: int, partial: Path, *, part_bytes: int, threads: int, count: Count
) -> None:
    """Append to `partial`, the beginning of an object's content, what it lacks; the errors are boto3's.

    Raises:
        OSError: the disk is full.
    """
    start = partial.stat().st_size if partial.exists() else 0
    if start > size:
        partial.unlink()
        start = 0
    count(start)
    head = found(client, place) or {}
    # Parts of two different contents must not meet in one file.
    same = {"Bucket": place.bucket, "Key": place.key, "IfMatch": head.get("ETag", "")}

    def get(offset: int) -> bytes:
        body = _body(client, Range=f"bytes={offset}-{min(offset + part_bytes, size) - 1}", **same)
        count(len(body))
        return body

    with partial.open("ab") as stream, ThreadPoolExecutor(threads) as pool:
        # A row of parts at a time, written in order: what is there is always a beginning, and memory has a bound.
        for row in range(start, size, threads * part_bytes):
            for body in pool.map(get, range(row, min(row + threads * part_bytes, size), part_bytes)):
                stream.write(body)


def partial_of(target: Path, sha256: str) -> Path:
    """Give the hidden file in which `target` grows, and remove those of other contents."""
    mine = target.with_name(f".{target.name}.{sha256[:16]}.part")
    for other in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 16}.part"):
        if other != mine:
            other.unlink()
    return mine


def _waiting(client: Any, target: Address, content: dict[str, Any]) -> tuple[str, dict[int, str]] | None:
    """Give the unfinished upload of the same content, with its parts' ETags; abort one of another content."""
    from botocore.exceptions import ClientError

    place = {"Bucket": target.bucket, "Key": target.key}
    try:
        note = json.loads(client.get_object(Bucket=target.bucket, Key=_note(target))["Body"].read())
        upload = {**place, "UploadId": note["upload"]}
        if note["content"] != content:
            client.abort_multipart_upload(**upload)
            return None
        pages = client.get_paginator("list_parts").paginate(**upload)
        return note["upload"], {
            part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", ())
        }
    except ClientError as error:
        if error_code(error) not in GONE:
            raise
    except (ValueError, KeyError, TypeError):
        log.warning("%s%s: is no note of an upload; it is begun anew", target, PENDING)
    return None


def _begin(client: Any, target: Address, content: dict[str, Any], metadata: dict[str, str]) -> str:
    begun = client.create_multipart_upload(Bucket=target.bucket, Key=target.key, Metadata=metadata)
    note = json.dumps({"upload": begun["UploadId"], "content": content}).encode()
    client.put_object(Bucket=target.bucket, Key=_note(target), Body=note)
    return str(begun["UploadId"])


def _note(target: Address) -> str:
    return f"{target.key}{PENDING}"


def _read(source: Path, offset: int, num_bytes: int) -> bytes:
    with source.open("rb") as stream:
        stream.seek(offset)
        return stream.read(num_bytes)


def _body(client: Any, **request: Any) -> bytes:
    """Read an answer; botocore repeats calls, but not the reading of an answer that breaks off."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    for attempt in range(1, RETRIES):
        stream = client.get_object(**request)["Body"]
        try:
            return bytes(stream.read())
        except (HTTPClientError, IncompleteReadError) as error:
            log.info("%s broke off (%s); attempt %d of %d", request["Key"], error, attempt + 1, RETRIES)
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
    return bytes(client.get_object(**request)["Body"].read())
