"""The parts of `cascade-clip predict` that work on a list: a shard of it, and the joining of shards."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

import typer

from cascade_core.bulk.shards import Shard
from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from components.exchange.names import FormatName
from pipelines.cli import predict_format
from pipelines.cli.predict_work import Asked, Work, refuse

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor
    from components.bulk import shard as shard_work


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


def work(
    asked: Asked,
    shard: Shard,
    pictures: Sequence[str],
    lists: Sequence[str],
    out: str,
    *,
    engine: "shard_work.Engine | None",
    **given: object,
) -> Work:
    """Check a call for a shard before a model is loaded, and return its work; `given` are options for single pictures.

    Raises:
        UserError: one of these comes along, or a list cannot be read.
    """
    refuse(
        given,
        "is for single pictures; a shard writes label maps and a table: leave it out, or call without --list and --shard",
    )
    from components.bulk import shard as shard_work
    from components.bulk.listing import addresses

    listed = addresses(pictures, lists)

    def run(predictor: "Predictor") -> None:
        result = shard_work.run(
            predictor=predictor,
            pictures=listed,
            labels=asked.labels,
            out=out,
            shard=shard,
            scales=asked.scales,
            flip=asked.flip,
            batch=asked.batch,
            engine=engine,
        )
        kept = f", {result.kept:,} kept from before" if result.kept else ""
        errors = f", {result.failed:,} with an error in the table" if result.failed else ""
        print(f"{out}: shard {shard} has {result.pictures:,} of {len(listed):,} pictures{kept}{errors}")

    return run


def gather(out: str, form: FormatName) -> None:
    """Join the shards in `out`, print where the table is, and exit with 3 if a picture has an error."""
    saved_as = predict_format.of_shards(form)
    from components.bulk import gather as gathering

    result = gathering.run(out, saved_as)
    print(f"{out.rstrip('/')}/{gathering.TABLE}: {result.pictures:,} pictures")
    if saved_as is not None and result.names_below is not None:
        print(f"{out.rstrip('/')}/{saved_as.file}: names are relative to {result.names_below}")
    if result.failed:
        typer.echo(f"{result.failed:,} of {result.pictures:,} pictures failed: column error", err=True)
        raise typer.Exit(ExitCode.INCOMPLETE)
