"""The command that shows a page in the browser: `cascade-clip demo`."""

from pathlib import Path
from typing import Annotated

import typer

from cascade_core.errors import UserError
from cascade_core.shipped.contents import MODELS, example_pictures
from pipelines.cli.options import Clip, Device

MOST_MODELS, MOST_EXAMPLES = 2, 12
NO_RESULTS = Path("no-folder-of-results")
"""Pictures are searched without leaving out the results of an earlier call."""


def demo(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--checkpoint",
            help="Model folder, checkpoint folder, mini (the package's own), or an address such as models:/NAME@champion; "
            "twice for two models side by side.",
        ),
    ] = ["mini"],  # noqa: B006 (typer copies it)
    clip: Clip = None,
    device: Device = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Class names, separated by commas, to start with; for mini, its own if left out."),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help=f"Folder of pictures to choose from; its first {MOST_EXAMPLES}."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; the page has no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 7860,
) -> None:
    """Show a page in the browser: a photograph and class names in, areas in colour out.

    It calls no other machine, and forgets a picture when the visitor leaves.
    """
    from cascade_core.data.pictures import read_image
    from components.demo.server import check_installed, serve
    from components.pictures.picture_files import picture_files
    from components.registry.addresses import clip_for, load_predictor
    from components.serving.listening import check_free

    check_installed()
    if len(model) > MOST_MODELS:
        raise UserError(f"{len(model)} models are given; the page shows one or {MOST_MODELS} side by side")
    check_free(host, port)
    is_mini = all(name in MODELS for name in model)
    if examples is not None:
        pictures = [file.path for file in picture_files([examples], out=NO_RESULTS)]
    else:
        pictures = list(example_pictures()) if is_mini else []
    pictures = pictures[:MOST_EXAMPLES]
    for path in pictures:
        read_image(path)  # here, and not when somebody clicks it
    predictors = [load_predictor(name, clip_for(name, clip), device=device) for name in model]
    serve(
        predictors,
        labels=labels if labels is not None else ", ".join(predictors[0].manifest.classes) if is_mini else "",
        examples=pictures,
        host=host,
        port=port,
    )
