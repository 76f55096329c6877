"""Run a step as a Kubeflow component: artifacts become its arguments, and its output artifact gets metadata.

Components import this module in their pods, where `components.ops` cannot be imported: kfp has no decorator there.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from cascade_core.errors import UserError
from components.artifacts.metadata import copied, named, write_metadata, write_metrics
from components.bodies import between_steps
from components.bodies.interface import (
    NODES,
    RAW,
    REUSE,
    cluster_of,
    component_parameters,
    input_name,
    plain_type,
)
from components.contract import Folder, Place, Settings, step_named
from components.contract.parameters import Parameter
from components.entry import enter
from components.storage import places
from components.tracking import pipeline_run

RUN_KEY = "mlflow_run"
"""The metadata of artifacts hold the id of the pipeline's MLflow run under this key."""


def run_component(name: str, values: Mapping[str, Any]) -> None:
    """Run the step `name` on a component's inputs (`values`, by name), and set its output artifact's metadata.

    The metadata are named keys of the input artifacts, the options, and what the step's `Cluster.show` returns; those of a
    training also say whether a finished one of equal content was taken.

    Raises:
        UserError: a place cannot be read, a group names an unknown option, or the step fails.
    """
    enter()
    with tempfile.TemporaryDirectory(prefix="cascade-models-") as scratch:
        _run(name, values, Path(scratch))


def _run(name: str, values: Mapping[str, Any], scratch: Path) -> None:
    step = step_named(name)
    cluster, parameters = cluster_of(step), component_parameters(step)
    metadata: dict[str, Any] = {}
    for parameter in parameters:
        if isinstance(parameter.meaning, Folder):
            metadata |= copied(values[input_name(parameter)])
    pipeline_run.join(metadata.get(RUN_KEY, ""))
    if cluster.reads_pictures:
        places.folder(RAW, values[RAW])
    arguments = {parameter.name: _argument(parameter, values, scratch) for parameter in parameters}
    for group, names in cluster.grouped.items():
        arguments |= _options(group, names, values[group])
    arguments[step.output] = Path(values[cluster.output].path)
    result: Any = None
    if cluster.trains:
        # Imported here: other steps need neither object store nor Kubernetes client.
        from components.finished.take_or_train import take_or_train
        from components.launching import nodes

        metadata |= take_or_train(
            step,
            arguments,
            reuse=values[REUSE],
            train=lambda own: nodes.run_here_or_on_nodes(name, own, values[NODES]),
        )
    else:
        result = step(**arguments)
    options = [parameter.name for parameter in parameters if plain_type(parameter) is not None]
    metadata |= {key: values[key] for key in options}
    if cluster.show is not None:
        metadata |= cluster.show(result, arguments, **{page: values[page] for page in cluster.pages})
    for page, kind in cluster.pages.items():
        if kind == "Metrics":
            write_metrics(values[page], values[page].metadata, metadata)
        write_metadata(values[page], named(page, metadata))
    for output in (cluster.output, *cluster.parts):
        write_metadata(values[output], {**metadata, **named(output, metadata)})
    if cluster.parts:
        between_steps.hand_on(
            arguments[step.output],
            {part: Path(values[part].path) for part in cluster.parts},
            _clip(parameters, values, arguments),
        )


def _clip(
    parameters: Sequence[Parameter], values: Mapping[str, Any], arguments: Mapping[str, Any]
) -> between_steps.Clip | None:
    """Return the CLIP whose tower a training's checkpoints leave out: its own input, or that of the training it continues."""
    if "clip" in arguments:
        address = values["clip"]
        return between_steps.Clip(arguments["clip"], address) if between_steps.is_at_hand(address) else None
    models = [
        one for one in parameters if isinstance(one.meaning, Folder) and one.meaning.artifact == "Model"
    ]
    return between_steps.clip_of(Path(values[input_name(one)].path) for one in models)


def _options(group: str, names: Sequence[str], text: str) -> dict[str, Any]:
    """Read the options of a group; those that it leaves out keep the step's defaults."""
    options: dict[str, Any] = json.loads(text)
    if unknown := set(options) - set(names):
        raise UserError(f"{group} {text} names {', '.join(sorted(unknown))}; known are {', '.join(names)}")
    return options


def _argument(parameter: Parameter, values: Mapping[str, Any], scratch: Path) -> Any:
    """Convert a component's input to the step's argument."""
    value = values[input_name(parameter)]
    match parameter.meaning:
        case Folder(artifact="Model"):
            return parameter.argument(
                between_steps.whole_checkpoints(Path(value.path), scratch / input_name(parameter))
            )
        case Folder():
            return parameter.argument(Path(value.path))
        case Place():
            return places.folder(parameter.name, value)
        case Settings():
            return json.loads(value)
    if NoneType in get_args(parameter.type) and not value:
        return None  # kfp has no None: 0 and "" stand for it
    return value if plain_type(parameter) is not None else json.loads(value)
