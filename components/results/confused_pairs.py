"""The pairs of classes that evaluations confuse most, as small matrices for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.results.confusion_table import CONFUSION_FILE
from components.results.evaluation import number_or_none
from components.results.tables import read_square_table

NUM_PAIRS = 12


@dataclass(frozen=True)
class Shares:
    """Shares of each true class's pixels (rows) by predicted class (columns); NaN for a class without pixels."""

    title: str
    table: pd.DataFrame


def shares_of(evaluation: Path, title: str) -> Shares | None:
    """Read the confusion matrix of an evaluation; None if the folder has none.

    Raises:
        UserError: the file is broken.
    """
    file = evaluation / CONFUSION_FILE
    if not file.is_file():
        return None
    counts = read_square_table(file, names="truth", step="an evaluate step").astype(float)
    return Shares(title, counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0))


def confused_pairs(table: pd.DataFrame, most: int = NUM_PAIRS) -> list[tuple[str, str]]:
    """Return up to `most` pairs of true and predicted class with the largest shares of the true class, the largest first."""
    values = table.to_numpy(copy=True)
    np.fill_diagonal(values, np.nan)
    flat = np.where(np.isnan(values), 0.0, values).ravel()
    order = np.argsort(-flat, kind="stable")[:most]
    names = [str(name) for name in table.index]
    return [(names[i // len(names)], names[i % len(names)]) for i in order.tolist() if flat[i] > 0]


def section_of(matrices: Sequence[Shares]) -> dict[str, Any]:
    """Return the matrices of the pairs that the last evaluation confuses most; {} without a confusion.

    Rows are the pairs' true classes. Columns are `right`, the pairs' predicted classes, and all other classes together, so
    that a row adds up to 1. Evaluations of other classes are left out.
    """
    if not matrices or not (pairs := confused_pairs(matrices[-1].table)):
        return {}
    last = matrices[-1].table
    truths, predicted = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    return {
        "by": matrices[-1].title,
        "num_pairs": len(pairs),
        "predicted": predicted,
        "matrices": [
            {"title": one.title, "lines": [_line(one.table, truth, predicted, pairs) for truth in truths]}
            for one in matrices
            if list(one.table.index) == list(last.index)
        ],
    }


def _line(
    table: pd.DataFrame, truth: str, predicted: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    own: dict[str, float] = dict(
        zip(map(str, table.columns), table.loc[[truth]].to_numpy()[0].tolist(), strict=True)
    )
    cells = [
        None if name == truth else {"share": number_or_none(own[name]), "pair": (truth, name) in pairs}
        for name in predicted
    ]
    rest = sum(share for name, share in own.items() if name not in {truth, *predicted})
    return {"truth": truth, "right": number_or_none(own[truth]), "cells": cells, "rest": number_or_none(rest)}
