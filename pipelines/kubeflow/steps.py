"""What pipelines are made of: steps with their resources, the run in MLflow around them, and data prepared."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components import ops
from pipelines.kubeflow.resources import Resources, nodes_of, waiting, with_resources


@dataclass(frozen=True)
class Steps:
    """Makes the steps of a pipeline, each with its resources of `table`."""

    table: Mapping[str, Resources]

    def __call__(self, component: Any, **arguments: Any) -> dsl.PipelineTask:
        """Give a step that runs one of `components.ops`, where the pipeline that is being built stands now."""
        row = self.table[component.name.replace("-", "_")]
        if row.nodes == 1:
            return with_resources(component(**arguments), row)
        nodes = nodes_of(row).model_dump_json()
        return with_resources(component(**arguments, nodes=nodes), waiting(row))

    @contextmanager
    def tracked(self, pipeline: str, experiment: str) -> Iterator[Any]:
        """Open the pipeline's run in MLflow around the steps of a block, and give its id; it is closed whatever breaks."""
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        closed = self(ops.close_run, protocol=experiment, kfp_run=run)
        with dsl.ExitHandler(exit_task=closed, name="tracked"):
            yield self(ops.open_run, pipeline=pipeline, protocol=experiment, kfp_run=run).output

    def prepared(self, *, raw: Any, recipes: Any, **arguments: Any) -> tuple[dict[str, Any], Any]:
        """Prepare data; give what all later steps take of them, and the runs to loop over, one a recipe."""
        done = self(ops.prepare, raw=raw, recipes=recipes, **arguments)
        folders = {name: done.outputs[name] for name in ("prepared", "splits", "text")}
        return {"raw": raw, **folders}, done.outputs["Output"]
