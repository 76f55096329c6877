"""The content of a training: what decides its result, and neither commit, place nor time. Equal content, equal key."""

import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.runtime.files import sha256
from components.artifacts.manifest import data_hash
from components.contract import Call, Folder, Place, Settings
from components.imports import code_hash

PACKAGE = "cascade-clip-workflow"
KEY_LENGTH = 32


def content_of(call: Call) -> dict[str, str]:
    """Return the SHA-256 of each part of a training's content: configuration, data, input folders, code and libraries.

    Inputs count by the files that the step reads, data by its pictures and label maps, code by the modules that the step
    imports, and libraries by the versions that this package pins.

    Raises:
        UserError: the recipe or an override is unknown, or an input does not exist or is not that of its step.
    """
    return {
        "step": call.step.name,
        "configuration": _digest(_configuration(call)),
        "data": data_hash(call.inputs["prepared"]),
        **dict(_inputs(call)),
        "code": code_hash(call.step.name),
        "libraries": _digest(_pinned_libraries()),
    }


def key_of(content: dict[str, str]) -> str:
    """Return the key of a content: hexadecimal digits, which can be a folder's name."""
    return _digest(content)[:KEY_LENGTH]


def _configuration(call: Call) -> dict[str, Any]:
    """Return the recorded options; overrides of a recipe are resolved, so that one that states a default changes nothing."""
    options = dict(call.recorded)
    if "recipe" not in options:
        return options
    (overrides,) = (
        options.pop(name)
        for name in list(options)
        if isinstance(call.step.parameters[name].meaning, Settings)
    )
    config = recipe(options["recipe"], overrides, seed=options["seed"])
    return {**options, "config": config.model_dump(mode="json")}


def _inputs(call: Call) -> Iterator[tuple[str, str]]:
    for name, folder in call.inputs.items():
        meaning = call.step.parameters[name].meaning
        assert isinstance(meaning, Folder | Place)
        parts = (meaning.content if isinstance(meaning, Folder) else ()) or ("",)
        for part in parts:
            if not (path := folder / part).exists():
                raise UserError(f"input {path} does not exist; run the step that writes it first")
            yield f"{name}/{part}".rstrip("/"), sha256(path)


def _pinned_libraries() -> list[str]:
    requirements = metadata.requires(PACKAGE) or []
    return sorted(one for one in requirements if "==" in one and "extra" not in one)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
