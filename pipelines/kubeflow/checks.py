"""What several pipelines ask of their parameters, checked before a run is submitted or a step starts.

A wrong recipe or protocol would otherwise be told by a pod, minutes later.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.background import parse_background
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.validation import validated
from components.storage.places import check_place


def check_places(values: Mapping[str, Any], *names: str) -> None:
    """Hold the addresses of data that were given against what steps can read.

    Raises:
        UserError: one is empty or no path.
    """
    for name in names:
        if name in values:
            check_place(name, values[name])


def check_recipes(recipes: Sequence[Any], overrides: str, protocol: str) -> None:
    """Hold recipes and overrides (JSON) against what there is, and the recipes' protocol against `protocol`.

    Any recipe trains on the label set of a label file, which is looked at only where the steps run.

    Raises:
        UserError: none or an unknown recipe, an override that does not fit, or another protocol.
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
            f"recipes {', '.join(map(str, recipes))} use different prompt templates, a run has one set of text "
            "vectors; run them apart"
        )


def check_protocol(name: str, protocol: str) -> None:
    """Hold a protocol against what there is; of a label file only the address, which this machine may not see.

    Raises:
        UserError: it is unknown, or no address that steps can read.
    """
    if is_label_file(protocol):
        check_place(name, protocol)
    else:
        named_protocol(protocol)


def check_background(name: str, background: str, protocol: str) -> None:
    """Hold a background policy against what there is, and against the label maps of a named protocol.

    Raises:
        UserError: it is none, or those maps have no background, or count it as a class that "dropped" never predicts.
    """
    from cascade_core.inference.background import scored_split

    try:
        policy = parse_background(background)
        if not is_label_file(protocol):
            scored_split(named_protocol(protocol), policy)
    except UserError as error:
        raise UserError(f"parameter {name}: {error}") from error


def check_image_sets(image_sets: str, split: str) -> None:
    """Hold the image sets (JSON) against what training and scoring need of them.

    Raises:
        UserError: they are no mapping of text, or lack the split that is scored.
    """
    sets = as_mapping("image_sets", image_sets)
    if not all(isinstance(lists, str) for lists in sets.values()):
        raise UserError(
            f'parameter image_sets is {image_sets}; expected lists by split: {{"train": "train"}}'
        )
    if split not in sets:
        raise UserError(f"parameter split is {split!r}; image_sets has {', '.join(sets) or 'none'}")


def check_limit(limit: int) -> None:
    """Hold the number of pictures against what there is: a parameter cannot be left empty, so 0 stands for all.

    Raises:
        UserError: it is negative.
    """
    if limit < 0:
        raise UserError(f"parameter limit is {limit}; give so many pictures, or 0 for all")


def check_self_training(mode: str) -> None:
    """Hold the self-training mode against what there is.

    Raises:
        UserError: it is unknown.
    """
    known = get_args(SelfTrainingMode)
    if mode not in known:
        raise UserError(f"parameter self_training is {mode!r}; known are {', '.join(known)}")


def check_margins(margins: str) -> None:
    """Hold the gate's margins (JSON) against what there is.

    Raises:
        UserError: one is unknown, negative, or no number.
    """
    from components.results.margins import Margins

    validated(Margins, as_mapping("margins", margins), source="parameter margins")


def as_mapping(name: str, text: str) -> Mapping[str, Any]:
    """Read a parameter that holds a JSON object.

    Raises:
        UserError: it is none.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"parameter {name} is not JSON ({error}): {text!r}") from error
    if not isinstance(content, dict):
        raise UserError(f"parameter {name} is {text!r}; expected a JSON object")
    return content
