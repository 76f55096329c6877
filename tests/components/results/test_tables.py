"""Tables of steps are read with class names as text."""

from pathlib import Path

import pandas as pd
import pytest

from cascade_core.errors import UserError
from components.results.confusion_table import present_confusion
from components.results.tables import read_table

NAMES = ["null", "NA", "None", "nan", "7", "1e3", "true", "truth", "class", "a, b", '"quoted"']


def test_a_confusion_matrix_keeps_classes_by_any_name(tmp_path: Path) -> None:
    counts = [[1 + (i == j) for j in range(len(NAMES))] for i in range(len(NAMES))]
    frame = pd.DataFrame(counts, index=NAMES, columns=NAMES)
    frame.to_csv(tmp_path / "confusion.csv", index_label="truth")
    assert present_confusion(tmp_path) == (NAMES, counts)


@pytest.mark.parametrize("names", [NAMES, ["7", "8"]], ids=["mixed", "all numbers"])
def test_only_empty_cells_are_missing_numbers(tmp_path: Path, names: list[str]) -> None:
    ious = [float("nan"), *[0.5] * (len(names) - 1)]
    path = tmp_path / "per_class.csv"
    pd.DataFrame({"class": names, "group": "seen", "iou": ious}).to_csv(path, index=False)
    table = read_table(path, step="an evaluate step")
    assert table["class"].tolist() == names
    assert table["iou"].isna().tolist() == [True, *[False] * (len(names) - 1)]
    assert table["iou"].mean() == 0.5


@pytest.mark.parametrize("content", [b"", b'a,b\n1,2,3\n"', b"\xff\xfe\x00"])
def test_a_file_that_is_no_table_is_named_with_its_step(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "per_class.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"per_class\.csv is not a table of an evaluate step .*run it again"):
        read_table(path, step="an evaluate step")
