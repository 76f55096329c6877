"""Commands that run on this machine and are not steps: workflow, preflight, transfers, mini table."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_core.clip.home import clip_folder
from cascade_core.configs.overrides import parse_overrides
from cascade_core.runtime.cores import use_threads
from cascade_core.runtime.option_texts import numbers
from cascade_core.runtime.targets import writable_file
from components.contract.shared import names_by_commas
from pipelines.cli.options import (
    DryRun,
    Jobs,
    Prepared,
    Set,
    SplitsFolder,
    StageThreads,
    Text,
    TrainingsFolder,
    Workers,
)
from pipelines.cli.printing import Json, print_json
from pipelines.graphs.runner import Data
from pipelines.workstation import mini_results as mini_table
from pipelines.workstation import workflow

if TYPE_CHECKING:
    from components.storage.transfer import Moved


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to run, with the stages they need; all if none.")
    ] = None,
    pull: Annotated[bool, typer.Option(help="Fetch missing data from the DVC remote.")] = True,
    force: Annotated[bool, typer.Option(help="Run unchanged stages too.")] = False,
    jobs: Jobs = None,
    threads: StageThreads = None,
) -> None:
    """Run the changed stages of the whole workflow and print its results."""
    from pipelines.workstation import project_files

    if threads is not None:
        use_threads(threads)
    project_files.refresh()
    workflow.repro(targets or (), pull=pull, force=force, jobs=jobs)
    workflow.print_outcome(targets or ())


def preflight(
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    clip: Annotated[
        Path | None,
        typer.Option(
            metavar="CLIP",
            help="CLIP folder or imported name; its text tower shows whether vectors are in class order.",
        ),
    ] = None,
    stored: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Vectors to compare with: .npy [classes, width].")
    ] = None,
    stored_order: Annotated[
        str | None, typer.Option(help="Label set of the rows of --stored; the protocol's if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that label maps, class names and text vectors agree.

    Run it before a long training or evaluation. --clip or --stored also checks that each vector belongs to its name.
    """
    from components.inputs.preflight import preflight as compare

    report = compare(
        prepared=prepared,
        splits=splits,
        text=text,
        clip=clip and clip_folder(clip),
        stored=stored,
        stored_order=stored_order,
    )
    if as_json:
        print_json(asdict(report))
        return
    for sentence in report.passed:
        print(f"ok    {sentence}")
    for sentence in report.notes:
        print(f"note  {sentence}")


def fetch(
    uri: Annotated[str, typer.Argument(help="s3://bucket/key of a file, or s3://bucket/prefix of a folder.")],
    to: Annotated[Path, typer.Option(help="File or folder to write; replaced whole, or unchanged on error.")],
) -> None:
    """Fetch a file or folder from an object store.

    Address and keys: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
    """
    from components.storage import transfer

    _print_transfer(transfer.fetch(uri, to), "fetched", to)


def store(
    path: Annotated[Path, typer.Argument(help="File or folder to store.")],
    uri: Annotated[str, typer.Argument(help="s3://bucket/key of a file, or the prefix of a folder.")],
) -> None:
    """Store a file or folder in an object store.

    Address and keys: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
    """
    from components.storage import transfer

    _print_transfer(transfer.store(path, uri), "stored", uri)


def _print_transfer(moved: "Moved", verb: str, target: object) -> None:
    present = f", {moved.kept} of them were there already" if moved.kept else ""
    print(f"{verb} {moved.files} files, {moved.num_bytes / 2**20:.1f} MiB{present}: {target}")


def mini_results(
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2,3,4,5,6,7,8,9",
    split: Annotated[str, typer.Option(help="Split to score; choose settings on val only.")] = "test2",
    outputs: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Folder with the outputs of prepare, splits and text-vectors.",
        ),
    ] = Path("outputs"),
    clip: Annotated[Path, typer.Option(metavar="FOLDER", help="CLIP folder, for its text tower.")] = Path(
        "data/mini/clip"
    ),
    work: TrainingsFolder = Path("local_outputs/mini"),
    results: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for mini.md and mini.json.")] = Path(
        "docs/results"
    ),
    methods: Annotated[
        str | None,
        typer.Option(
            help="Measure only these methods, separated by commas; keep the other rows of mini.json.",
            show_default="all",
        ),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File that shows the head of the table between its markers."),
    ] = Path("README.md"),
    workers: Workers = None,
    dry_run: DryRun = False,
) -> None:
    """Make the mini benchmark's table over seeds.

    Prints first how many trainings are left, and how long they take by those that were measured here. An interrupted call resumes.
    """
    mini_table.run(
        data=Data(
            prepared=outputs / "prepared",
            splits=outputs / "splits",
            text=outputs / "text",
            clip=clip_folder(clip),
        ),
        seeds=numbers("--seeds", seeds, int, example="0,1,2"),
        split=split,
        work=work,
        markdown=results / "mini.md",
        rows_json=results / "mini.json",
        methods=None if methods is None else names_by_commas(methods, source="--methods"),
        readme=readme,
        workers=workers,
        dry_run=dry_run,
    )
    if not dry_run:
        print(results / "mini.md")


