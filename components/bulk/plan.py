"""The plan that all shards of a list share, and the manifest of each: what lets one call see that another's differs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from cascade_core.bulk.shards import Shard, bucket_ranges, bucket_size
from cascade_core.errors import UserError
from cascade_core.runtime.listing import shortened
from cascade_core.runtime.validation import validated
from components.storage.result_folder import ResultFolder

PLAN = "plan.json"
SHARDS, MAPS = "shards", "label_maps"
"""The folders of the shards' tables and of the buckets' label maps."""


M = TypeVar("M", bound=BaseModel)


def as_json(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file, which depend on the content alone."""
    return f"{json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode()


class Plan(BaseModel):
    """What decides every shard's results: the list, the request, and how the list is cut.

    Attributes:
        list_sha256: the hash of the addresses in order.
        request: labels, model, settings and batch size.
        labels: the labels of the ids in label maps, which may end with background.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    pictures: int
    list_sha256: str
    shards: int
    bucket: int
    batch: int
    request: dict[str, Any]
    labels: list[str]

    def content(self) -> bytes:
        return as_json(self.model_dump())

    def sha256(self) -> str:
        return hashlib.sha256(self.content()).hexdigest()

    def table_metadata(self) -> dict[str, str]:
        """Return what tables say of themselves: the labels of the ids, as JSON."""
        return {"labels": json.dumps(self.labels, ensure_ascii=False, allow_nan=False)}

    def buckets(self) -> list[range]:
        """Return the positions of each bucket."""
        return bucket_ranges(self.pictures, self.bucket)


class ShardManifest(BaseModel):
    """What a finished shard wrote; it is written last, so that its presence marks the shard as finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    shard: str
    plan_sha256: str
    table_sha256: str
    pictures: int
    failed: int

    def content(self) -> bytes:
        return as_json(self.model_dump())


def make_plan(
    pictures: Sequence[str], *, shards: int, batch: int, request: dict[str, Any], labels: Sequence[str]
) -> Plan:
    """Return the plan for a list of addresses."""
    digest = hashlib.sha256()
    for address in pictures:
        digest.update(f"{address}\n".encode(errors="surrogateescape"))
    return Plan(
        pictures=len(pictures),
        list_sha256=digest.hexdigest(),
        shards=shards,
        bucket=bucket_size(len(pictures), batch),
        batch=batch,
        request=json.loads(json.dumps(request, allow_nan=False)),
        labels=list(labels),
    )


def agree(plan: Plan, out: ResultFolder) -> None:
    """Write the plan, or check that the shards which began before have the same.

    Raises:
        UserError: they have another, or what stands there is no plan.
    """
    before = read_plan(out)
    if before is None:
        out.write(PLAN, plan.content())
    elif before != plan:
        raise UserError(
            f"{out}: other shards there began with another {_difference(before, plan)}; repeat their call, or give another "
            "--out"
        )


def read_plan(out: ResultFolder) -> Plan | None:
    """Return the plan in a folder, or None if no shard began there.

    Raises:
        UserError: the file there is no plan.
    """
    content = out.read(PLAN)
    return None if content is None else _parsed(Plan, content, f"{out}/{PLAN}")


def read_shard_manifest(out: ResultFolder, shard: Shard) -> ShardManifest | None:
    """Return the manifest of a shard, or None if it is not finished.

    Raises:
        UserError: the file there is no manifest.
    """
    name = f"{SHARDS}/{shard.file_name}.json"
    content = out.read(name)
    return None if content is None else _parsed(ShardManifest, content, f"{out}/{name}")


def _difference(before: Plan, plan: Plan) -> str:
    if before.shards != plan.shards:
        return f"number of shards ({before.shards}, not {plan.shards})"
    if (before.pictures, before.list_sha256) != (plan.pictures, plan.list_sha256):
        return f"list of pictures ({before.pictures:,}, now {plan.pictures:,})"
    if before.batch != plan.batch:
        return f"batch size ({before.batch}, not {plan.batch})"
    names = [
        name
        for name in sorted(before.request.keys() | plan.request.keys())
        if before.request.get(name) != plan.request.get(name)
    ]
    return f"request ({', '.join(names) or 'labels'})"


def _parsed(model: type[M], content: bytes, where: str) -> M:
    try:
        return validated(model, json.loads(content), source=where)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where} was not written by `cascade-clip predict` ({shortened(str(error))}); give another --out"
        ) from error
