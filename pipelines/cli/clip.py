"""Commands about what others published: CLIP's weights, vectors of class names, the authors' checkpoints."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import Out


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
        Literal["quick_gelu", "gelu"] | None, typer.Option(help="Of a bare file, where no tag says it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CLIP folder to write; data/clip/<name> if left out.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="open_clip's cache folder, where it is not the usual one.")
    ] = None,
) -> None:
    """Make a CLIP folder from published weights.

    Of open_clip's models, which it fetches if they are not in its cache; or from OpenAI's archive, a safetensors
    file, or a folder as on the hub.
    """
    from components.steps import import_clip

    done = import_clip.run(
        source,
        tag=tag,
        activation=activation,
        out=out,
        cache=cache,
    )
    print(f"{done.config.name}, {done.config.activation}: {done.folder}")


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth file of the authors' ZegCLIP or Cascade-CLIP.")],
    out: Out,
    protocol: Annotated[
        str | None, typer.Option(help="What it was trained on, where the file does not tell.")
    ] = None,
    setting: Annotated[
        Literal["inductive", "transductive_oracle", "supervised"] | None,
        typer.Option(help="How it was trained, where the file does not tell."),
    ] = None,
) -> None:
    """Make a checkpoint of ours from the authors'.

    Writes the folder final/, which evaluate, profile, register and predict take, and CLIP's text tower if the
    file holds it.
    """
    from components.steps import convert

    done = convert.run(
        checkpoint=checkpoint,
        out=out,
        protocol=protocol,
        setting=setting,
    )
    print(f"{done.run.config.method}, {done.run.split.name}, {done.run.setting}: {done.final}")
    print(
        f"text tower (--clip): {done.text_tower}"
        if done.text_tower
        else "no text tower in it: give predict and register the CLIP folder it was trained from (--clip)"
    )
