"""The parts of a pipeline: steps with their resources, the MLflow run around them, and the runner of graphs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.bodies.between_steps import TRAINING
from components.bodies.interface import REUSE, cluster_of, input_name, inputs, labels
from components.contract import Folder, Step
from components.ops import data as data_components
from components.ops import results, retention, runs
from components.ops import stated as step_components
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.kubeflow.resources import Resources, nodes_of, waiting, with_resources


@dataclass(frozen=True)
class StepTask:
    """The task of a step, and its output; a graph uses it as the handle of that output."""

    task: dsl.PipelineTask
    output: Any

    def part(self, name: str | None) -> Any:
        """Return the output of this name; without one, the step's main output."""
        return self.output if name is None else self.task.outputs[name]


@dataclass(frozen=True)
class Steps:
    """Makes the tasks of a pipeline, each with its row of the resources `table`."""

    table: Mapping[str, Resources]

    def __call__(self, component: Any, **arguments: Any) -> dsl.PipelineTask:
        """Make a task of a component, at the current place of the pipeline under construction."""
        row = self.table[component.name.replace("-", "_")]
        if row.nodes == 1:
            return with_resources(component(**arguments), row)
        return with_resources(component(**arguments, nodes=nodes_of(row).model_dump_json()), waiting(row))

    @contextmanager
    def mlflow_run(self, pipeline: str, experiment: str, **targets: Any) -> Iterator[Any]:
        """Open the pipeline's run in MLflow around a block; an exit handler closes it in any case.

        Yields the outputs of the first step: `run`, the id, and `Output`, the items of a loop over `targets`.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        trainjobs = any(row.nodes > 1 for row in self.table.values())
        close = self(runs.close_run, protocol=experiment, kfp_run=run, trainjobs=trainjobs)
        with dsl.ExitHandler(exit_task=close, name="tracked"):
            opened = self(runs.open_run, pipeline=pipeline, protocol=experiment, kfp_run=run, **targets)
            yield opened.outputs

    def prune(self, keep: Any, after: dsl.PipelineTask) -> None:
        """Remove old results after a task, if the parameter `keep` is more than 0."""
        with dsl.If(keep > 0, name="old-results-go"):
            self(retention.prune, keep=keep).after(after)

    def prepare(self, *, raw: Any, clip: Any, **arguments: Any) -> tuple[Data[Any], Any]:
        """Prepare the data; return them for later steps, with the items of the loop."""
        task = self(data_components.prepare, raw=raw, clip=clip, **arguments)
        folders = {name: task.outputs[name] for name in ("prepared", "splits", "text")}
        return Data(raw=raw, clip=clip, **folders), task.outputs["Output"]

    def run_step(
        self,
        step: Step[Any, Any],
        data: Data[Any],
        setting: str = "",
        *,
        after: Sequence[StepTask] = (),
        **arguments: Any,
    ) -> StepTask:
        """Make the task of a step with a statement: this is the runner of `pipelines/graphs`."""
        cluster = cluster_of(step)
        own = {
            name if name in cluster.grouped else input_name(step.parameters[name]): (
                value.part(_part(step, name)) if isinstance(value, StepTask) else value
            )
            for name, value in arguments.items()
        }
        names = {*dict(inputs(step)), *labels(step), *((REUSE,) if cluster.trains else ())}
        task = self(getattr(step_components, step.name), **data.arguments(names, own))
        task.after(*(earlier.task for earlier in after))
        if setting:
            task.set_display_name(f"{step.name} {setting}")
        return StepTask(task, task.outputs[cluster.output])

    def index_both(
        self, data: Data[Any], inductive: Measured[Any], transductive: Measured[Any], *, pictures: bool
    ) -> Any:
        """End an iteration with the index of a training and its self-training; otherwise as `index`."""
        return self.index(
            results.index_both,
            data,
            inductive=inductive.evaluation,
            transductive=transductive.evaluation,
            cost=inductive.cost,
            training=inductive.model.part(TRAINING),
            self_training=transductive.model.part(TRAINING),
            pictures=pictures,
        )

    def index(self, component: Any, data: Data[Any], **inputs: Any) -> Any:
        """End an iteration of a loop with the index of its run; return the indices of all iterations together."""
        folders = {
            name: value.output if isinstance(value, StepTask) else value for name, value in inputs.items()
        }
        task = self(component, recipe=data.recipe, seed=data.seed, **folders)
        return dsl.Collected(task.outputs["index"])


def _part(step: Step[Any, Any], name: str) -> str | None:
    """Return the part of another step's output that a parameter takes; None for all of it."""
    meaning = step.parameters[name].meaning
    return meaning.part if isinstance(meaning, Folder) else None
