"""Changes of the resources table as people give them: `--resource train.gpu.count=4`, and the images that go with it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import yaml

from cascade_core.errors import UserError
from cascade_core.runtime.validation import validated
from components.ops import IMAGE, LIGHT_IMAGE
from pipelines.kubeflow.resources import TRAINING_STEPS, Gpu, Resources

FIXED = ("image",)
"""What a step runs in follows from what it imports; where the images lie is said by --image and --light-image."""
EVERY = "all"
EXAMPLE = "--resource train.gpu.count=4"


def changed(table: Mapping[str, Resources], items: Iterable[str]) -> dict[str, Resources]:
    """Give the table with items like `train.gpu.count=4` put in, the later over the earlier.

    `all.` stands for every step, `all.gpu.` for every step that has a GPU. Values are read as YAML.

    Raises:
        UserError: an item is not STEP.FIELD=VALUE, names no step or field there is, asks for GPUs' details
            where there are none or for several nodes where nothing trains, or its value cannot be.
    """
    rows = dict(table)
    for item in items:
        steps, path, value = _parsed(item, rows)
        for step in steps:
            rows[step] = _with(rows[step], path, value, item)
    return rows


def images(image: str | None, light_image: str | None) -> tuple[str, str]:
    """Give the images of steps that compute with a model and of all others: the project's own where none is named.

    Of one image that is named by a tag the other's name follows, as `make images` gives it: "-light" after the tag.

    Raises:
        UserError: the other's name does not follow, as from a digest.
    """
    if image is None:
        return IMAGE, light_image or LIGHT_IMAGE
    tagged = ":" in image.rpartition("/")[2] and "@" not in image
    if light_image is None and not tagged:
        raise UserError(
            f"image {image!r} has no tag that the light steps' image could be named after; give that with "
            "--light-image (the same one serves both)"
        )
    return image, light_image or f"{image}-light"


def _parsed(item: str, rows: Mapping[str, Resources]) -> tuple[list[str], list[str], Any]:
    name, equals, text = item.partition("=")
    step, *path = name.split(".")
    if not (equals and step and path and all(path)):
        raise UserError(f"--resource {item!r} is not STEP.FIELD=VALUE; an example is {EXAMPLE}")
    if step != EVERY and step not in rows:
        raise UserError(f"--resource {item!r}: no step {step!r}; there are {EVERY}, {', '.join(rows)}")
    of_gpus = path[0] == "gpu" and len(path) > 1
    steps = [one for one, row in rows.items() if step in (one, EVERY) and (row.gpu or not of_gpus)]
    if not steps:
        raise UserError(f"--resource {item!r}: {step} has no GPU; take --kind gpu, or another step")
    if path == ["nodes"] and not set(steps) <= set(TRAINING_STEPS):
        raise UserError(
            f"--resource {item!r}: several nodes are for the steps {' and '.join(TRAINING_STEPS)} only"
        )
    try:
        return steps, path, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--resource {item!r}: {text!r} is not a YAML value") from error


def _with(row: Resources, path: list[str], value: Any, item: str) -> Resources:
    values = asdict(row)
    match path:
        case ["gpu", *names] if names:
            known, place = [one.name for one in fields(Gpu)], values["gpu"]
        case names:
            known, place = [one.name for one in fields(Resources) if one.name not in FIXED], values
    if len(names) != 1 or names[0] not in known:
        raise UserError(f"--resource {item!r}: no field {'.'.join(path)!r}; there are {', '.join(known)}")
    place[names[0]] = value
    return validated(Resources, values, source=f"--resource {item!r}")
