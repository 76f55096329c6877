"""The parts of `cascade-clip predict` that work on a list: a shard of it, and the joining of shards."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cascade_core.bulk.shards import Shard
from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor
    from components.bulk import shard as shard_work

ELSEWHERE = "s3://"


class Engine(StrEnum):
    """What computes a shard."""

    local = "local"
    ray = "ray"


def shard_of(shard: str | None, lists: Sequence[str]) -> Shard | None:
    """Return the shard of a call: the only one if just a list is given, None for a call without both.

    Raises:
        UserError: the text names no shard.
    """
    if shard is not None:
        return Shard.parse(shard)
    return Shard(0, 1) if lists else None


def engine_of(
    engine: Engine, part: Shard | None, *, device: str | None, precision: str | None, cores: int | None
) -> "shard_work.Engine | None":
    """Return what computes a shard in place of this process; None: this process does.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        UserError: an engine is named without a list or a shard; or Ray cannot take these options, or has no cluster.
    """
    if engine is Engine.local:
        return None
    if part is None:
        raise UserError(f"--engine {engine} computes a table; add --shard 0/1 or --list")
    if precision == "auto":
        raise UserError(
            "--precision auto depends on the machine, and actors may have several; give fp32 or bf16"
        )
    from components.bulk import ray_engine

    ray_engine.check_available(device)
    return partial(ray_engine.RayWorker, device=device, cores=cores)


def check_single_files(pictures: Sequence[str], out: str) -> Path:
    """Return the folder for the files of single pictures.

    Raises:
        UserError: a picture or the folder is in an object store or a tar, which only shards read and write.
    """
    if elsewhere := [
        text for text in (*pictures, out) if text.startswith(ELSEWHERE) or text.endswith(".tar")
    ]:
        raise UserError(
            f"{elsewhere[0]}: object stores and tars go with a table instead of files for each picture; add --shard 0/1"
        )
    if not pictures:
        raise UserError("no picture is given; give files, folders, patterns in quotes, examples, or a --list")
    return Path(out)


def check_table_options(**given: object) -> None:
    """Check that no option for single pictures comes with a list or a shard.

    Raises:
        UserError: one does.
    """
    if several := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise UserError(
            f"{several[0]} is for single pictures; a shard writes label maps and a table: leave it out, or call without "
            "--list and --shard"
        )


def listed_pictures(pictures: Sequence[str], lists: Sequence[str]) -> list[str]:
    """Return the address of every picture, as `components.bulk.listing` reads them."""
    from components.bulk.listing import addresses

    return addresses(pictures, lists)


def run_shard(
    predictor: "Predictor",
    pictures: Sequence[str],
    *,
    labels: Sequence[str],
    out: str,
    shard: Shard,
    scales: Sequence[float],
    flip: bool,
    batch: int,
    engine: "shard_work.Engine | None" = None,
) -> None:
    """Label a shard and print what it holds."""
    from components.bulk import shard as shard_work

    result = shard_work.run(
        predictor=predictor,
        pictures=pictures,
        labels=labels,
        out=out,
        shard=shard,
        scales=scales,
        flip=flip,
        batch=batch,
        engine=engine,
    )
    kept = f", {result.kept:,} kept from before" if result.kept else ""
    errors = f", {result.failed:,} with an error in the table" if result.failed else ""
    print(f"{out}: shard {shard} has {result.pictures:,} of {len(pictures):,} pictures{kept}{errors}")


def gather(out: str) -> None:
    """Join the shards in `out`, print where the table is, and exit with 3 if a picture has an error."""
    from components.bulk import gather as gathering

    result = gathering.run(out)
    print(f"{out.rstrip('/')}/{gathering.TABLE}: {result.pictures:,} pictures")
    if result.failed:
        typer.echo(f"{result.failed:,} of {result.pictures:,} pictures failed: column error", err=True)
        raise typer.Exit(ExitCode.INCOMPLETE)
