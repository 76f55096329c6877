"""Checks of parameters that several pipelines share, made before submission: a pod would fail minutes later."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, get_args

from pydantic import Json

from cascade_core.configs.recipe_file import is_recipe_file
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.background import parse_background
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.validation import validated
from components.cluster.names import DATA_FOLDER
from components.inputs.own_data import OwnData
from components.storage.places import REGISTRY, S3, check_place
from pipelines.graphs.defaults import IMAGE_SETS, PROTOCOL, SPLIT
from pipelines.kubeflow.resources import Resources, nodes_of

LABELS = ("protocol", "labels")
"""The parameters that may be a label file."""
PLACES = {"raw", "clip", "checkpoint"}
"""The parameters, and fields of targets, that are data folders."""


SHARED = ("pictures", "out")
"""The parameters of the pipeline `predict` that are places, which need not be folders."""


def is_named_model(model: str) -> bool:
    """Say whether a model is a name, such as mini, or an address in the registry, and no path."""
    return model.startswith(REGISTRY) or (bool(model) and "/" not in model)


def check_places(values: Mapping[str, Any]) -> None:
    """Check the addresses of data folders among the values.

    Raises:
        UserError: an address is empty, or neither a path nor an s3:// address.
    """
    for name in sorted(PLACES & set(values)):
        check_place(name, values[name])


def check_absolute(values: Mapping[str, Any]) -> None:
    """Check that a pod finds the data folders and label files among the values, and in targets, where they are.

    Raises:
        UserError: a path is relative: a pod starts in a folder of its image.
    """
    for name, value in _addresses(values):
        field = name.rpartition(".")[2]
        is_name = field == "clip" and "/" not in value  # that of an imported CLIP
        if not (is_name or (field == "model" and is_named_model(value)) or value.startswith(("/", S3))):
            raise UserError(
                f"parameter {name} is {value!r}, a path on this machine; give the absolute path at which the pods mount "
                f"the volume, such as {DATA_FOLDER}/{PurePosixPath(value).name}, or an {S3} address"
            )


def _addresses(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if name == "targets":
            for position, target in enumerate(value):
                yield from _addresses(target, f"targets[{position}].")
        elif name == "clip" and not value:
            continue  # that of the model
        elif name in (*PLACES, *SHARED, "model") or (name in LABELS and is_label_file(value)):
            yield f"{prefix}{name}", value


def check_training(values: Mapping[str, Any], recipes: Sequence[str]) -> None:
    """Check the parameters that all training pipelines share; `recipes` are the pipeline's default.

    Raises:
        UserError: an address is wrong, there is no recipe, or a recipe, override, protocol or split is unknown or does
            not fit.
    """
    check_places(values)
    recipes, overrides = values.get("recipes", recipes), values.get("overrides", "{}")
    _check_recipes(recipes, overrides, values.get("protocol", PROTOCOL))
    check_split("split", values.get("split", SPLIT), values)


def check_self_trained(recipes: Sequence[str], pipeline: str) -> None:
    """Check that each recipe has a training that pseudo-labels may continue.

    Raises:
        UserError: a recipe is training-free; `pipeline` is the one that takes it.
    """
    for name in recipes:
        if not named_recipe(name).model.trains:
            raise UserError(
                f"recipe {name!r} is training-free, and this pipeline continues each training with pseudo-labels; submit "
                f"the pipeline {pipeline}, or leave the recipe out"
            )


def check_split(name: str, split: str, values: Mapping[str, Any]) -> None:
    """Check that the data of a run, image sets or folders, have the split of the parameter `name`.

    Raises:
        UserError: they lack it, or they are wrong.
    """
    if folders := values.get("folders"):
        check_folders(folders, values.get("protocol", PROTOCOL), split, name=name)
    else:
        check_image_sets(values.get("image_sets", IMAGE_SETS), split, name=name)


def _check_recipes(recipes: Sequence[Any], overrides: str, protocol: str) -> None:
    """Check recipes with their overrides (JSON); with a label file as protocol, any recipe trains on its labels.

    A training-free one takes any protocol, and the text vectors of the others.
    """
    if not recipes:
        raise UserError("parameter recipes is empty; name at least one, such as mini_zegclip")
    check_protocol("protocol", protocol)
    values = from_json("overrides", overrides)
    templates = set()
    for name in recipes:
        if is_recipe_file(str(name)):
            raise UserError(
                f"parameter recipes has the recipe file {name!r}, which no pod has; name its parent, and give its changes "
                "as overrides (--set, or --overrides FILE)"
            )
        config = named_recipe(str(name), values, seed=0)
        if not config.model.trains:
            continue
        if config.data.protocol != protocol and not is_label_file(protocol):
            raise UserError(
                f"recipe {name!r} trains protocol {config.data.protocol!r}, parameter protocol is {protocol!r}; "
                "give the recipe's"
            )
        templates.add(tuple(config.data.templates))
    if len(templates) > 1:
        raise UserError(
            f"recipes {', '.join(map(str, recipes))} use different prompt templates, but a run has one set of text "
            "vectors; submit a run for each"
        )


def check_protocol(name: str, protocol: str) -> None:
    """Check a protocol's name; of a label file check only the address, since only the steps read it.

    Raises:
        UserError: the protocol is unknown, or the address is wrong.
    """
    if is_label_file(protocol):
        check_place(name, protocol)
    else:
        named_protocol(protocol)


def check_background(name: str, background: str, protocol: str) -> None:
    """Check a background policy, and that it fits the label maps of a named protocol.

    Raises:
        UserError: the policy is wrong, the label maps have no background, or the policy "dropped" would never predict a
            background that the protocol counts as a class.
    """
    from cascade_core.inference.background import scored_split

    try:
        policy = parse_background(background)
        if not is_label_file(protocol):
            scored_split(named_protocol(protocol), policy)
    except UserError as error:
        raise UserError(f"parameter {name}: {error}") from error


def check_image_sets(image_sets: str, split: str, *, name: str = "split") -> None:
    """Check the image sets (JSON): lists by split, with the split that is scored.

    Raises:
        UserError: they are no mapping of text, or lack the split.
    """
    sets = from_json("image_sets", image_sets, dict[str, str])
    if split not in sets:
        raise UserError(f"parameter {name} is {split!r}; image_sets has {', '.join(sets) or 'none'}")


def check_folders(folders: str, protocol: str, split: str, *, name: str = "split") -> None:
    """Check the user's own folders (JSON), which need a label file, and that they have the split that is scored.

    Raises:
        UserError: they are wrong, the protocol is no label file, or none of their splits is the scored one.
    """
    own = from_json("folders", folders, OwnData)
    if not is_label_file(protocol):
        raise UserError(f"parameter protocol is {protocol!r}; folders need the path of a label file (.yaml)")
    if own.split_names and split not in own.split_names:
        raise UserError(f"parameter {name} is {split!r}; folders have {', '.join(own.split_names)}")


def check_choice(name: str, value: str, choices: Any) -> None:
    """Check a parameter that takes one of the texts of a `Literal`.

    Raises:
        UserError: it is none of them.
    """
    if value not in get_args(choices):
        raise UserError(f"parameter {name} is {value!r}; known are {', '.join(get_args(choices))}")


def check_batches(
    recipes: Iterable[str],
    overrides: Mapping[str, Any],
    *,
    steps: Iterable[str],
    table: Mapping[str, Resources],
) -> None:
    """Check that the processes of each training step (nodes x GPUs) can share each recipe's batch evenly.

    Raises:
        UserError: they cannot; the message names recipe and step.
    """
    num_processes = {step: number for step in steps if (number := nodes_of(table[step]).processes) > 1}
    if not num_processes:
        return
    # A local import, because it loads torch, which no other check needs.
    from cascade_core.parallel import World

    for name in recipes:
        config = named_recipe(name, overrides, seed=0)
        if not config.model.trains:
            continue
        batches = {"train": config.train.batch_size, "self_train": config.self_train.batch_size}
        for step, size in num_processes.items():
            try:
                World(size=size).share(
                    batches[step], config.train.accumulation_steps, field=f"{step}.batch_size"
                )
            except UserError as error:
                raise UserError(
                    f"recipe {name!r}, step {step} (nodes x GPUs of the table): {error}"
                ) from None


def from_json(name: str, text: str, kind: Any = dict[str, Any]) -> Any:
    """Read a parameter that holds JSON of a kind.

    Raises:
        UserError: the text is not JSON, or not of that kind.
    """
    json_type = Json[kind]
    return validated(json_type, text, source=f"parameter {name}", way_out=f"its value is {text!r}")
