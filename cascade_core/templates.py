"""Prompt templates: facts about how class names are put to CLIP's text tower."""

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