def mini_worlds(
    world: Annotated[
        list[Path],
        typer.Option(
            metavar="FOLDER",
            help="Folder that `mini-data --out FOLDER` drew, with a CLIP of `pretrain --out FOLDER/clip`; repeat it.",
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Seeds of the decoders, separated by commas.")] = "0,1,2",
    split: Annotated[str, typer.Option(help="Split to score; choose settings on val only.")] = "test2",
    work: TrainingsFolder = Path("local_outputs/mini"),
    results: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for mini_worlds.md and mini_worlds.json.")
    ] = Path("docs/results"),
    workers: Workers = None,
    dry_run: DryRun = False,
) -> None:
    """Make the published methods' table over several CLIPs and drawings of the mini benchmark.

    The spread is over worlds, each with pictures and a CLIP of its own seed. data/mini is such a folder. An interrupted call resumes.
    """
    from pipelines.workstation import mini_worlds as table

    table.run(
        worlds=world,
        seeds=numbers("--seeds", seeds, int, example="0,1,2"),
        split=split,
        work=work,
        markdown=results / "mini_worlds.md",
        rows_json=results / "mini_worlds.json",
        workers=workers,
        dry_run=dry_run,
    )
    if not dry_run:
        print(results / "mini_worlds.md")


def mini_hard_results(
    raw: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder that `mini-data --world hard` drew.")
    ] = Path("local_outputs/hard"),
    drawings: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder that `mini-data --world hard-drawn` drew; without it no twin is scored.",
        ),
    ] = None,
    clip: Annotated[Path, typer.Option(metavar="FOLDER", help="CLIP folder.")] = Path("data/mini_hard/clip"),
    seeds: Annotated[str, typer.Option(help="Seeds of the decoders, separated by commas.")] = "0,1,2",
    split: Annotated[str, typer.Option(help="Split to score; choose settings on val only.")] = "test",
    set_: Set = None,
    work: TrainingsFolder = Path("local_outputs/mini_hard"),
    results: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for mini_hard.md and mini_hard.json.")
    ] = Path("docs/results"),
    workers: Workers = None,
    dry_run: DryRun = False,
) -> None:
    """Make the table of the harder benchmark mini-hard.

    ZegCLIP and Cascade-CLIP: inductive, self-trained in both modes, and with the labels of all classes. An interrupted call resumes.
    """
    from pipelines.workstation import mini_hard as table

    table.run(
        raw=raw,
        drawings=drawings,
        clip=clip,
        seeds=numbers("--seeds", seeds, int, example="0,1,2"),
        split=split,
        overrides=parse_overrides(set_ or ()),
        work=work,
        results=results,
        workers=workers,
        dry_run=dry_run,
    )
    if not dry_run:
        print(results / "mini_hard.md")


def scene_picture(
    evaluation: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="Folder of an evaluate step; repeat it for each method."),
    ] = [Path("outputs/evaluate/zegclip-inductive"), Path("outputs/evaluate/cascade_clip-inductive")],  # noqa: B006
    picture: Annotated[
        str | None, typer.Option(help="Name of the picture; if left out, a typical one that reads well.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="PNG file to write.")] = Path(
        "docs/pictures/mini.png"
    ),
) -> None:
    """Draw one scene with its truth and each method's prediction, as in the README.

    Without --picture the scene has at least four classes, two of them unseen, and its mean IoU under each method is the
    closest to that method's mean over all pictures.
    """
    from cascade_core.runtime.files import new_file
    from components.results import scene_picture as drawing

    writable_file(out)
    methods = drawing.methods_of(evaluation)
    scene = drawing.typical_scene(methods) if picture is None else drawing.scene_of(methods, picture)
    sheet = drawing.draw(scene, methods[0].pictures)
    with new_file(out) as path:
        sheet.quantize(256).save(path, format="PNG", optimize=True)
    scores = ", ".join(f"{one.name} {100 * (one.miou(scene.name) or 0):.1f}" for one in methods)
    print(f"{out}: {scene.name}, mIoU of this picture: {scores}")
