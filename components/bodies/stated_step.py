"""The one body of every component that is made from a step's statement: artifacts in, the step, labels out.

In a room of its own: where a component runs, kfp has no decorator, so that `components.ops` cannot be imported.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from cascade_core.errors import UserError
from components.bodies.interface import NODES, RAW, cluster_of, given, input_name, plain_type
from components.contract import Folder, Place, Settings, Step, step_named
from components.contract.parameters import Parameter
from components.storage import places
from components.tracking import pipeline_run

RUN = "mlflow_run"
"""Label by which artifacts pass the id of the pipeline's run in MLflow on."""


def run_component(name: str, values: Mapping[str, Any]) -> None:
    """Run the step of this name on a component's inputs (`values`, by name), and label the artifact that it writes.

    An artifact has its inputs' labels, the options, and what the step says of its result. A training's lacks the
    pipeline's run: it may come from the cache, which another run filled.

    Raises:
        UserError: a place cannot be read, a group has an unknown option, or the step refuses its input.
    """
    stated = step_named(name)
    cluster = cluster_of(stated)
    artifacts = [values[input_name(one)] for one in given(stated) if isinstance(one.meaning, Folder)]
    labels = {key: value for artifact in artifacts for key, value in artifact.metadata.items()}
    pipeline_run.join(labels.get(RUN, ""))
    if cluster.reads_pictures:
        places.folder(RAW, values[RAW])
    arguments = {one.name: _argument(one, values) for one in given(stated)}
    for group, names in cluster.grouped.items():
        arguments |= _options(group, names, values[group])
    arguments[stated.output] = Path(values[cluster.output].path)
    result = _run(stated, arguments, values)
    options = {one.name: values[one.name] for one in given(stated) if plain_type(one) is not None}
    labels |= options | {label: values[label] for label in cluster.labels}
    if cluster.show is not None:
        labels |= cluster.show(result, arguments, **{page: values[page] for page in cluster.pages})
    if cluster.trains:
        labels.pop(RUN, None)
    values[cluster.output].metadata.update(labels)


def _options(group: str, names: Sequence[str], text: str) -> dict[str, Any]:
    """Read the options that travel together; those that are left out keep the step's default."""
    options: dict[str, Any] = json.loads(text)
    if unknown := set(options) - set(names):
        raise UserError(f"{group} {text} names {', '.join(sorted(unknown))}; known are {', '.join(names)}")
    return options


def _run(stated: Step[Any, Any], arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    if not cluster_of(stated).trains:
        return stated(**arguments)
    # Here: what talks to Kubernetes is of no use to other steps.
    from components.launching import nodes

    return nodes.run_where(stated.name, arguments, values[NODES])


def _argument(one: Parameter, values: Mapping[str, Any]) -> Any:
    """Give a parameter's value as the step takes it."""
    value = values[input_name(one)]
    match one.meaning:
        case Folder():
            return one.taken(Path(value.path))
        case Place():
            return places.folder(one.name, value)
        case Settings():
            return json.loads(value)
    if NoneType in get_args(one.type) and not value:
        return None  # which kfp lacks: 0 and "" stand for it
    return value if plain_type(one) is not None else json.loads(value)
