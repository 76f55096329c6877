"""Names that several steps share: files in their folders that other steps read, and the papers' scores."""

import re

SCORES_FILE, PROFILE_FILE, HISTORY_FILE = "scores.json", "profile.json", "history.csv"

FINAL_FOLDER = "final"
"""The final checkpoint in the folder of a training."""

PICTURE_COUNTS_FILE = "picture_counts.parquet"

THRESHOLDS_FILE = "thresholds.json"

PSEUDO_LABELS_FOLDER = "pseudo_labels"

SCORES = {"pAcc": "pAcc", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)", "hiou": "hIoU"}
"""The papers' names of the four scores, by field."""


def file_stem(text: str) -> str:
    """Return a text as the stem of a file's name, of at most 80 letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_")[:80]
