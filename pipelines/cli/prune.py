"""The command that removes old results: versions, runs, trainings and artifacts that nothing needs."""

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.listing import by_name
from components.cluster.names import ARTIFACTS_VARIABLE, TRAININGS_VARIABLE
from components.retention.rule import USUAL_DAYS, USUAL_KEEP
from pipelines.cli.printing import Json, print_json

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from components.retention.pruning import Outcome
    from components.retention.rule import Item


def prune(
    keep: Annotated[
        int, typer.Option(help="Keep this many of each group: of a model's setting, of a pipeline.", min=1)
    ] = USUAL_KEEP,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", help="Keep everything that is younger.", min=0)
    ] = USUAL_DAYS,
    trainings: Annotated[
        str | None,
        typer.Option(
            envvar=TRAININGS_VARIABLE,
            metavar="PLACE",
            help="Folder or s3:// address of finished trainings; not looked at if none.",
        ),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            envvar=ARTIFACTS_VARIABLE,
            metavar="ADDRESS",
            help="Where Kubeflow keeps a folder for each pipeline, such as s3://mlpipeline/v2/artifacts; not looked at if none.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help="Only version, files, run, training or artifacts; repeatable; all if none."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove; without it the command only says what would go.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove old results that nothing needs.

    Without --yes, only says what would go. Champions stay, and what an alias, a rollback or an accepted benchmark names, what
    runs, the newest of each group, and everything young. Exits with 3 if something could not be removed.
    """
    from components.retention import pruning

    kinds = [
        by_name(name, {kind: kind for kind in pruning.KINDS}, kind="kind") for name in only or pruning.KINDS
    ]
    items = pruning.plan(keep=keep, days=older_than, trainings=trainings, artifacts=artifacts, kinds=kinds)
    if trainings is None and "training" in kinds:
        log.info("finished trainings are not looked at: --trainings names no place")
    if artifacts is None and "artifacts" in kinds:
        log.info("Kubeflow's artifacts are not looked at: --artifacts names no address")
    outcomes: dict[int, Outcome] = {}
    for outcome in pruning.carry_out(items) if yes else ():
        outcomes[id(outcome.item)] = outcome
        # At once, so that an interrupted call has said what it did.
        print(f"{outcome.verdict}: {outcome.item.kind} {outcome.item.name}", file=sys.stderr)
    if as_json:
        print_json([_record(item, outcomes.get(id(item))) for item in items])
    else:
        _print_table(items, outcomes)
        goes = sum(not item.stays for item in items)
        if goes and not yes:
            print(f"{goes} of {len(items)} would go; --yes removes them")
    if any(outcome.error for outcome in outcomes.values()):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _record(item: "Item", outcome: "Outcome | None") -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.name,
        "made": item.made.isoformat(timespec="seconds"),
        "bytes": item.num_bytes,
        "verdict": outcome.verdict if outcome else _planned(item),
    }


def _planned(item: "Item") -> str:
    return f"stays: {item.stays}" if item.stays else "would go"


def _print_table(items: "Sequence[Item]", outcomes: "dict[int, Outcome]") -> None:
    lines = [
        (
            item.kind,
            item.name,
            f"{item.made:%Y-%m-%d %H:%M}",
            "" if item.num_bytes is None else f"{item.num_bytes / 2**20:,.1f} MiB",
            outcomes[id(item)].verdict if id(item) in outcomes else _planned(item),
        )
        for item in items
    ]
    widths = [max((len(line[place]) for line in lines), default=0) for place in range(4)]
    for line in lines:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, line[4]]).rstrip())
