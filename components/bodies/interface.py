"""The interface of a step as a Kubeflow component: inputs and outputs by name, each with its type."""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from components.bodies.loop_items import NO_SEED
from components.contract import Cluster, Folder, Place, Settings, Step, step_named
from components.contract.parameters import Parameter

STEPS = ("train", "self_train", "evaluate", "profile", "register")
"""These steps' components and resources are generated from their statements."""

RAW, NODES, REUSE = "raw", "nodes", "reuse_trainings"


def stated_steps() -> list[Step[Any, Any]]:
    """Return the steps of `STEPS`."""
    return [step_named(name) for name in STEPS]


def cluster_of(step: Step[Any, Any]) -> Cluster:
    """Return the `Cluster` of a step; the step must have one."""
    assert step.cluster is not None, f"step {step.name} states no cluster"
    return step.cluster


def component_parameters(step: Step[Any, Any]) -> list[Parameter]:
    """Return the parameters that are inputs of the component: folders and places that are not local, and `options`."""
    options = cluster_of(step).options
    return [
        parameter
        for parameter in step.parameters.values()
        if (isinstance(parameter.meaning, Folder | Place) and not parameter.meaning.local)
        or parameter.name in options
    ]


def input_name(parameter: Parameter) -> str:
    """Return the name of a parameter as an input of the component."""
    travels_as = parameter.meaning.travels_as if isinstance(parameter.meaning, Folder) else None
    return travels_as or parameter.name


def plain_type(parameter: Parameter) -> type | None:
    """Return the type in which kfp passes a parameter; None if it passes the parameter as JSON text.

    Lists and dictionaries are passed as JSON, because kfp would turn the integers in them into floats. kfp knows neither
    `Literal` nor None: a choice is passed as str, an optional value as the type of the value.
    """
    if isinstance(parameter.meaning, Settings):
        return None
    hint = parameter.type
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return str
    return hint if hint in (str, int, float, bool) else None


def inputs(step: Step[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and annotation of each input of the component, except those that have a default."""
    cluster = cluster_of(step)
    if cluster.reads_pictures:
        yield RAW, "str"
    for parameter in component_parameters(step):
        match parameter.meaning:
            case Folder(artifact=artifact):
                yield input_name(parameter), f"Input[{artifact}]"
            case Place():
                yield parameter.name, "str"
            case _:
                yield parameter.name, (plain_type(parameter) or str).__name__
    for name in cluster.grouped:
        yield name, "str"


LABELS = {"recipe": 'str = ""', "seed": f"int = {NO_SEED}"}
"""Inputs that a component ignores, with their annotations: Kubeflow's page numbers iterations, and shows inputs.

`kfp.local` 2.17 fails on an optional integer that is left out, so a number stands for no seed.
"""


def labels(step: Step[Any, Any]) -> dict[str, str]:
    """Return the labels among the inputs of a step's component: those that are no parameters of the step."""
    own = {name for name, _ in inputs(step)}
    return {name: annotation for name, annotation in LABELS.items() if name not in own}


def outputs(step: Step[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and annotation of each output of the component, the step's folder or what stays of it first."""
    cluster = cluster_of(step)
    yield cluster.output, f"Output[{cluster.artifact}]"
    for name, kind in (*cluster.parts.items(), *cluster.pages.items()):
        yield name, f"Output[{kind}]"
