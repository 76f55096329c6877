"""Prompt templates: facts about how class names are put to CLIP's text tower."""

from enum import StrEnum

SINGLE_TEMPLATE = ("a photo of a {}",)

# The fifteen that the released Context and COCO-Stuff text vectors average.
CLIP_TEMPLATES_15 = (
    "a photo of a {}.",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "a {} in the scene.",
    "a photo of a {} in the scene.",
    "There is a {} in the scene.",
    "There is the {} in the scene.",
    "This is a {} in the scene.",
    "This is the {} in the scene.",
    "This is one {} in the scene.",
)


class TemplateSet(StrEnum):
    """Sets of templates by name."""

    single = "single"
    authors15 = "authors15"
    clip80 = "clip80"


def named_templates(name: TemplateSet) -> tuple[str, ...]:
    """Give a set of templates: the one of VOC, the authors' 15 of Context and COCO-Stuff, or CLIP's 80 of ImageNet."""
    match name:
        case TemplateSet.single:
            return SINGLE_TEMPLATE
        case TemplateSet.authors15:
            return CLIP_TEMPLATES_15
        case TemplateSet.clip80:
            from open_clip import OPENAI_IMAGENET_TEMPLATES  # slow to import

            return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
