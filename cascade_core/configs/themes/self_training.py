"""Self-training: its candidates, thresholds, teachers and pictures."""

from typing import Literal

from cascade_core.configs.themes.theme import Cell, CellClaim, Theme

LEAST_SCORES = (1, 2, 5, 7, 9)
"""Thresholds of pseudo-labels, in tenths."""


def self_training(
    name: str, title: Literal["ZegCLIP", "Cascade-CLIP"], fusion: Literal["none", "cascade"]
) -> Theme:
    """Return the theme of self-training for a method."""
    keep_ignored = {"loss.ignored_as_negative": False}
    return Theme(
        name,
        f"Self-training, {title}",
        fusion,
        "Both papers continue half of an inductive training with pseudo-labels that the model gives itself; the truth says which pixels "
        "are of some unseen class (the oracle). They take every pseudo-label, from the model in training, on the labelled pictures. Strict "
        "self-training does without the oracle. All self-trainings of a seed start from the same checkpoint.",
        "hiou",
        (
            Cell("oracle", "oracle (published)", mode="oracle"),
            Cell("inductive", "no self-training"),
            Cell("strict", "strict", mode="strict"),
            *(
                Cell(
                    f"c{c}", f"strict, scores of at least 0.{c}", {"self_train.confidence": c / 10}, "strict"
                )
                for c in LEAST_SCORES
            ),
            Cell("ignoring", "strict, ignored pixels no negatives", keep_ignored, "strict"),
            Cell(
                "ignoring_c7",
                "strict, at least 0.7, ignored pixels no negatives",
                {**keep_ignored, "self_train.confidence": 0.7},
                "strict",
            ),
            Cell("ema", "strict, averaged teacher", {"self_train.teacher": "ema"}, "strict"),
            Cell(
                "training_free",
                "strict, training-free teacher",
                {"self_train.teacher": "training_free"},
                "strict",
            ),
            Cell(
                "extra",
                "strict, unlabelled val and test pictures too",
                {"self_train.extra_splits": ["val", "test"]},
                "strict",
            ),
        ),
        (
            CellClaim(
                "oracle self-training helps unseen classes", title, "miou_unseen", "oracle", "inductive"
            ),
            CellClaim(
                "strict self-training helps unseen classes", "here", "miou_unseen", "strict", "inductive"
            ),
            CellClaim("the oracle beats strict", "here", "hiou", "oracle", "strict"),
            *(
                CellClaim(f"a threshold of 0.{c} helps", "here", "hiou", f"c{c}", "strict")
                for c in LEAST_SCORES
            ),
            CellClaim("leaving ignored pixels out helps", "here", "hiou", "ignoring", "strict"),
            CellClaim("then a threshold of 0.7 helps", "here", "hiou", "ignoring_c7", "ignoring"),
            CellClaim("an averaged teacher helps", "here", "hiou", "ema", "strict"),
            CellClaim("the model teaches better than CLIP alone", "here", "hiou", "strict", "training_free"),
            CellClaim("further pictures help", "here", "hiou", "extra", "strict"),
        ),
    )
