"""The command that writes a model for use elsewhere: `cascade-clip export`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Clip, Out


def export(
    model: Annotated[
        str,
        typer.Argument(help="Model folder, checkpoint folder, or an address such as models:/NAME@champion."),
    ],
    out: Out,
    kind: Annotated[
        str,
        typer.Option(
            "--format", help="onnx; torch (torch.export, .pt2); folder (checkpoint and text tower)."
        ),
    ] = "onnx",
    clip: Clip = None,
    labels: Annotated[
        str | None, typer.Option(help="Class names by commas whose text vectors go beside the graph.")
    ] = None,
    labels_file: Annotated[Path | None, typer.Option(help="The same, a name on each line.")] = None,
) -> None:
    """Write a model as one graph that serves any vocabulary.

    Text vectors are an input; batch, classes and picture size are free. The graph is compared with torch
    before it is kept.
    """
    from components.registry.addresses import clip_for
    from components.steps import export
    from pipelines.cli.labels_given import labels_given

    names = None if labels is None and labels_file is None else labels_given(labels, labels_file)
    done = export.run(model=model, clip=clip_for(model, clip), out=out, kind=kind, labels=names)
    if done.difference is not None:
        print(f"largest difference to torch: {done.difference:.1e}")
    print(done.file)
