"""Checks of parameters that several pipelines share, made before submission: a pod would fail minutes later."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.background import parse_background
from cascade_core.labels.label_file import is_label_file
from components.storage.places import check_place
from pipelines.kubeflow.resources import Resources, nodes_of


def check_places(values: Mapping[str, Any], *names: str) -> None:
    """Check the addresses of data among the values.

    Raises:
        UserError: an address is empty, or neither a path nor an s3:// address.
    """
    for name in names:
        if name in values:
            check_place(name, values[name])


def check_recipes(recipes: Sequence[Any], overrides: str, protocol: str) -> None:
    """Check recipes with their overrides (JSON) and protocol.

    With a label file as protocol, any recipe trains on its label set; only the steps read the file.

    Raises:
        UserError: there is no recipe or an unknown one, an override is wrong, or recipes differ in protocol or templates.
    """
    if not recipes:
        raise UserError("parameter recipes is empty; name at least one, such as mini_zegclip")
    check_protocol("protocol", protocol)
    values = as_mapping("overrides", overrides)
    templates = set()
    for name in recipes:
        config = named_recipe(str(name), values, seed=0)
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


def check_image_sets(image_sets: str, split: str) -> None:
    """Check the image sets (JSON): lists by split, with the split that is scored.

    Raises:
        UserError: they are no mapping of text, or lack the split.
    """
    sets = as_mapping("image_sets", image_sets)
    if not all(isinstance(lists, str) for lists in sets.values()):
        raise UserError(
            f'parameter image_sets is {image_sets}; expected lists by split: {{"train": "train"}}'
        )
    if split not in sets:
        raise UserError(f"parameter split is {split!r}; image_sets has {', '.join(sets) or 'none'}")


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


def as_mapping(name: str, text: str) -> Mapping[str, Any]:
    """Read a parameter that holds a JSON object.

    Raises:
        UserError: it holds none.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"parameter {name} is not JSON ({error}): {text!r}") from error
    if not isinstance(content, dict):
        raise UserError(f"parameter {name} is {text!r}; expected a JSON object")
    return content
