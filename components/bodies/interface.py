"""How a stated step looks as a Kubeflow component: its inputs and outputs by name, each with its type."""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from components.contract import Cluster, Folder, Place, Settings, Step, step_named
from components.contract.parameters import Parameter

STEPS = ("train", "self_train", "evaluate", "profile", "gate", "register")
"""Steps whose components and resources follow from their statements."""

RAW, NODES = "raw", "nodes"
PLAIN = (str, int, float, bool)


def stated_steps() -> list[Step[Any, Any]]:
    """Give the steps of `STEPS`."""
    return [step_named(name) for name in STEPS]


def cluster_of(stated: Step[Any, Any]) -> Cluster:
    """Give what a step asks of a cluster; it must say."""
    assert stated.cluster is not None, f"step {stated.name} states no cluster"
    return stated.cluster


def given(stated: Step[Any, Any]) -> list[Parameter]:
    """Give the parameters that a component gets: folders and places, and the options that its cluster names."""
    options = cluster_of(stated).options
    return [
        one
        for one in stated.parameters.values()
        if isinstance(one.meaning, Folder | Place) or one.name in options
    ]


def input_name(one: Parameter) -> str:
    """Give the name under which a component gets a parameter."""
    travels_as = one.meaning.travels_as if isinstance(one.meaning, Folder) else None
    return travels_as or one.name


def plain_type(one: Parameter) -> type | None:
    """Give the type of an option that travels as it is; None for one that travels as JSON text.

    Numbers inside of lists and dictionaries would arrive as floats, and kfp has no choices and no None.
    """
    if isinstance(one.meaning, Settings):
        return None
    hint = one.type
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return str
    return hint if hint in PLAIN else None


def inputs(stated: Step[Any, Any]) -> Iterator[tuple[str, str]]:
    """Give names and annotations of a component's inputs, but for `nodes`, which has a default."""
    cluster = cluster_of(stated)
    if cluster.reads_pictures:
        yield RAW, "str"
    for one in given(stated):
        match one.meaning:
            case Folder(artifact=artifact):
                yield input_name(one), f"Input[{artifact}]"
            case Place():
                yield one.name, "str"
            case _:
                yield one.name, (plain_type(one) or str).__name__
    for text in (*cluster.grouped, *cluster.labels):
        yield text, "str"


def outputs(stated: Step[Any, Any]) -> Iterator[tuple[str, str]]:
    """Give names and annotations of a component's outputs, the step's folder first."""
    cluster = cluster_of(stated)
    yield cluster.output, f"Output[{cluster.artifact}]"
    for name, kind in cluster.pages.items():
        yield name, f"Output[{kind}]"
