"""Commands that use what was trained: registry, report, and the table over seeds."""

from pathlib import Path
from typing import Annotated

import typer

from cascade_core.runtime.option_texts import numbers

Clip = Annotated[Path, typer.Option(help="CLIP folder, for its text tower.")]


def mini_results(
    seeds: Annotated[str, typer.Option(help="Seeds by commas.")] = "0,1,2",
    split: Annotated[str, typer.Option(help="Split to score; choose settings on val only.")] = "test",
    outputs: Annotated[Path, typer.Option(help="Where prepare, splits and text have written.")] = Path(
        "outputs"
    ),
    clip: Clip = Path("data/mini/clip"),
    work: Annotated[Path, typer.Option(help="Folder for all trainings, kept.")] = Path("local_outputs/mini"),
    results: Annotated[Path, typer.Option(help="Folder for mini.md and mini.json.")] = Path("docs/results"),
    readme: Annotated[
        Path | None, typer.Option(help="File that shows the table's head between its markers.")
    ] = Path("README.md"),
    workers: Annotated[
        int | None, typer.Option(help="Trainings side by side; all cores if left out.")
    ] = None,
) -> None:
    """Make the mini benchmark's table over seeds."""
    from pipelines.graphs.runner import Data
    from pipelines.workstation import mini_results

    mini_results.run(
        data=Data(prepared=outputs / "prepared", splits=outputs / "splits", text=outputs / "text", clip=clip),
        seeds=numbers("--seeds", seeds, int, example="0,1,2"),
        split=split,
        work=work,
        markdown=results / "mini.md",
        rows_json=results / "mini.json",
        readme=readme,
        workers=workers,
    )
    print(results / "mini.md")
