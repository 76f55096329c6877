"""Commands that run one step each; `pipelines.cli` puts them under their names.

Whatever is slow to import (torch, mlflow) is imported inside them, so that `--help` is at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.overrides import parse_image_sets, parse_overrides

Prepared = Annotated[Path, typer.Option(help="Folder of the prepare step.")]
SplitsFolder = Annotated[Path, typer.Option("--splits", help="Folder of the splits step.")]
Text = Annotated[Path, typer.Option(help="Folder of the text-vectors step.")]
Out = Annotated[Path, typer.Option(help="Folder to write; replaced whole, or left as it was on an error.")]
Protocol = Annotated[str, typer.Option(help="Label set and unseen classes by name, such as voc12-15-5.")]
Recipe = Annotated[str, typer.Option(help="Complete configuration by name, such as mini_zegclip.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override of the recipe; repeatable.")
]
OverridesFile = Annotated[
    Path | None, typer.Option("--overrides", help="YAML file whose section `overrides` is put in first.")
]
Resume = Annotated[bool, typer.Option(help="Go on from an interrupted run's last checkpoint.")]
Checkpoint = Annotated[Path, typer.Option(help="Checkpoint folder, such as outputs/train/zegclip/final.")]


def prepare(
    raw: Annotated[Path, typer.Option(help="Data set folder, such as one that holds VOCdevkit/VOC2012.")],
    protocol: Protocol,
    image_set: Annotated[
        list[str],
        typer.Option(metavar="SPLIT=LISTS", help="Image lists of a split, joined by '+'; repeatable."),
    ],
    out: Out = Path("outputs/prepared"),
) -> None:
    """Check a data set and write its index."""
    from components import prepare

    prepare.run(raw=raw, protocol=protocol, image_sets=parse_image_sets(image_set), out=out)


def splits(
    protocol: Protocol, prepared: Prepared = Path("outputs/prepared"), out: Out = Path("outputs/splits")
) -> None:
    """State seen and unseen classes and the pictures of each split."""
    from components import splits

    splits.run(prepared=prepared, protocol=protocol, out=out)


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


def mini_data(
    out: Annotated[Path, typer.Option(help="Folder to write; must not hold anything.")] = Path("data/mini"),
    seed: int = 0,
) -> None:
    """Draw the mini benchmark's pictures anew."""
    from components import mini_data

    mini_data.run(seed=seed, out=out)


def pretrain(
    out: Annotated[Path, typer.Option(help="CLIP folder to write.")] = Path("data/mini/clip"),
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps; the shipped weights' number if left out.")
    ] = None,
    seed: int = 0,
) -> None:
    """Pretrain the mini benchmark's tiny CLIP from nothing, with the image-caption contrastive loss alone."""
    from components import pretrain

    pretrain.run(steps=steps, seed=seed, out=out)


def import_clip(
    weights: Annotated[Path, typer.Argument(help="open_clip_model.safetensors of OpenAI's ViT-B/16.")],
    out: Annotated[Path, typer.Option(help="CLIP folder to write.")] = Path("data/clip/ViT-B-16"),
) -> None:
    """Convert OpenAI's ViT-B/16 weights, as open_clip publishes them, into a CLIP folder."""
    from cascade_core.clip import weights as clip_weights
    from cascade_core.recipes import CLIP_VIT_B16

    clip_weights.import_clip(weights, CLIP_VIT_B16, out)


def train(
    recipe: Recipe,
    out: Out,
    clip: Annotated[Path | None, typer.Option(help="CLIP folder.")] = None,
    random_clip: Annotated[
        bool, typer.Option(help="Random image tower instead: smoke runs and controls.")
    ] = False,
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    set_: Set = None,
    overrides: OverridesFile = None,
    seed: int = 0,
    resume: Resume = True,
) -> None:
    """Train a recipe inductively (or with --set train.supervision=full on all labels)."""
    from components import train

    if (clip is None) != random_clip:
        raise ValueError("train starts from --clip FOLDER, or from --random-clip: give exactly one of them")
    train.run(
        prepared=prepared,
        splits=splits,
        text=text,
        clip=clip,
        recipe=recipe,
        overrides=parse_overrides(set_ or (), overrides),
        seed=seed,
        out=out,
        resume=resume,
    )


def self_train(
    trained: Annotated[
        Path, typer.Option(help="Folder of the inductive training; its half-way checkpoint starts.")
    ],
    out: Out,
    protocol: Annotated[str, typer.Option(help="oracle (the papers') or strict.")] = "oracle",
    prepared: Prepared = Path("outputs/prepared"),
    splits: SplitsFolder = Path("outputs/splits"),
    text: Text = Path("outputs/text"),
    set_: Set = None,
    overrides: OverridesFile = None,
    resume: Resume = True,
) -> None:
    """Train on with pseudo-labels for the unseen classes (transductive setting)."""
    from components import self_train

    if protocol not in ("oracle", "strict"):
        raise ValueError(f"--protocol {protocol!r} is not known; self-training knows oracle and strict")
    self_train.run(
        prepared=prepared,
        splits=splits,
        text=text,
        trained=trained,
        protocol="oracle" if protocol == "oracle" else "strict",
        overrides=parse_overrides(set_ or (), overrides),
        out=out,
        resume=resume,
    )
