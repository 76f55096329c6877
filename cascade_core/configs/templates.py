"""Prompt templates: the texts in which CLIP's text tower gets a class name."""

from enum import StrEnum

SINGLE_TEMPLATE = ("a photo of a {}",)

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
"""The templates that the authors' text vectors of Context and COCO-Stuff average."""

OTSEG_TEMPLATES_6 = (
    "a photo of a {}.",
    "a portrait of a {}.",
    "a part of a {}.",
    "a segment of a {}.",
    "a photo of small {}.",
    "a photo of medium {}.",
)
OTSEG_TEMPLATES_8 = (*OTSEG_TEMPLATES_6, "a photo of large {}.", "a background of a {}.")
"""The templates of OTSeg: six for VOC, eight for Context and COCO-Stuff; their vectors are not averaged."""

CAT_SEG_TEMPLATE = ("A photo of a {} in the scene",)


class TemplateSet(StrEnum):
    """Names of template sets."""

    single = "single"
    authors15 = "authors15"
    clip80 = "clip80"


def named_templates(name: TemplateSet) -> tuple[str, ...]:
    """Return VOC's single template, the authors' 15 for Context and COCO-Stuff, or CLIP's 80 for ImageNet."""
    match name:
        case TemplateSet.single:
            return SINGLE_TEMPLATE
        case TemplateSet.authors15:
            return CLIP_TEMPLATES_15
        case TemplateSet.clip80:
            from open_clip import OPENAI_IMAGENET_TEMPLATES  # slow to import

            return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
