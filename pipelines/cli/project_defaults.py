"""Defaults of a step's command in the folder of a project: what the project's settings state."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.contract import Option, Settings, Step
from components.contract.parameters import Parameter, flag_of
from pipelines.graphs.project import PARAMETERS, Project, is_project, read_project

INSTEAD: dict[str, dict[str, tuple[str, ...]]] = {
    "text_vectors": {
        "names": ("protocol",),
        "vectors": ("clip",),
        "template_set": ("recipe",),
        "templates": ("recipe",),
        "random_clip": ("clip",),
    },
    "train": {"random_clip": ("clip",)},
    "prepare_custom": {
        "images": ("maps", "annotations", "splits", "held_out"),
        "maps": ("annotations",),
        "annotations": ("maps", "splits", "held_out"),
        "splits": ("held_out",),
        "held_out": ("splits",),
    },
}
"""Options that stand instead of others, by step: if the first is given, the others get no default."""


def defaults_of(step: Step[Any, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the defaults of the options of a step's command, as texts, given the words on the command line.

    Without a project in the working folder there are none.

    Raises:
        UserError: the project's settings are wrong.
    """
    if not is_project():
        return {}
    module = step.function.__module__.rpartition(".")[2]
    defaults = _stated(module, read_project())
    for name, others in INSTEAD.get(module, {}).items():
        if name in step.parameters and _given(step.parameters[name], words):
            # What is given by a former flag replaces the setting, too.
            for other in (name, *others):
                defaults.pop(other, None)
    return {
        name: _text(step.parameters[name], value)
        for name, value in defaults.items()
        if name in step.parameters and value is not None
    }


def _stated(module: str, project: Project[Any]) -> dict[str, Any]:
    """Return what the settings state for the parameters of a step."""
    data, only = project.data, len(project.recipes) == 1
    recipe = next(iter(project.recipes.values()))
    names = {"overrides": PARAMETERS, "clip": data.clip}
    match module:
        case "prepare" if project.own is None:
            return {"raw": data.raw, "protocol": project.protocol, "image_sets": data.image_sets}
        case "prepare_custom" if project.own is not None:
            return {"labels": project.protocol, **project.own.arguments(Path(data.raw))}
        case "splits":
            return {"protocol": project.protocol}
        case "text_vectors":
            return {**names, "protocol": project.protocol, "recipe": recipe}
        case "train":
            return {**names, "recipe": recipe if only else None, "seed": project.seed}
        case "self_train":
            mode = project.self_training
            return {"overrides": PARAMETERS, "mode": None if mode == "none" else mode}
        case "evaluate":
            return {"split": project.evaluate.split}
        case "fit_thresholds":
            return {"split": project.fit.split}
        case "gate":
            return {**project.gate.model_dump(exclude={"split"}), "name": project.task}
        case "register":
            return {
                "clip": data.clip,
                **project.gate.model_dump(exclude={"split"}),
                "name": project.task,
            }
    return {}


def _given(parameter: Parameter, words: Sequence[str]) -> bool:
    meaning = parameter.meaning
    former = meaning.former if isinstance(meaning, Option) else None
    flags = [flag for flag in (flag_of(parameter.name, meaning), former) if flag]
    return any(word == flag or word.startswith(f"{flag}=") for word in words for flag in flags)


def _text(parameter: Parameter, value: Any) -> Any:
    """Return a value as the command line would give it."""
    meaning = parameter.meaning
    if isinstance(meaning, Settings):
        return str(value)
    if isinstance(meaning, Option) and meaning.texts is not None:
        texts = meaning.texts(value)
        return texts if meaning.repeatable else texts[0]
    if isinstance(value, Mapping):
        raise AssertionError(f"parameter {parameter.name} writes no texts of {value}")
    return value if isinstance(value, bool | int | float) else str(value)
