"""Commands about registered models: ask the gate, list, show, serve, promote, roll back."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade_core.errors import UserError

if TYPE_CHECKING:
    from components.registry.versions import Version

ModelName = Annotated[str, typer.Argument(help="Registered name, such as mini-18-6-cascade_clip.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

SCORES = {"hiou": "hIoU", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)", "pAcc": "pAcc"}
TABLE_WIDTH = 140
"""Columns where the output is no terminal."""


def list_models(
    name: Annotated[str | None, typer.Argument(help="Only this model; all if left out.")] = None,
    as_json: Json = False,
) -> None:
    """List registered versions, champions marked."""
    from components.registry import versions as registry
    from components.tracking.store import open_store

    client = open_store()
    names = registry.model_names(client) if name is None else [name]
    found = [version for one in names for version in registry.versions(client, one)]
    if as_json:
        _print_json([_listed(version) for version in found])
    else:
        _print_table(found)


def show(
    name: ModelName,
    version: Annotated[int | None, typer.Argument(help="Version; the champion if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Show one version: its tags and its model card."""
    from components.registry import versions as registry
    from components.tracking.store import open_store

    client = open_store()
    line = registry.history(client, name)
    number = version if version is not None else next(reversed(line), None)
    if number is None:
        raise UserError(f"model {name!r} has no champion; give a version, or promote one")
    found = registry.version(client, name, number)
    if as_json:
        _print_json({**_listed(found), "description": found.description, "champion_history": line})
        return
    print(f"{found.uri}{'  (champion)' if found.champion else ''}")
    for key, value in sorted(found.tags.items()):
        print(f"  {key:<18} {value}")
    print(
        f"  {'champions so far':<18} {', '.join(str(one) for one in line) or 'none'}\n\n{found.description}"
    )


def serve(
    name: ModelName,
    version: Annotated[int | None, typer.Argument(help="Version; the champion if left out.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; there is no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 5001,
    max_mib: Annotated[float, typer.Option(help="Size of a request, above which it is answered 413.")] = 100,
    max_seconds: Annotated[float, typer.Option(help="Time to send it, after which it is answered 408.")] = 60,
    max_requests: Annotated[int, typer.Option(help="Requests at once; one more is answered 503.")] = 8,
) -> None:
    """Serve a version over HTTP as `mlflow models serve` does, with limits on requests."""
    from components.serving import server as serving
    from components.serving.request_limits import Limits

    limits = Limits(mib=max_mib, seconds=max_seconds, requests=max_requests)
    serving.serve(name, version=version, host=host, port=port, limits=limits)


def promote(
    name: ModelName,
    version: Annotated[int, typer.Argument(help="Version to make champion.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the version.")] = "promoted by hand",
) -> None:
    """Make a version the champion, whatever the gate says."""
    from components.registry import versions as registry
    from components.tracking.store import open_store

    client = open_store()
    held = registry.champion(client, name)
    before = None if held is None else held.number
    registry.promote(client, name, version, expected=before, reason=reason)
    print(f"{name}: version {version} is champion{'' if before is None else f', before it was {before}'}")


def rollback(name: ModelName) -> None:
    """Return to the champion before the present one."""
    from components.registry import versions as registry
    from components.tracking.store import open_store

    found = registry.roll_back(open_store(), name)
    print(f"{name}: version {found.number} is champion again")


def record(
    folders: Annotated[list[Path], typer.Argument(help="Folders of steps, or with such below.")],
) -> None:
    """Make the MLflow runs of steps that ended while the store was away, from their folders.

    May be called again: nothing is added twice.
    """
    from components.tracking.run_record import record_folders

    for run_id in record_folders(folders):
        print(f"recorded run {run_id}")


def _listed(version: "Version") -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.number,
        "champion": version.champion,
        "uri": version.uri,
        "created": version.created.isoformat(timespec="seconds"),
        "run_id": version.run_id,
        "tags": dict(version.tags),
    }


def _print_table(found: list["Version"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Registered models")
    for name in ("model", "version", "setting", "seed", "split"):
        table.add_column(name, no_wrap=True)
    for name in SCORES.values():
        table.add_column(name, justify="right", no_wrap=True)
    for version in found:
        tags = version.tags
        table.add_row(
            version.name,
            f"{version.number}{' champion' if version.champion else ''}",
            *(tags.get(key, "-") for key in ("setting", "seed", "split")),
            *(_percent(tags.get(score)) for score in SCORES),
        )
    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    console.print(table)


def _percent(fraction: str | None) -> str:
    return "-" if fraction is None else f"{100 * float(fraction):.1f}"


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
