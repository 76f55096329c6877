"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from cascade_core.runtime.cores import use_free_cores, use_threads

Prepared = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the prepare step.")]
SplitsFolder = Annotated[Path, typer.Option("--splits", metavar="FOLDER", help="Folder of the splits step.")]
Text = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the text-vectors step.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override of the recipe; repeatable.")
]
OverridesFile = Annotated[
    Path | None,
    typer.Option("--overrides", metavar="FILE", help="YAML file whose section `overrides` is applied first."),
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="Policy for pixels of no class: dropped, threshold=0.3, prompts=sky,wall, or threshold=0.3,prompts=sky,wall; as trained if left out.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "--checkpoint",
        help="Model folder, checkpoint folder, mini (the package's own), or an address such as "
        "models:/mini-18-6-cascade_clip@champion.",
    ),
]
Clip = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="CLIP folder of a bare checkpoint; data/mini/clip if left out."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda or mps; if left out, a CUDA GPU if there is one.")
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Stages that run side by side; as many as the cores allow if left out."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads on a CPU; if left out, one for each core that other processes leave free."
    ),
]
UsableThreads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads on a CPU; if left out, one for each core that the process may use."),
]
StageThreads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of each stage on a CPU; if left out, one with a small CLIP, else all cores together.",
    ),
]


def choose_threads(stated: int | None) -> None:
    """Use the threads of `--threads`, or one for each free core."""
    if stated is None:
        use_free_cores()
    else:
        use_threads(stated)


DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only print how many trainings are left and their time.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="NUMBER", help="Trainings side by side; all cores if left out.")
]
TrainingsFolder = Annotated[
    Path, typer.Option("--work", metavar="FOLDER", help="Folder for all trainings, kept.")
]
