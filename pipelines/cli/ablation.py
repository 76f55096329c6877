"""The command that runs the papers' ablations."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cascade_core.clip.home import clip_folder
from cascade_core.runtime.option_texts import numbers
from pipelines.cli.options import DryRun, OverridesFile, Set, TrainingsFolder, Workers


def ablation(
    theme: Annotated[
        list[str] | None,
        typer.Argument(help="Themes, as --list names them; all but those for choices if none."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2,3,4",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Base recipe or recipe file, such as cascade_voc12; if left out, mini_zegclip or mini_cascade_clip."
        ),
    ] = None,
    set_: Set = None,
    overrides: OverridesFile = None,
    split: Annotated[
        str,
        typer.Option(
            help="Split to score; val for a theme for choices, and else nothing is chosen by the scores."
        ),
    ] = "test2",
    outputs: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder with the outputs of prepare, splits and text-vectors."),
    ] = Path("outputs"),
    clip: Annotated[Path, typer.Option(metavar="FOLDER", help="CLIP folder or imported name.")] = Path(
        "data/mini/clip"
    ),
    work: TrainingsFolder = Path("local_outputs/mini"),
    results: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the pages.")] = Path(
        "docs/results"
    ),
    workers: Workers = None,
    dry_run: DryRun = False,
    list_: Annotated[bool, typer.Option("--list", help="List the themes and stop.")] = False,
) -> None:
    """Run ablations of the papers and of other methods over seeds, and write a page for each theme.

    A theme is a grid: settings that change a base recipe, and the papers' claims about them. Each setting is trained with each
    seed; settings that are equal are trained once, and shared with mini-results. The page has the table with the difference to the
    published setting and its interval, a chart, and each claim with the words holds, does not hold or cannot be told.

    Prints first how many trainings are left, and how long they take by those that were measured here. An interrupted call resumes.
    On real data give --recipe, --outputs, --clip, and folders of their own for --work and --results.
    """
    if list_:
        _list()
        return
    from cascade_core.configs.overrides import parse_overrides
    from pipelines.graphs.runner import Data
    from pipelines.workstation import ablations

    pages = ablations.run(
        themes=ablations.themes_for(theme or (), recipe),
        base=recipe,
        overrides=parse_overrides(set_ or (), overrides),
        data=Data(
            prepared=outputs / "prepared",
            splits=outputs / "splits",
            text=outputs / "text",
            clip=clip_folder(clip),
        ),
        seeds=numbers("--seeds", seeds, int, example="0,1,2,3,4"),
        split=split,
        work=work,
        results=results,
        workers=workers,
        dry_run=dry_run,
    )
    for page in pages:
        print(page)


def _list() -> None:
    """Print a row for each theme."""
    from rich.console import Console
    from rich.table import Table

    from cascade_core.configs.ablations import THEMES
    from pipelines.cli.configurations import NO_TERMINAL_WIDTH
    from pipelines.workstation.ablations import BASES

    table = Table("theme", "question", "base", "settings", title="Ablations")
    for theme in THEMES.values():
        cells = ", ".join(cell.name for cell in theme.cells)
        table.add_row(theme.name, theme.title, BASES[theme.fusion], f"{len(theme.cells)}: {cells}")
    console = Console() if sys.stdout.isatty() else Console(width=NO_TERMINAL_WIDTH)
    console.print(table)
