"""The matrices of the most confused pairs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.results.confused_pairs import confused_pairs, section_of, shares_of

CLASSES = ["cat", "truth", "cow", "owl"]


def confusion(folder: Path, counts: list[list[int]]) -> Path:
    folder.mkdir()
    pd.DataFrame(counts, index=CLASSES, columns=CLASSES).to_csv(folder / "confusion.csv", index_label="truth")
    return folder


def test_pairs_are_ranked_by_their_share_of_the_true_class(tmp_path: Path) -> None:
    counts = [[90, 10, 0, 0], [0, 1, 3, 0], [0, 20, 80, 100], [0, 0, 0, 0]]
    shares = shares_of(confusion(tmp_path / "a", counts), "ours")
    assert shares is not None
    assert confused_pairs(shares.table) == [
        ("truth", "cow"),
        ("cow", "owl"),
        ("cat", "truth"),
        ("cow", "truth"),
    ]
    assert confused_pairs(shares.table, most=1) == [("truth", "cow")]


def test_the_last_evaluation_decides_and_rows_add_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    read = [
        shares_of(confusion(tmp_path / name, rng.integers(1, 50, (4, 4)).tolist()), name)
        for name in ("a", "b")
    ]
    section = section_of([one for one in read if one is not None])
    assert section["by"] == "b" and [one["title"] for one in section["matrices"]] == ["a", "b"]
    for matrix in section["matrices"]:
        for line in matrix["lines"]:
            shares = [cell["share"] for cell in line["cells"] if cell is not None]
            assert sum(shares) + line["right"] + line["rest"] == pytest.approx(1)
    framed = [
        cell for line in section["matrices"][1]["lines"] for cell in line["cells"] if cell and cell["pair"]
    ]
    assert len(framed) == section["num_pairs"] == 12


def test_a_perfect_evaluation_has_no_pairs(tmp_path: Path) -> None:
    perfect = shares_of(confusion(tmp_path / "a", np.diag([4, 3, 2, 0]).tolist()), "a")
    assert perfect is not None and section_of([perfect]) == {} and section_of([]) == {}
    assert shares_of(tmp_path, "no evaluation") is None
