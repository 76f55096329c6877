"""Names that several steps share: files in their folders that other steps read, and the papers' scores."""

SCORES_FILE, PROFILE_FILE, HISTORY_FILE = "scores.json", "profile.json", "history.csv"

FINAL_FOLDER = "final"
"""The final checkpoint in the folder of a training."""

THRESHOLDS_FILE = "thresholds.json"

PSEUDO_LABELS_FOLDER = "pseudo_labels"

SCORES = {"pAcc": "pAcc", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)", "hiou": "hIoU"}
"""The papers' names of the four scores, by field."""
