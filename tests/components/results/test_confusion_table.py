"""An evaluation on Kubeflow's page: percents of at most 25 classes, and the whole matrix as the artifact's file."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import ClassificationMetrics

from components.results import confusion_table
from components.results.evaluation import Evaluation

CLASSES = [f"class {number}" for number in range(40)]
UNSEEN = CLASSES[-6:]
EVALUATION = Evaluation(
    method="zegclip", setting="inductive", split="val", protocol="mini-18-6", seed=0, pAcc=0.8, miou_seen=0.6,
    miou_unseen=None, hiou=None, seen_penalty=0.1, background="dropped", num_pictures=3, data_hash="ab", pictures_hash="cd", precision="fp32",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of an evaluate step with 40 classes, six of them unseen."""
    counts = np.random.default_rng(0).integers(1, 100, (40, 40)) + np.eye(40, dtype=int) * 4000
    table = pd.DataFrame(counts, index=pd.Index(CLASSES, name="truth"), columns=CLASSES)
    table.to_csv(tmp_path / confusion_table.CONFUSION_FILE)
    groups = ["unseen" if name in UNSEEN else "seen" for name in CLASSES]
    rows = pd.DataFrame({"class": CLASSES, "group": groups, "iou": 0.5})
    rows.to_csv(tmp_path / confusion_table.PER_CLASS_FILE, index=False)
    return tmp_path


def test_the_page_shows_percents_of_25_classes(folder: Path) -> None:
    scores = SimpleNamespace(path=str(folder / "scores"), metadata={})
    confusion = ClassificationMetrics(uri=str(folder / "matrix"), metadata={})
    confusion_table.show(EVALUATION, folder, scores=scores, confusion=confusion)
    matrix = confusion.metadata["confusionMatrix"]
    names = [one["displayName"] for one in matrix["annotationSpecs"]]
    assert len(names) == 25 and set(UNSEEN) < set(names)
    rows = [row["row"] for row in matrix["rows"]]
    assert all(50 < row[place] <= sum(row) <= 100.1 for place, row in enumerate(rows))
    assert scores.metadata == {"pAcc": 0.8, "miou_seen": 0.6}, "undefined scores have no row"
    whole = pd.read_csv(folder / "matrix", index_col="truth")
    assert whole.shape == (40, 40) and whole.to_numpy().min() >= 1
