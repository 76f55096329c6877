"""Commands about Kubeflow pipelines that need no cluster: compile one, run one on this machine.

kfp is imported inside them, so that `--help` is at once.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.kubeflow_options import (
    Image,
    Kind,
    LightImage,
    Nodes,
    Parameters,
    Pipeline,
    PipelineName,
    Resource,
    chosen_package,
    gathered_parameters,
)
from pipelines.cli.options import OverridesFile, Set

MINI_BENCHMARK = {"raw": "data/mini/VOCdevkit/VOC2012", "clip": "data/mini/clip"}


def compile_pipeline(
    pipeline: Pipeline = PipelineName.zero_shot,
    out: Annotated[Path | None, typer.Option(help="YAML file to write; build/PIPELINE.yaml if none.")] = None,
    kind: Kind = Nodes.cpu,
    image: Image = None,
    light_image: LightImage = None,
    resource: Resource = None,
) -> None:
    """Write a pipeline as YAML for a cluster."""
    from pipelines.kubeflow import catalogue

    out = out or Path("build") / f"{pipeline.value}.yaml"
    catalogue.compile_pipeline(
        pipeline.value, out, kind=kind.value, image=image, light_image=light_image, changes=resource or ()
    )
    print(out)


def run_local(
    pipeline: Pipeline = PipelineName.zero_shot,
    parameter: Parameters = None,
    recipe: Annotated[
        list[str] | None, typer.Option(help="Recipe to train; repeatable; those of the pipeline if none.")
    ] = None,
    set_: Set = None,
    overrides: OverridesFile = None,
    out: Annotated[Path, typer.Option(help="Folder for a folder per run.")] = Path("local_outputs/kfp"),
) -> None:
    """Run a pipeline here, every step in a process.

    No container and no cluster: caching, resources and the image play no part. Data and CLIP are those of the
    mini benchmark unless parameters name others.
    """
    from pipelines.kubeflow import local_run
    from pipelines.workstation import workflow

    given = [*(parameter or ()), *([f"recipes={json.dumps(recipe)}"] if recipe else ())]
    with chosen_package(pipeline, None, Nodes.cpu) as path:
        values = gathered_parameters(
            path, given, pipeline=pipeline, set_=set_, overrides=overrides, defaults=MINI_BENCHMARK
        )
    results = local_run.run_local(pipeline.value, values, out=out)
    if pipeline is PipelineName.zero_shot:
        workflow.tell_results(results)
    elif pipeline is PipelineName.benchmark:
        print(results / "benchmark.html")
    else:
        print((results / "table.md").read_text(), end="")
