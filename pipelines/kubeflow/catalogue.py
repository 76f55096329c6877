"""The pipelines by name: what builds each, what checks its parameters, and how it becomes a file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import compiler

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from cascade_core.runtime.listing import by_name
from components import ops
from pipelines.graphs.defaults import ABLATION_RECIPES, RECIPES
from pipelines.kubeflow import ablation, benchmark, cross_dataset, zero_shot
from pipelines.kubeflow.batches import check_batches
from pipelines.kubeflow.checks import as_mapping, check_limit
from pipelines.kubeflow.resource_options import changed, images
from pipelines.kubeflow.resources import TRAINING_STEPS, Resources, resources

LIGHT = "<light image>"
"""Stands for the light image until the other's name is in place, which may be a part of it."""


@dataclass(frozen=True)
class Entry:
    """One pipeline: `build` takes the resources of each step, `check` the parameters that were given.

    `trains` are its steps that train, `recipes` what they train unless a parameter says otherwise.
    """

    build: Callable[[Mapping[str, Resources]], Any]
    check: Callable[[Mapping[str, Any]], None]
    trains: Sequence[str] = ()
    recipes: Sequence[str] = ()


PIPELINES: dict[str, Entry] = {
    "zero_shot": Entry(zero_shot.zero_shot_pipeline, zero_shot.check_parameters, TRAINING_STEPS, RECIPES),
    "cross_dataset": Entry(cross_dataset.cross_dataset_pipeline, cross_dataset.check_parameters),
    "ablation": Entry(ablation.ablation_pipeline, ablation.check_parameters, ("train",), ABLATION_RECIPES),
    "benchmark": Entry(benchmark.benchmark_pipeline, benchmark.check_parameters, TRAINING_STEPS, RECIPES),
}


def entry(name: str) -> Entry:
    """Give a pipeline by name.

    Raises:
        UserError: there is none of that name.
    """
    return by_name(name, PIPELINES, kind="pipeline")


def check_submission(
    name: str, values: Mapping[str, Any], *, kind: str = "cpu", changes: Iterable[str] = ()
) -> None:
    """Hold parameters against the pipeline's own rules, and batches against the table that trainings get.

    Raises:
        UserError: pipeline or kind is unknown, or a parameter, a change or a batch is not possible.
    """
    chosen = entry(name)
    chosen.check(values)
    check_limit(values.get("limit", 0))
    if values.get("models") != "champions":
        check_batches(
            values.get("recipes", chosen.recipes),
            as_mapping("overrides", values.get("overrides", "{}")),
            steps=chosen.trains,
            table=changed(resources(kind), changes),
        )


def compile_pipeline(
    name: str,
    out: Path,
    *,
    kind: str = "cpu",
    image: str | None = None,
    light_image: str | None = None,
    changes: Iterable[str] = (),
) -> None:
    """Write a pipeline as YAML for a cluster of a kind (`cpu`, `gpu`), with `changes` put into that kind's table.

    Steps that compute with a model run in `image`, all others in `light_image`; `pipelines/kubeflow/resource_options.py` says
    what either is if left out, and what changes look like.

    Raises:
        UserError: pipeline or kind is unknown, the file's name does not end in .yaml, or an image or a change
            is not possible.
    """
    with_torch, light = images(image, light_image)
    built = entry(name).build(changed(resources(kind), changes))
    if out.suffix != ".yaml":
        raise UserError(f"{out}: a compiled pipeline is YAML; give a name that ends in .yaml")
    with new_file(out) as path:
        # The compiler goes by the suffix, which the temporary name lacks.
        written = path.with_name(f"{path.name}.yaml")
        compiler.Compiler().compile(built, str(written))
        # The longer name first: the other one begins it.
        text = written.read_text().replace(ops.LIGHT_IMAGE, LIGHT).replace(ops.IMAGE, with_torch)
        path.write_text(text.replace(LIGHT, light))
        written.unlink()
