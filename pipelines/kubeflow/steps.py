"""What pipelines are made of: steps with their resources, the run in MLflow around them, and graphs of stated steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components import ops
from components.bodies.interface import cluster_of, input_name, inputs
from components.contract import Step
from components.ops import stated as of_steps
from pipelines.graphs.runner import Data
from pipelines.kubeflow.resources import Resources, nodes_of, waiting, with_resources

SHOWN_WITH_SETTING = ("evaluate",)
"""Steps that Kubeflow's page shows with their setting, such as "evaluate inductive"."""


@dataclass(frozen=True)
class Made:
    """A task that runs a stated step: as a handle of a graph it stands for its output."""

    task: dsl.PipelineTask
    output: Any

    @property
    def collected(self) -> Any:
        """The outputs of all turns of a loop together."""
        return dsl.Collected(self.output)


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

    def prepared(self, *, raw: Any, clip: Any, recipes: Any, **arguments: Any) -> tuple[Data[Any], Any]:
        """Prepare data; give what lies ready for all later steps, and the runs to loop over, one a recipe."""
        done = self(ops.prepare, raw=raw, clip=clip, recipes=recipes, **arguments)
        folders = {name: done.outputs[name] for name in ("prepared", "splits", "text")}
        return Data(raw=raw, clip=clip, **folders), done.outputs["Output"]

    def stated(
        self,
        stated: Step[Any, Any],
        data: Data[Any],
        setting: str = "",
        *,
        after: Sequence[Made] = (),
        **arguments: Any,
    ) -> Made:
        """Make a task of a stated step: this is the runner of `pipelines/graphs`."""
        named = {
            _input(stated, name): value.output if isinstance(value, Made) else value
            for name, value in arguments.items()
        }
        component = getattr(of_steps, stated.name)
        task = self(component, **data.given(dict(inputs(stated)), named))
        task.after(*(one.task for one in after))
        if setting and stated.name in SHOWN_WITH_SETTING:
            task.set_display_name(f"{stated.name} {setting}")
        return Made(task, task.outputs[cluster_of(stated).output])


def _input(stated: Step[Any, Any], name: str) -> str:
    """Give the name of a component's input for a parameter, or for a group of them."""
    return name if name in cluster_of(stated).grouped else input_name(stated.parameters[name])
