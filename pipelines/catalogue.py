"""The pipelines by name: what builds each, what checks its parameters, and how it becomes a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import compiler

from cascade_core.files import new_file
from components import ops
from pipelines import ablation, benchmark, cross_dataset, zero_shot
from pipelines.resources import Resources, resources


@dataclass(frozen=True)
class Entry:
    """One pipeline: `build` takes the resources of each step, `check` the parameters that were given."""

    build: Callable[[Mapping[str, Resources]], Any]
    check: Callable[[Mapping[str, Any]], None]


PIPELINES: dict[str, Entry] = {
    "zero_shot": Entry(zero_shot.zero_shot_pipeline, zero_shot.check_parameters),
    "cross_dataset": Entry(cross_dataset.cross_dataset_pipeline, cross_dataset.check_parameters),
    "ablation": Entry(ablation.ablation_pipeline, ablation.check_parameters),
    "benchmark": Entry(benchmark.benchmark_pipeline, benchmark.check_parameters),
}


def entry(name: str) -> Entry:
    """Give a pipeline by name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PIPELINES:
        raise ValueError(f"unknown pipeline {name!r}; known are {', '.join(PIPELINES)}")
    return PIPELINES[name]


def compile_pipeline(name: str, out: Path, *, kind: str = "cpu", image: str = ops.IMAGE) -> None:
    """Write a pipeline as YAML for a cluster of a kind (`cpu`, `gpu`) that runs `image`.

    Raises:
        ValueError: pipeline or kind is unknown, or the file's name does not end in .yaml.
    """
    built = entry(name).build(resources(kind))
    if out.suffix != ".yaml":
        raise ValueError(f"{out}: a compiled pipeline is YAML; give a name that ends in .yaml")
    with new_file(out) as path:
        # The compiler goes by the suffix, which the temporary name lacks.
        written = path.with_name(f"{path.name}.yaml")
        compiler.Compiler().compile(built, str(written))
        path.write_text(written.read_text().replace(ops.IMAGE, image))
        written.unlink()
