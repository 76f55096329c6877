"""Commands about what others published: CLIP's weights, vectors of class names, the authors' checkpoints.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade_core.configs.overrides import parse_overrides
from cascade_core.configs.templates import TemplateSet, named_templates
from cascade_core.errors import UserError
from pipelines.cli.options import Out, OverridesFile, Set


class ActivationName(StrEnum):
    """What a CLIP's perceptrons compute."""

    quick_gelu = "quick_gelu"
    gelu = "gelu"


class SettingName(StrEnum):
    """How a released checkpoint was trained."""

    inductive = "inductive"
    transductive_oracle = "transductive_oracle"
    supervised = "supervised"


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
        activation=None if activation is None else activation.value,
        out=out,
        cache=cache,
    )
    print(f"{done.config.name}, {done.config.activation}: {done.folder}")


def text_vectors(
    protocol: Annotated[
        str | None, typer.Option(help="Label set and unseen classes by name, such as voc12-15-5.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="Or a text file of any names, a line each; synonyms behind '|'.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe whose prompt templates are used.")] = None,
    templates: Annotated[
        TemplateSet | None, typer.Option(help="Or templates by name: one, the authors' 15, CLIP's 80.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Or templates of your own, {} for the name; repeatable.")
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="CLIP folder whose text tower makes them.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="Or ready ones: .npy [classes, width].")] = None,
    background_names: Annotated[
        str, typer.Option(help="What stands for background, by commas; the recipe's or label file's if none.")
    ] = "",
    set_: Set = None,
    overrides: OverridesFile = None,
    out: Out = Path("outputs/text"),
) -> None:
    """Make one vector per class name.

    Vectors made once are kept: the same names, templates and weights cost nothing the second time.
    """
    from cascade_core.configs.recipes import recipe as named_recipe
    from components.steps import text_vectors

    if sum(given is not None for given in (recipe, templates, template)) != 1:
        raise UserError(
            "prompt templates come from --recipe, --templates or --template: give exactly one of them"
        )
    background: Sequence[str] = [name.strip() for name in background_names.split(",") if name.strip()]
    if recipe is not None:
        config = named_recipe(recipe, parse_overrides(set_ or (), overrides))
        texts, background = config.data.templates, background or config.evaluate.background.names
    elif set_ or overrides:
        raise UserError("--set and --overrides change what a recipe says; give it with --recipe")
    else:
        texts = named_templates(templates) if templates else tuple(template or ())
    match protocol, names:
        case str(), None:
            text_vectors.run(
                protocol=protocol,
                templates=texts,
                clip=clip,
                vectors=vectors,
                background=background,
                out=out,
            )
        case None, Path() if clip is not None and vectors is None:
            words, synonyms = text_vectors.read_names(names)
            text_vectors.of_names(names=words, synonyms=synonyms, templates=texts, clip=clip, out=out)
        case None, Path():
            raise UserError("vectors of --names are made by a CLIP: give --clip, and no --vectors")
        case _:
            raise UserError("class names come from --protocol or from --names FILE: give exactly one of them")


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth file of the authors' ZegCLIP or Cascade-CLIP.")],
    out: Out,
    protocol: Annotated[
        str | None, typer.Option(help="What it was trained on, where the file does not tell.")
    ] = None,
    setting: Annotated[
        SettingName | None, typer.Option(help="How it was trained, where the file does not tell.")
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
        setting=None if setting is None else setting.value,
    )
    print(f"{done.run.config.method}, {done.run.split.name}, {done.run.setting}: {done.final}")
    print(
        f"text tower (--clip): {done.text_tower}"
        if done.text_tower
        else "no text tower in it: give predict and register the CLIP folder it was trained from (--clip)"
    )
