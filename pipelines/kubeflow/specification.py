"""What a run's own compiled pipeline says of its steps: their order, names, images, resources and time limits."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Stated:
    """What the compiled pipeline says of a step.

    Attributes:
        name: the name that Kubeflow's page shows.
        order: a sort key; steps come after those that they depend on.
        image: the container image; "" if the pipeline does not say.
        requests: CPU, memory, GPUs and node labels, as one phrase.
        minutes: the time limit of one try; None without a limit.
    """

    name: str
    order: tuple[int, ...]
    image: str = ""
    requests: str = ""
    minutes: float | None = None

    @property
    def row(self) -> str:
        """The step's row in the resources table."""
        return re.sub(r"-\d+$", "", self.name.partition(" ")[0]).replace("-", "_")


@dataclass(frozen=True)
class Specification:
    """A compiled pipeline as the server returns it with a run; `pipeline` is empty if it does not."""

    pipeline: Mapping[str, Any]
    platform: Mapping[str, Any]

    @classmethod
    def of(cls, answer: Any) -> "Specification":
        """Read the field `pipeline_spec` of a run, with or without Kubernetes settings; other values are empty."""
        if not isinstance(answer, Mapping):
            return cls({}, {})
        if "pipeline_spec" in answer:
            return cls(answer["pipeline_spec"] or {}, answer.get("platform_spec") or {})
        return cls(answer, {})

    @classmethod
    def of_package(cls, package: Path) -> "Specification":
        """Read a compiled pipeline's file."""
        documents = list(yaml.safe_load_all(package.read_text(encoding="utf-8")))
        return cls(documents[0], documents[1] if len(documents) > 1 else {})

    def to_server(self) -> dict[str, Any]:
        """Return the field `pipeline_spec` of a request."""
        if not self.platform:
            return dict(self.pipeline)
        return {"pipeline_spec": self.pipeline, "platform_spec": self.platform}

    @property
    def name(self) -> str:
        """The pipeline's name; "" if it is unknown."""
        return str(self.pipeline.get("pipelineInfo", {}).get("name", ""))

    def defaults(self) -> dict[str, Any]:
        """Return the default values of the pipeline's parameters."""
        parameters = self.pipeline.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        return {name: entry["defaultValue"] for name, entry in parameters.items() if "defaultValue" in entry}

    def step(self, path: Sequence[str]) -> Stated | None:
        """Return what is said of the step at a path of task names below the root; None if there is no such step."""
        component, order, task = self.pipeline.get("root", {}), [], {}
        for name in path:
            tasks = component.get("dag", {}).get("tasks", {})
            if name not in tasks:
                return None
            task = tasks[name]
            order.append(list(_in_order(tasks)).index(name))
            component = self.pipeline.get("components", {}).get(task.get("componentRef", {}).get("name"), {})
        label = component.get("executorLabel")
        if label is None:
            return None
        executors = self.pipeline.get("deploymentSpec", {}).get("executors", {})
        container = executors.get(label, {}).get("container", {})
        platforms = self.platform.get("platforms", {}).get("kubernetes", {})
        settings = platforms.get("deploymentSpec", {}).get("executors", {}).get(label, {})
        seconds = settings.get("activeDeadlineSeconds")
        return Stated(
            name=str(task.get("taskInfo", {}).get("name") or path[-1]),
            order=tuple(order),
            image=str(container.get("image", "")),
            requests=", ".join(_requests(container.get("resources", {}), settings)),
            minutes=int(seconds) / 60 if seconds else None,
        )


def _in_order(tasks: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of tasks after those that they depend on; each waits no longer than that."""
    done: set[str] = set()
    while len(done) < len(tasks):
        ready = [
            name
            for name, task in tasks.items()
            if name not in done and set(task.get("dependentTasks", ())) & set(tasks) <= done
        ]
        if not ready:  # no compiled pipeline has a circle
            return
        yield from ready
        done.update(ready)


def _requests(resources: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    if cpu := resources.get("resourceCpuRequest") or resources.get("resourceCpuLimit"):
        yield f"{cpu} CPU"
    if memory := resources.get("resourceMemoryRequest") or resources.get("resourceMemoryLimit"):
        yield f"{memory} memory"
    if gpu := resources.get("accelerator"):
        yield f"{gpu.get('resourceCount') or gpu.get('count')} {gpu.get('resourceType') or gpu.get('type')}"
    labels = settings.get("nodeSelector", {}).get("labels", {})
    yield from (f"a node with {name}={value}" for name, value in labels.items())
