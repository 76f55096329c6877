"""Readable summaries of compiled pipelines: the steps, the origin of their inputs, and their requests to a cluster.

`python -m tests.pipelines.kubeflow.summaries` writes a page per pipeline into `golden/`. A page is complete: a setting
without a sentence here appears as the compiler wrote it.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from components.ops.image import IMAGE
from pipelines.kubeflow.catalogue import PIPELINES, compile_pipeline
from pipelines.kubeflow.resources import RESOURCES

GOLDEN = Path(__file__).parent / "golden"
COMMAND = "python -m tests.pipelines.kubeflow.summaries"
WIDTH = 118
SUMMARIZED = (
    "cachingOptions", "componentRef", "dependentTasks", "inputs", "parameterIterator", "retryPolicy", "taskInfo",
    "triggerPolicy",
)  # fmt: skip
"""The fields of a task that have a sentence here; all other fields appear as the compiler wrote them."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Documents = list[dict[str, Any]]
"""A compiled pipeline and its Kubernetes settings."""


def compiled(pipeline: str, **options: Any) -> Documents:
    """Compile a pipeline with options of `compile_pipeline`; its default image changes with the commit."""
    options = {"image": IMAGE, **options}
    with TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compile_pipeline(pipeline, path, **options)
        return list(yaml.load_all(path.read_text(), _Loader))


def summary(kinds: Mapping[str, Documents]) -> str:
    """Summarize a pipeline compiled for several kinds of clusters, whose graphs must be equal."""
    graph, *others = (_graph(documents[0]) for documents in kinds.values())
    assert all(other == graph for other in others), "kinds of clusters differ in more than resources"
    lines = [*graph, *(line for kind, documents in kinds.items() for line in (kind, *_requests(documents)))]
    return "".join(f"{line}\n" for line in lines)


def _graph(pipeline: dict[str, Any]) -> list[str]:
    given = pipeline["root"]["inputDefinitions"]["parameters"]
    parameters = [
        f"{name} {one['parameterType']}"
        + (f" = {json.dumps(one['defaultValue'])}" if "defaultValue" in one else "")
        for name, one in given.items()
    ]
    scope = {name: f"${name}" for name in given}
    title = f"{pipeline['pipelineInfo']['name']}: {', '.join(parameters)}"
    return [*_wrapped(title, 0), *_steps(pipeline, pipeline["root"]["dag"], scope, 1)]


def _steps(
    pipeline: dict[str, Any], dag: dict[str, Any], scope: Mapping[str, str], depth: int
) -> Iterator[str]:
    """Yield a line per step of a group; `scope` holds the origins of the group's own inputs."""
    for task in dag["tasks"].values():
        component = pipeline["components"][task["componentRef"]["name"]]
        inputs = dict(_inputs(pipeline, dag, task, scope))
        order = "".join(f" {one}" for one in _order(dag, task, inputs))
        if "dag" in component:
            inner = dict(inputs)
            if (loop := task.get("parameterIterator")) is not None:
                items = inputs.get(loop["items"].get("inputParameter"), json.dumps(loop["items"]))
                order += f" for each of {items}"
                inner[loop["itemInput"]] = f"{_name(task)}.item"
            yield from _wrapped(f"{_name(task)}{order}:", depth)
            yield from _steps(pipeline, component["dag"], inner, depth + 1)
        else:
            arguments = ", ".join(f"{name}={origin}" for name, origin in inputs.items())
            outputs = ", ".join(_outputs(component))
            yield from _wrapped(
                f"{_title(pipeline, component, _name(task))}({arguments}){order}"
                + (f" -> {outputs}" if outputs else ""),
                depth,
            )


