"""Commands about the Kubeflow pipeline: compile it, run it on this machine.

kfp is imported inside them, so that `--help` is at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.kubeflow_options import Image, Kind, Nodes, Pipeline, PipelineName
from pipelines.commands.models import SelfTraining
from pipelines.commands.options import OverridesFile, Set
from pipelines.overrides import parse_image_sets, parse_overrides


def compile_pipeline(
    pipeline: Pipeline = PipelineName.zero_shot,
    out: Annotated[Path | None, typer.Option(help="YAML file to write; build/PIPELINE.yaml if none.")] = None,
    kind: Kind = Nodes.cpu,
    image: Image = None,
) -> None:
    """Write a pipeline as YAML for a cluster."""
    from components import ops
    from pipelines import catalogue

    out = out or Path("build") / f"{pipeline.value}.yaml"
    catalogue.compile_pipeline(pipeline.value, out, kind=kind.value, image=image or ops.IMAGE)
    print(out)


def run_local(
    raw: Annotated[Path, typer.Option(help="Data set folder.")] = Path("data/mini/VOCdevkit/VOC2012"),
    clip: Annotated[Path, typer.Option(help="CLIP folder.")] = Path("data/mini/clip"),
    protocol: Annotated[str, typer.Option(help="Label set and unseen classes by name.")] = "mini-18-6",
    image_set: Annotated[
        list[str] | None,
        typer.Option(metavar="SPLIT=LISTS", help="Image lists of a split, joined by '+'; repeatable."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Recipe to train; repeatable; both of the mini benchmark if none."),
    ] = None,
    set_: Set = None,
    overrides: OverridesFile = None,
    seed: int = 0,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    self_training: Annotated[SelfTraining, typer.Option(help="Transductive protocol.")] = SelfTraining.oracle,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for a folder per run.")] = Path("local_outputs/kfp"),
) -> None:
    """Run the pipeline here, every step in a process.

    No container and no cluster: caching, resources and the image play no part.
    """
    from pipelines import local_run, workflow
    from pipelines.zero_shot import RECIPES

    done = local_run.run_local(
        raw=raw,
        clip=clip,
        out=out,
        protocol=protocol,
        image_sets=parse_image_sets(image_set) if image_set else None,
        recipes=recipe or RECIPES,
        overrides=parse_overrides(set_ or (), overrides),
        seed=seed,
        split=split,
        self_training=self_training.value,
        limit=limit,
    )
    workflow.tell_results(done.report)
