"""The command that shows a page in the browser: `cascade-clip demo`."""

from pathlib import Path
from typing import Annotated

import typer

from cascade_core.errors import UserError
from cascade_core.runtime.cores import use_threads
from cascade_core.shipped.contents import example_pictures
from pipelines.cli.options import Clip, Device, UsableThreads

MINI = "mini"
MOST_MODELS, MOST_EXAMPLES = 2, 12
NO_RESULTS = Path("no-folder-of-results")
"""Pictures are searched without leaving out the results of an earlier call."""


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "--checkpoint",
            help="Model folder, checkpoint folder, mini (the package's own), or an address such as models:/NAME@champion; "
            "twice for two models side by side. If left out, as for predict, but mini if no CLIP is at hand.",
        ),
    ] = None,
    clip: Clip = None,
    device: Device = None,
    threads: UsableThreads = None,
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

    It calls no other machine, and removes all pictures when it ends.
    """
    from cascade_core.configs.backbones import MINI_CLIP
    from cascade_core.data.pictures import read_image
    from components.demo.server import check_installed, serve
    from components.pictures.picture_files import picture_files
    from components.registry.default_model import is_at_hand, predictor_for
    from components.serving.listening import check_free
    from components.steps import import_clip

    if threads is not None:
        use_threads(threads)
    check_installed()
    if model and len(model) > MOST_MODELS:
        raise UserError(f"{len(model)} models are given; the page shows one or {MOST_MODELS} side by side")
    check_free(host, port)
    pictures = [] if examples is None else [file.path for file in picture_files([examples], out=NO_RESULTS)]
    for path in pictures[:MOST_EXAMPLES]:
        read_image(path)  # here, and not when somebody clicks it
    names: list[str] | list[None] = model or ([None] if is_at_hand(clip) else [MINI])
    predictors = [
        predictor_for(
            name,
            clip,
            device=device,
            import_clip=lambda name, tag: import_clip.run(source=name, tag=tag).folder,
        )
        for name in names
    ]
    are_mini = all(predictor.manifest.config.model.clip.name == MINI_CLIP.name for predictor in predictors)
    if are_mini and examples is None:
        pictures = list(example_pictures())
    if labels is None:
        labels = ", ".join(predictors[0].manifest.classes) if are_mini else ""
    serve(predictors, labels=labels, examples=pictures[:MOST_EXAMPLES], host=host, port=port)
