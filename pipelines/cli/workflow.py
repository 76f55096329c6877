"""The command for everything: run what changed of the whole workflow."""

from typing import Annotated

import typer


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to run, with what they need; all if none.")
    ] = None,
    pull: Annotated[bool, typer.Option(help="Fetch missing data from the DVC remote.")] = True,
    force: Annotated[bool, typer.Option(help="Run stages that did not change, too.")] = False,
) -> None:
    """Run what changed of the whole workflow, tell results."""
    from pipelines.workstation import workflow

    workflow.repro(targets or (), pull=pull, force=force)
    workflow.tell_outcome(targets or ())
