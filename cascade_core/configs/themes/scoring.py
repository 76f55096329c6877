"""Settings that count at inference alone: the penalty on seen classes, and cosines with the text."""

from typing import Literal

from cascade_core.configs.themes.theme import Cell, CellClaim, Theme

AT_INFERENCE = {"model.cosines_in_training": 0.0}

PICTURE_COSINE, PATCH_COSINE = 2.0, -2.0
"""Chosen on classes held out from the seen ones (docs/results/plus_choice.md), with a CLIP whose softmax has a scale of 7."""

TEXT_COSINES = {**AT_INFERENCE, "model.picture_cosine": PICTURE_COSINE, "model.patch_cosine": PATCH_COSINE}


def penalties(name: str, title: str, fusion: Literal["none", "cascade"]) -> Theme:
    """Return the theme of the penalty on seen classes for a method."""
    others = (0.0, 0.05, 0.15, 0.2, 0.3, 0.5)
    return Theme(
        name,
        f"Penalty on seen classes, {title}",
        fusion,
        "The released code subtracts 0.1 from the seen classes' scores of inductive models; the papers do not mention it. Nothing is "
        "trained anew for a penalty: each model is scored with all of them.",
        "hiou",
        (
            Cell("published", "0.1 (published)"),
            *(Cell(f"p{round(100 * p):02d}", f"{p:g}", {"evaluate.seen_penalty": p}) for p in others),
        ),
        (
            CellClaim("the penalty helps", "released code", "hiou", "published", "p00"),
            CellClaim("the penalty helps unseen classes", "released code", "miou_unseen", "published", "p00"),
            CellClaim("seen classes are better without it", "here", "miou_seen", "p00", "published"),
            CellClaim("a penalty of 0.2 beats 0.1", "here", "hiou", "p20", "published"),
        ),
    )
