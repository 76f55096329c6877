"""Options that change what steps request: `--resource train.gpu.count=4`, `--image` and `--light-image`."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import yaml

from cascade_core.errors import UserError
from cascade_core.runtime.validation import validated
from components.ops import IMAGE, LIGHT_IMAGE
from pipelines.kubeflow.resources import TRAINING_STEPS, Gpu, Resources

FIXED = ("image",)
"""No option changes these fields: a step's imports decide its image, and --image and --light-image name the images."""
EVERY = "all"
EXAMPLE = "--resource train.gpu.count=4"


def changed(table: Mapping[str, Resources], items: Iterable[str]) -> dict[str, Resources]:
    """Return the table changed by items like `train.gpu.count=4`; a later item wins.

    `all.` means every step, `all.gpu.` every step with a GPU. Values are YAML.

    Raises:
        UserError: an item is not STEP.FIELD=VALUE, its step, field or value is wrong, the step has no GPU, or a step
            that does not train gets several nodes.
    """
    rows = dict(table)
    for item in items:
        steps, path, value = _parsed(item, rows)
        for step in steps:
            rows[step] = _changed_row(rows[step], path, value, item)
    return rows


def images(image: str | None, light_image: str | None) -> tuple[str, str]:
    """Return the images of the steps that compute with a model and of all others; by default, the project's own.

    The light image's name follows from an image with a tag: "-light" after the tag, as `make images` names it.

    Raises:
        UserError: the image has no tag, but a digest for example, and `light_image` is missing.
    """
    if image is None:
        return IMAGE, light_image or LIGHT_IMAGE
    tagged = ":" in image.rpartition("/")[2] and "@" not in image
    if light_image is None and not tagged:
        raise UserError(
            f"image {image!r} has no tag to name the light image after; name the light image with --light-image (the "
            "same image serves both)"
        )
    return image, light_image or f"{image}-light"


def _parsed(item: str, rows: Mapping[str, Resources]) -> tuple[list[str], list[str], Any]:
    name, equals, text = item.partition("=")
    step, *path = name.split(".")
    if not (equals and step and path and all(path)):
        raise UserError(f"--resource {item!r} is not STEP.FIELD=VALUE; an example is {EXAMPLE}")
    if step != EVERY and step not in rows:
        raise UserError(f"--resource {item!r}: no step {step!r}; there are {EVERY}, {', '.join(rows)}")
    needs_gpu = path[0] == "gpu" and len(path) > 1
    steps = [name for name, row in rows.items() if step in (name, EVERY) and (row.gpu or not needs_gpu)]
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


def _changed_row(row: Resources, path: list[str], value: Any, item: str) -> Resources:
    values = asdict(row)
    match path:
        case ["gpu", *names] if names:
            allowed, place = [field.name for field in fields(Gpu)], values["gpu"]
        case names:
            allowed, place = [field.name for field in fields(Resources) if field.name not in FIXED], values
    if len(names) != 1 or names[0] not in allowed:
        raise UserError(f"--resource {item!r}: no field {'.'.join(path)!r}; there are {', '.join(allowed)}")
    place[names[0]] = value
    return validated(Resources, values, source=f"--resource {item!r}")
