"""Commands about Kubeflow pipelines that need no cluster: compile one, run one on this machine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.kubeflow_options import Chosen, Given, Made, PipelineName, unbundled

MINI_BENCHMARK = {"raw": "data/mini/VOCdevkit/VOC2012", "clip": "data/mini/clip"}


@unbundled
def compile_pipeline(
    made: Made,
    out: Annotated[Path | None, typer.Option(help="YAML file to write; build/PIPELINE.yaml if none.")] = None,
) -> None:
    """Write a pipeline as YAML for a cluster."""
    out = out or Path("build") / f"{made.pipeline}.yaml"
    made.write(out)
    print(out)


@unbundled
def run_local(
    given: Given,
    pipeline: Annotated[PipelineName, typer.Option(help="Which pipeline.")] = "zero_shot",
    recipe: Annotated[
        list[str] | None, typer.Option(help="Recipe to train; repeatable; those of the pipeline if none.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for a folder per run.")] = Path("local_outputs/kfp"),
) -> None:
    """Run a pipeline here, every step in a process.

    No container and no cluster: caching, resources and the image play no part. Data and CLIP are those of the
    mini benchmark unless parameters name others.
    """
    from pipelines.kubeflow import local_run
    from pipelines.workstation import workflow

    if recipe:
        given = replace(given, parameter=[*(given.parameter or ()), f"recipes={json.dumps(recipe)}"])
    chosen = Chosen(pipeline)
    with chosen.file() as path:
        values = given.checked(path, chosen, defaults=MINI_BENCHMARK)
    results = local_run.run_local(pipeline, values, out=out)
    if pipeline == "zero_shot":
        workflow.tell_results(results)
    elif pipeline == "benchmark":
        print(results / "benchmark.html")
    else:
        print((results / "table.md").read_text(), end="")
