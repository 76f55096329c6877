"""Commands about CLIP: its weights, vectors of class names.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Out, Protocol


class ActivationName(StrEnum):
    """What a CLIP's perceptrons compute."""

    quick_gelu = "quick_gelu"
    gelu = "gelu"


def import_clip(
    source: Annotated[
        str,
        typer.Argument(
            help="Model name such as ViT-B-16, with --tag; or a path: safetensors, OpenAI's .pt, a hub folder."
        ),
    ],
    tag: Annotated[
        str | None,
        typer.Option(help="Whose weights, as open_clip calls them: openai, laion2b_s34b_b88k, ..."),
    ] = None,
    activation: Annotated[
        ActivationName | None, typer.Option(help="Of a bare file, where no tag says it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CLIP folder to write; data/clip/<name> if left out.")
    ] = None,
    download: Annotated[bool, typer.Option(help="Let open_clip fetch weights that are not here.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="open_clip's cache folder, where it is not the usual one.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Compare with open_clip's own model.")] = True,
) -> None:
    """Make a CLIP folder from published weights.

    From open_clip's cache, OpenAI's archive, a safetensors file, or a folder as on the hub.
    """
    from components import import_clip

    done = import_clip.run(
        source,
        tag=tag,
        activation=None if activation is None else activation.value,
        out=out,
        download=download,
        cache=cache,
        check=check,
    )
    print(f"{done.config.name}, {done.config.activation}: {done.folder}")


def text_vectors(
    protocol: Protocol,
    recipe: Annotated[str, typer.Option(help="Recipe whose prompt templates are used.")],
    clip: Annotated[Path | None, typer.Option(help="CLIP folder whose text tower makes them.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="Or ready ones: .npy [classes, width].")] = None,
    out: Out = Path("outputs/text"),
) -> None:
    """Make one vector per class name."""
    from cascade_core import recipes
    from components import text_vectors

    templates = recipes.recipe(recipe).data.templates
    text_vectors.run(protocol=protocol, templates=templates, clip=clip, vectors=vectors, out=out)
