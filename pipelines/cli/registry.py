"""Commands about registered models and recorded runs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade_core.errors import UserError
from cascade_core.runtime.cores import use_threads
from components.registry import versions as registry
from components.registry.versions import Version
from components.tracking import displacement
from components.tracking.displacement import warn_of_move
from components.tracking.run_record import record_folders
from components.tracking.store import masked_uri, open_existing_store
from pipelines.cli.options import UsableThreads
from pipelines.cli.printing import Json, print_json

ModelName = Annotated[str, typer.Argument(help="Registered name, such as mini-18-6-cascade_clip.")]

SCORES = {"hiou": "hIoU", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)", "pAcc": "pAcc"}
TABLE_WIDTH = 140
"""Columns of a table that is not printed on a terminal."""


def list_models(
    name: Annotated[str | None, typer.Argument(help="Only this model; all if left out.")] = None,
    as_json: Json = False,
) -> None:
    """List registered versions of the MLflow store, and mark the champions."""
    client = open_existing_store("list models of")
    warn_of_move(client)
    names = registry.model_names(client) if name is None else [name]
    versions = [version for model in names for version in registry.versions(client, model)]
    if as_json:
        print_json([_listed(version) for version in versions])
    else:
        _print_table(versions)


def show(
    name: ModelName,
    version: Annotated[int | None, typer.Argument(help="Version; the champion if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Show one version: its tags and its model card."""
    client = open_existing_store("show a model of")
    warn_of_move(client)
    details = registry.version_or_champion(client, name, version)
    champions = registry.history(client, name)
    if as_json:
        print_json({**_listed(details), "description": details.description, "champion_history": champions})
        return
    print(f"{details.uri}{'  (champion)' if details.champion else ''}")
    tags = {
        **dict(sorted(details.tags.items())),
        "champions so far": ", ".join(map(str, champions)) or "none",
    }
    for key, value in tags.items():
        print(f"  {key:<18} {value}")
    print(f"\n{details.description}")


def serve(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the model; that of the project in the working folder if left out."),
    ] = None,
    version: Annotated[int | None, typer.Argument(help="Version; the champion if left out.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; the server has no password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 5001,
    max_mib: Annotated[float, typer.Option(help="Largest request, in MiB; a larger one gets 413.")] = 100,
    max_seconds: Annotated[
        float,
        typer.Option(
            help="Longest time to send a request (408), to wait for the model (503), and to take the answer; headers "
            "have at most 15 s."
        ),
    ] = 60,
    max_requests: Annotated[
        int, typer.Option(help="Most complete requests that wait or are answered; one more gets 503.")
    ] = 64,
    max_total_mib: Annotated[
        float, typer.Option(help="Memory of all requests and answers together, in MiB; one more gets 503.")
    ] = 800,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Also serve the page of `demo` at /demo; if left out, if its extra is installed.",
        ),
    ] = None,
    threads: UsableThreads = None,
) -> None:
    """Serve a version over HTTP as `mlflow models serve` does, with limits on requests, a page, PNG answers and metrics."""
    from components.demo.server import check_installed, is_installed, mounted
    from components.serving import server
    from components.serving.request_limits import Limits
    from pipelines.graphs.project import is_project, read_project

    if threads is not None:
        use_threads(threads)
    if demo:
        check_installed()
    limits = Limits(mib=max_mib, seconds=max_seconds, requests=max_requests, total_mib=max_total_mib)
    name = name or (read_project().task if is_project() else None)
    if name is None:
        raise UserError(
            "serve needs the name of a model: `cascade-clip models list` shows those that there are; in a project's folder "
            "`task` in params.yaml names its model"
        )

    def make_demo(predictor: Any, path: str, folder: Path) -> Any:
        try:
            classes = predictor.default_labels
        except UserError:  # it has none, or is a version of before there were any
            classes = ()
        return mounted([predictor], labels=", ".join(classes), examples=[], path=path, folder=folder)

    wanted = is_installed() if demo is None else demo
    server.serve(
        name,
        version=version,
        host=host,
        port=port,
        limits=limits,
        make_demo=make_demo if wanted else None,
    )


def manifest(
    name: ModelName,
    version: Annotated[
        int | None, typer.Argument(help="Version; the champion at each start if left out.")
    ] = None,
    image: Annotated[
        str, typer.Option(help="Container image with torch, as `make images` builds and you pushed it.")
    ] = "registry.example/cascade-clip-workflow:0.1.0-python3.11",
    service: Annotated[
        str | None,
        typer.Option("--name", help="Name of the service; the model's, in small letters, if left out."),
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Resource of one GPU, such as nvidia.com/gpu.")] = None,
    memory: Annotated[str, typer.Option(help="Memory of the container.")] = "4Gi",
) -> None:
    """Print a KServe InferenceService that serves a model in a cluster, for `kubectl apply -f -`."""
    import yaml

    from components.serving.inference_service import inference_service

    content = inference_service(name, image=image, version=version, name=service, gpu=gpu, memory=memory)
    print(yaml.safe_dump(content, sort_keys=False), end="")


def promote(
    name: ModelName,
    version: Annotated[int, typer.Argument(help="Version to make champion.")],
    reason: Annotated[str, typer.Option(help="Why; stored with the version.")] = "promoted by hand",
) -> None:
    """Make a version the champion, whatever the gate decided."""
    client = open_existing_store("promote in")
    champion = registry.champion(client, name)
    before = None if champion is None else champion.number
    registry.promote(client, name, version, expected=before, reason=reason)
    print(f"{name}: version {version} is champion{'' if before is None else f', before it was {before}'}")


def rollback(name: ModelName) -> None:
    """Return to the champion before the present one."""
    champion = registry.roll_back(open_existing_store("roll back in"), name)
    print(f"{name}: version {champion.number} is champion again")


def record(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders that steps wrote, or folders that contain them.")
    ],
) -> None:
    """Record steps that ended while the tracking store was away, from their folders.

    Safe to repeat: nothing is recorded twice.
    """
    for run_id in record_folders(folders):
        print(f"recorded run {run_id}")


def relocate() -> None:
    """Make a moved or copied MLflow store use the files beside it.

    For the sqlite file of a project that was moved, copied, or unpacked elsewhere: MLflow keeps the whole addresses of files.
    Changes addresses in the database, all or none, and no file.
    """
    file, changed = displacement.relocate()
    print(f"{file}: {changed} addresses changed" if changed else f"{file}: its files are beside it")


def _listed(version: Version) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.number,
        "champion": version.champion,
        "uri": version.uri,
        "created": version.created.isoformat(timespec="seconds"),
        "run_id": version.run_id,
        "tags": dict(version.tags),
    }


def _print_table(versions: list[Version]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Registered models of {masked_uri()}")
    for name in ("model", "version", "method", "setting", "seed", "split"):
        table.add_column(name, no_wrap=True)
    for name in SCORES.values():
        table.add_column(name, justify="right", no_wrap=True)
    for version in versions:
        tags = version.tags
        table.add_row(
            version.name,
            f"{version.number}{' champion' if version.champion else ''}",
            *(tags.get(key, "-") for key in ("method", "setting", "seed", "split")),
            *(_percent(tags.get(score)) for score in SCORES),
        )
    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    console.print(table)


def _percent(fraction: str | None) -> str:
    return "-" if fraction is None else f"{100 * float(fraction):.1f}"