def _wrapped(line: str, depth: int) -> list[str]:
    indent = "  " * depth
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}        ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _inputs(
    pipeline: dict[str, Any], dag: dict[str, Any], task: dict[str, Any], scope: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for group in task.get("inputs", {}).values():
        for name, given in group.items():
            yield name, _origin(pipeline, dag, given, scope)


def _origin(
    pipeline: dict[str, Any], dag: dict[str, Any], given: dict[str, Any], scope: Mapping[str, str]
) -> str:
    """Name an input's origin: a pipeline's parameter, another step's output, a constant, or a loop's item."""
    match given:
        case {"componentInputParameter": name, "parameterExpressionSelector": part}:
            return str(part).replace("parseJson(string_value)", scope[name])
        case {"componentInputParameter": name} | {"componentInputArtifact": name}:
            return scope[name]
        case {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": key}}:
            return _output(pipeline, dag["tasks"][task], key)
        case {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}:
            return _output(pipeline, dag["tasks"][task], key)
        case {"runtimeValue": {"constant": constant}}:
            return json.dumps(constant)
        case {"taskFinalStatus": {"producerTask": task}}:
            return f"status of {_name(dag['tasks'][task])}"
        case _:
            return json.dumps(given)


def _output(pipeline: dict[str, Any], task: dict[str, Any], key: str) -> str:
    """Name an output by its step, which may be inside a group."""
    dag = pipeline["components"][task["componentRef"]["name"]].get("dag")
    if dag is None:
        return f"{_name(task)}.{key}"
    made = [
        _output(pipeline, dag["tasks"][one["producerSubtask"]], one["outputArtifactKey"])
        for one in dag["outputs"]["artifacts"][key]["artifactSelectors"]
    ]
    return f"every {' or '.join(made)}"


def _order(dag: dict[str, Any], task: dict[str, Any], inputs: Mapping[str, str]) -> Iterator[str]:
    """Yield a step's conditions and the dependencies that do not follow from its inputs."""
    policy = task.get("triggerPolicy", {})
    if condition := policy.get("condition"):
        yield "if " + re.sub(
            r"inputs\.parameter_values\['([^']+)'\]", lambda match: inputs[match[1]], condition
        )
    if strategy := policy.get("strategy"):
        yield f"when {strategy}"
    used = json.dumps(task.get("inputs", {}))
    if others := [
        _name(dag["tasks"][one]) for one in task.get("dependentTasks", ()) if f'"{one}"' not in used
    ]:
        yield f"after {', '.join(others)}"
    yield from (f"{key} {json.dumps(value)}" for key, value in task.items() if key not in SUMMARIZED)


def _title(pipeline: dict[str, Any], component: dict[str, Any], name: str) -> str:
    """Name a step, and its function if that has another name."""
    *_, function = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]["container"]["args"]
    return name if name == function.replace("_", "-") else f"{name}: {function}"


def _outputs(component: dict[str, Any]) -> Iterator[str]:
    made = component.get("outputDefinitions", {})
    for name, one in made.get("artifacts", {}).items():
        yield f"{name} {one['artifactType']['schemaTitle']}"
    for name, one in made.get("parameters", {}).items():
        yield f"{name} {one['parameterType']}"


def _requests(documents: Documents) -> Iterator[str]:
    """Yield each request to the cluster, with the steps that make it."""
    pipeline, platform = documents
    executors = pipeline["deploymentSpec"]["executors"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    requests: dict[str, list[str]] = {}
    steps = []
    for task in _every_task(pipeline):
        label = pipeline["components"][task["componentRef"]["name"]].get("executorLabel")
        if label is not None:
            steps.append(_name(task))
            for request in (
                *_of_task(task),
                *_of_container(executors[label]),
                *_of_pod(settings.get(label, {})),
            ):
                requests.setdefault(request, []).append(_name(task))
    assert len(set(steps)) == len(steps), f"two steps have one name: {steps}"
    for request in sorted(requests):
        yield from _wrapped(f"{request}: {_listed(requests[request], steps)}", 1)


def _listed(members: list[str], steps: list[str]) -> str:
    others = [step for step in steps if step not in members]
    if len(others) >= len(members):
        return ", ".join(members)
    return f"all but {', '.join(others)}" if others else "all"


def _every_task(pipeline: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in [pipeline["root"], *pipeline["components"].values()]:
        yield from part.get("dag", {}).get("tasks", {}).values()


def _of_task(task: dict[str, Any]) -> Iterator[str]:
    if caching := task["cachingOptions"]:
        yield f"caching {json.dumps(caching)}"
    if retries := task.get("retryPolicy"):
        pauses = f"{retries['backoffDuration']} times {retries['backoffFactor']:g}"
        yield f"retries {retries['maxRetryCount']}, after {pauses} up to {retries['backoffMaxDuration']}"


def _of_container(executor: dict[str, Any]) -> Iterator[str]:
    container = dict(executor["container"])
    resources, (*_, function) = container.pop("resources"), container.pop("args")
    *_, start, source = container.pop("command")
    assert "kfp.dsl.executor_main" in start and f"\ndef {function}(" in source, (
        f"the container does not run {function}"
    )
    yield f"image {container.pop('image')}"
    for one in container.pop("env", ()):
        yield f"environment {one['name']}={one['value']}"
    request = f"{resources['resourceCpuLimit']} cores, {resources['resourceMemoryLimit']}"
    if gpu := resources.get("accelerator"):
        request += f", {gpu['resourceCount']} {gpu['resourceType']}"
    limits = {name: resources[name.replace("Request", "Limit")] for name in resources if "Request" in name}
    assert all(resources[name] == limit for name, limit in limits.items()), f"{function} requests less"
    yield f"resources {request}"
    yield from (f"{key} {json.dumps(value)}" for key, value in container.items())


def _of_pod(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        match key, value:
            case "activeDeadlineSeconds", seconds:
                yield f"time limit {int(seconds) // 60} min"
            case "secretAsEnv", secrets:
                yield from map(_secret, secrets)
            case "pvcMount", volumes:
                yield from (f"volume {one['constant']} at {one['mountPath']}" for one in volumes)
            case "configMapAsVolume", maps:
                for one in maps:
                    condition = ", where there is one" if one["optional"] else ""
                    yield f"config map {one['configMapName']}{condition}, at {one['mountPath']}"
            case "emptyDirMounts", folders:
                yield from (f"{one['medium']} at {one['mountPath']}, {one['sizeLimit']}" for one in folders)
            case _:
                yield f"{key} {json.dumps(value)}"


def _secret(secret: dict[str, Any]) -> str:
    names = ", ".join(
        one["envVar"] if one["envVar"] == one["secretKey"] else f"{one['envVar']} = {one['secretKey']}"
        for one in secret["keyToEnv"]
    )
    return f"secret {secret['secretName']}{', where there is one' if secret['optional'] else ''}: {names}"


def _name(task: dict[str, Any]) -> str:
    return str(task["taskInfo"]["name"])


def main() -> None:
    """Write the page of every pipeline."""
    for pipeline in PIPELINES:
        page = summary({kind: compiled(pipeline, kind=kind) for kind in RESOURCES})
        (GOLDEN / f"{pipeline}.txt").write_text(page)


if __name__ == "__main__":
    main()
