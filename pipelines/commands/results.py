"""Commands that use what was trained: registry, report, prediction, and the table over seeds.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Background, Checkpoint, Out
from pipelines.commands.registry import MaxSeenDrop, MinHiouGain, margins

Evaluations = Annotated[
    list[Path], typer.Option("--evaluation", help="Folder of an evaluate step; repeatable.")
]
Profiles = Annotated[list[Path], typer.Option("--profile", help="Folder of a profile step; repeatable.")]
Clip = Annotated[Path, typer.Option(help="CLIP folder, for its text tower.")]


def register(
    checkpoint: Checkpoint,
    evaluation: Annotated[Path, typer.Option(help="Folder of the checkpoint's evaluate step.")],
    profile: Annotated[Path, typer.Option(help="Folder of the method's profile step.")],
    out: Out,
    clip: Clip = Path("data/mini/clip"),
    name: Annotated[
        str | None, typer.Option(help="Registered name; <protocol>-<method> if left out.")
    ] = None,
    decision: Annotated[
        Path | None, typer.Option(help="Folder of a gate step that was asked about this model.")
    ] = None,
    min_hiou_gain: MinHiouGain = None,
    max_seen_drop: MaxSeenDrop = None,
) -> None:
    """Put a model into MLflow's registry.

    It becomes champion if the gate finds it better than the present one.
    """
    from components import register

    found = register.run(
        checkpoint=checkpoint,
        clip=clip,
        evaluation=evaluation,
        profile=profile,
        out=out,
        name=name,
        decision=decision,
        margins=margins(min_hiou_gain, max_seen_drop),
    )
    print(f"registered {found.uri}{', the champion' if found.champion else ''}: {found.reason}")


def report(
    evaluation: Evaluations,
    profile: Profiles,
    training: Annotated[
        list[Path] | None, typer.Option("--training", help="Folder of a training, for its curve; repeatable.")
    ] = None,
    out: Out = Path("reports"),
) -> None:
    """Gather results into a table and one page."""
    from components import report

    report.run(evaluations=evaluation, profiles=profile, trainings=training or (), out=out)


def predict(
    image: Annotated[Path, typer.Argument(help="Picture to segment.")],
    labels: Annotated[
        str, typer.Option(help="Class names, any at all that the CLIP's words allow, by commas.")
    ],
    checkpoint: Checkpoint = Path("outputs/self_train/cascade_clip/final"),
    clip: Clip = Path("data/mini/clip"),
    out: Annotated[Path, typer.Option(help="Folder for the three files.")] = Path(
        "local_outputs/predictions"
    ),
    background: Background = None,
) -> None:
    """Segment a picture into any classes.

    Writes a tinted overlay with a legend, the label map, and the names of its ids.
    """
    import torch

    from cascade_core.background import parse_background
    from cascade_core.predict import Segmenter, predict_files

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = None if background is None else parse_background(background)
    segmenter = Segmenter.load(checkpoint, clip, device=device, background=policy)
    files = predict_files(segmenter, image, [label.strip() for label in labels.split(",")], out)
    for path in (files.overlay, files.label_map, files.names):
        print(path)


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
    from pipelines import mini_results
    from pipelines.chains import Sources

    sources = Sources(
        prepared=outputs / "prepared", splits=outputs / "splits", text=outputs / "text", clip=clip
    )
    mini_results.run(
        sources=sources,
        seeds=_whole_numbers(seeds),
        split=split,
        work=work,
        markdown=results / "mini.md",
        rows_json=results / "mini.json",
        readme=readme,
        workers=workers,
    )
    print(results / "mini.md")


def _whole_numbers(listed: str) -> list[int]:
    try:
        return [int(part) for part in listed.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"--seeds {listed!r} are not whole numbers by commas, such as 0,1,2") from None
