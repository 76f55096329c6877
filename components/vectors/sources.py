"""The sources of text vectors: class names from a protocol or a file, prompt templates from a recipe or the call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.configs.model import TextForm
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.templates import TemplateSet, named_templates
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.runtime.listing import duplicates, same_name
from components.vectors.vector_files import read_names


@dataclass(frozen=True)
class Prompts:
    """Prompt templates, and what the recipe says: names for background, width of text vectors, and their form."""

    templates: tuple[str, ...]
    background: tuple[str, ...] = ()
    width: int | None = None
    form: TextForm = "mean"


@dataclass(frozen=True)
class NamedClasses:
    """Class names in order, the synonyms of each, and the label file's names for background."""

    names: tuple[str, ...]
    synonyms: Sequence[Sequence[str]]
    background: tuple[str, ...] = ()
    protocol: str | None = None

    @property
    def groups(self) -> list[list[str]]:
        """Each class's name, followed by its synonyms."""
        others = self.synonyms or [()] * len(self.names)
        return [[name, *words] for name, words in zip(self.names, others, strict=True)]


def prompt_templates(
    recipe: str | None,
    template_set: TemplateSet | None,
    templates: Sequence[str],
    overrides: Mapping[str, Any],
) -> Prompts:
    """Take templates from a recipe with overrides, from a named set, or from the call.

    Raises:
        UserError: not exactly one of the three is given, the recipe is unknown, or overrides come without one.
    """
    if sum(bool(source) for source in (recipe, template_set, templates)) != 1:
        raise UserError(
            "prompt templates come from --recipe, --templates or --template: give exactly one of them"
        )
    if recipe is None:
        if overrides:
            raise UserError("--set and --overrides change what a recipe says; give it with --recipe")
        return Prompts(named_templates(template_set) if template_set else tuple(templates))
    config = named_recipe(recipe, overrides)
    model = config.model
    return Prompts(
        config.data.templates, config.evaluate.background.names, model.clip.embed_dim, form=model.text
    )


def named_classes(protocol: str | None, names: Path | None) -> NamedClasses:
    """Take class names from a protocol (or label file), or from a text file.

    Raises:
        UserError: both or neither is given, or the file cannot be read or names a class twice.
    """
    if (protocol is None) == (names is None):
        raise UserError("class names come from --protocol or from --names FILE: give exactly one of them")
    if protocol is not None:
        split = named_protocol(protocol).foreground()
        background = split.own.background_setting.names if split.own else ()
        return NamedClasses(split.classes, split.label_set.synonyms, background, split.name)
    assert names is not None
    classes, synonyms = read_names(names)
    if repeated := duplicates(map(same_name, classes)):
        raise UserError(f"names {', '.join(repeated)} come more than once; give every class once")
    return NamedClasses(tuple(classes), synonyms)
