"""Commands about benchmark reruns."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from cascade_core.configs.overrides import parse_overrides
from cascade_core.runtime.exit_codes import ExitCode
from components.results import accepted
from pipelines.cli.options import OverridesFile, Set, Workers
from pipelines.cli.printing import Json, print_json
from pipelines.workstation import benchmark_plan


def run(
    params: Annotated[Path, typer.Option(metavar="FILE", help="File with the section benchmark.")] = Path(
        "params.yaml"
    ),
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Recipe to rerun; repeatable; all recipes of the data sets if none."),
    ] = None,
    models: Annotated[
        Literal["train", "champions"] | None,
        typer.Option(help="Train recipes, or take registered champions; the file's if none."),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed; repeatable; the file's if none.")] = None,
    set_: Set = None,
    overrides: OverridesFile = None,
    accept: Annotated[bool, typer.Option(help="Accept this rerun: later ones are compared with it.")] = False,
    workers: Workers = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder; resumes the interrupted rerun in it, if any. A new one if left out.",
        ),
    ] = None,
) -> None:
    """Train recipes or take champions, score and time them, and compare with the accepted rerun.

    Exits with 3 if quality or speed regressed.
    """
    plan = benchmark_plan.BenchmarkPlan.read(params)
    rerun = benchmark_plan.run(
        plan=plan,
        out=out or Path("local_outputs/benchmark") / f"{datetime.now(tz=UTC):%Y%m%d-%H%M%S}",
        recipes=recipe or (),
        seeds=seed or (),
        overrides=parse_overrides(set_ or (), overrides),
        accept=accept,
        workers=workers,
        models=models,
    )
    for change in rerun.changes:
        if change.verdict != "no change":
            print(change.line())
    print(f"benchmark: {rerun.outcome}")
    print(f"report     {rerun.page.resolve()}")
    print(f"rerun      {rerun.run_id}")
    if rerun.outcome == "regressed":
        raise typer.Exit(ExitCode.INCOMPLETE)


def history(as_json: Json = False) -> None:
    """List reruns, the latest last; a star marks the accepted rerun of each kind of models."""
    from rich.console import Console
    from rich.table import Table

    reruns = accepted.history()
    current = [accepted.last_accepted(accepted.of_kind(reruns, kind)) for kind in get_args(accepted.Models)]
    if as_json:
        print_json(
            [
                {**asdict(rerun), "when": rerun.when.isoformat(), "current": rerun in current}
                for rerun in reruns
            ]
        )
        return
    table = Table("", "when", "code", "models", "outcome", "rerun", box=None)
    for rerun in reruns:
        table.add_row(
            "*" if rerun in current else "",
            f"{rerun.when:%Y-%m-%d %H:%M}",
            (rerun.commit or "-")[:12],
            rerun.models,
            rerun.outcome,
            rerun.run_id,
        )
    Console().print(table)


def accept(
    rerun: Annotated[str, typer.Argument(help="Id of a rerun, as `benchmark history` prints it.")],
) -> None:
    """Accept a rerun: later ones are compared with it."""
    last = accepted.accept(rerun)
    print(f"accepted {last.run_id} of {last.when:%Y-%m-%d %H:%M} UTC")
