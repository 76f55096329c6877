"""The pipelines by name: how each is built, how its parameters are checked, and how it is compiled to a file."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kfp import compiler

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from cascade_core.runtime.listing import by_name
from cascade_core.runtime.targets import writable_file
from components.ops.image import IMAGE, LIGHT_IMAGE
from pipelines.graphs.defaults import ABLATION_RECIPES, RECIPES, SEEDS, SHARDS
from pipelines.kubeflow import ablation, benchmark, cross_dataset, predict, zero_shot
from pipelines.kubeflow.checks import check_batches, from_json
from pipelines.kubeflow.resources import TRAINING_STEPS, Resources, images, resources

ARGUMENT_BYTES, INDEX_BYTES, OTHER_BYTES = 131_072, 600, 4_096
"""Linux's limit on one argument of a process, and how much of it Kubeflow takes for each index of a run and for all else.

An artifact without metadata of ours took 532 bytes on a cluster; a longer address of the store needs more.
"""
COMPILED = b"# PIPELINE DEFINITION"
"""The beginning of a compiled pipeline; `compile_pipeline` replaces no other file."""


@dataclass(frozen=True)
class Entry:
    """A pipeline: `build` takes the resources of each step, `check` the parameters of a run.

    `trains` are its training steps, and `recipes` the recipes that they train by default. If it `has_gate_split`, `build`
    also takes whether the gate compares on the reported split: such runs need fewer evaluations.
    """

    build: Callable[..., Any]
    check: Callable[[Mapping[str, Any]], None]
    trains: Sequence[str] = ()
    recipes: Sequence[str] = ()
    has_gate_split: bool = False

    def built(self, table: Mapping[str, Resources], values: Mapping[str, Any] | None) -> Any:
        """Build the pipeline for a run with these parameters; without them, for any run."""
        if self.has_gate_split and values is not None:
            return self.build(table, one_split=zero_shot.on_one_split(values))
        return self.build(table)


PIPELINES: dict[str, Entry] = {
    "zero_shot": Entry(
        zero_shot.zero_shot_pipeline,
        zero_shot.check_parameters,
        TRAINING_STEPS,
        RECIPES,
        has_gate_split=True,
    ),
    "inductive": Entry(
        partial(zero_shot.zero_shot_pipeline, self_trains=False),
        partial(zero_shot.check_parameters, self_trains=False),
        ("train",),
        RECIPES,
        has_gate_split=True,
    ),
    "cross_dataset": Entry(cross_dataset.cross_dataset_pipeline, cross_dataset.check_parameters),
    "ablation": Entry(ablation.ablation_pipeline, ablation.check_parameters, ("train",), ABLATION_RECIPES),
    "benchmark": Entry(benchmark.benchmark_pipeline, benchmark.check_parameters, TRAINING_STEPS, RECIPES),
    "predict": Entry(predict.predict_pipeline, predict.check_parameters),
}


def entry(name: str) -> Entry:
    """Return a pipeline by name.

    Raises:
        UserError: there is no such pipeline.
    """
    return by_name(name, PIPELINES, kind="pipeline")


def check_submission(
    name: str, values: Mapping[str, Any], *, kind: str = "cpu", changes: Iterable[str] = ()
) -> None:
    """Check parameters by the pipeline's own rules, and batches against the resources of the training steps.

    Raises:
        UserError: the pipeline or kind is unknown, or a parameter, a change of resources or a batch is wrong.
    """
    pipeline, limit = entry(name), values.get("limit", 0)
    pipeline.check(values)
    _check_size(pipeline_items(name, values), values)
    if limit < 0:
        raise UserError(f"parameter limit is {limit}; give the number of pictures, or 0 for all")
    if (keep := values.get("keep", 0)) < 0:
        raise UserError(
            f"parameter keep is {keep}; give the number of old results to keep, or 0 to remove none"
        )
    if values.get("models") != "champions":
        check_batches(
            values.get("recipes", pipeline.recipes),
            from_json("overrides", values.get("overrides", "{}")),
            steps=pipeline.trains,
            table=resources(kind, changes),
        )


def pipeline_items(name: str, values: Mapping[str, Any]) -> int:
    """Return the number of iterations of a pipeline's loop."""
    if name == "cross_dataset":
        return len(values.get("targets", ()))
    if name == "predict":
        return int(values.get("shards", SHARDS))
    recipes = len(values.get("recipes", PIPELINES[name].recipes))
    has_seeds = name in ("ablation", "benchmark") and values.get("models") != "champions"
    return recipes * len(values.get("seeds", SEEDS)) if has_seeds else recipes


def most_items() -> int:
    """Return how many iterations a loop may have: the step that gathers their indices gets them in one argument."""
    return (ARGUMENT_BYTES - OTHER_BYTES) // INDEX_BYTES


def _check_size(items: int, values: Mapping[str, Any]) -> None:
    if items > (most := most_items()):
        raise UserError(
            f"the pipeline's loop has {items} iterations, and the step that gathers their results takes at most {most}: Kubeflow "
            "passes all of them in one argument; submit several runs with fewer recipes, seeds or targets, or give fewer shards"
        )
    size, room = len(json.dumps(values)), ARGUMENT_BYTES - OTHER_BYTES
    if size > room:
        longest = max(values, key=lambda name: len(json.dumps(values[name])))
        raise UserError(
            f"the parameters take {size:,} bytes, and Kubeflow can pass {room:,} to a step, which gets them in one argument; "
            f"the longest is {longest}: shorten it, or submit several runs"
        )


def compile_pipeline(
    name: str,
    out: Path,
    *,
    kind: str = "cpu",
    image: str | None = None,
    light_image: str | None = None,
    changes: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> None:
    """Compile a pipeline to YAML for a kind of cluster (`cpu`, `gpu`), with `changes` of that kind's resources.

    With the parameters `values` of a run, steps that this run does not need are left out.

    Steps that compute with a model run in `image`, all others in `light_image`. `pipelines/kubeflow/resources.py`
    documents the changes and the default images.

    Raises:
        UserError: the pipeline or kind is unknown, the file's name does not end in .yaml, or an image or a change is
            wrong.
    """
    if out.suffix != ".yaml":
        raise UserError(f"{out}: a compiled pipeline is YAML; give a name that ends in .yaml")
    writable_file(out, begins=COMPILED)  # before the seconds that a compilation takes
    pipeline = entry(name).built(resources(kind, changes), values)
    write_compiled(pipeline, out, image=image, light_image=light_image)


def write_compiled(pipeline: Any, out: Path, *, image: str | None, light_image: str | None) -> None:
    """Compile a pipeline of kfp to YAML with these images.

    Raises:
        UserError: an image is wrong.
    """
    torch_image, light = images(image, light_image)
    with new_file(out, begins=COMPILED) as path, TemporaryDirectory() as scratch:
        # The compiler wants a name in .yaml, which the temporary file lacks.
        compiled = Path(scratch, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(compiled))
        text = compiled.read_text(encoding="utf-8")
        # One pass for both images, because the light image's name starts with the other's.
        names = {LIGHT_IMAGE: light, IMAGE: torch_image}
        path.write_text(
            re.sub("|".join(map(re.escape, names)), lambda match: names[match[0]], text), encoding="utf-8"
        )
