"""The confusion matrix of an evaluation, small enough for a page: only of the classes at hand."""

from pathlib import Path

import pandas as pd

CONFUSION_FILE = "confusion.csv"


def confusion_at_hand(evaluation: Path) -> tuple[list[str], list[list[int]]]:
    """Give class names and pixel counts (rows: truth) of the classes that are present or were predicted.

    Raises:
        ValueError: the folder is not that of an evaluate step.
    """
    path = evaluation / CONFUSION_FILE
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder of an evaluate step")
    counts = pd.read_csv(path, index_col="truth")
    at_hand = [name for name in counts.columns if counts[name].any() or counts.loc[name].any()]
    return at_hand, counts.loc[at_hand, at_hand].to_numpy().tolist()
