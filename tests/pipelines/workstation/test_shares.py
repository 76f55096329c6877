"""How many stages run at a time, and with how many threads."""

from pathlib import Path

import pytest

from pipelines.workstation import shares
from pipelines.workstation.shares import Shares, shares_of_cores


@pytest.mark.parametrize(
    ("weights", "jobs", "stated", "expected"),
    [
        (None, None, "", Shares(8, 1)),  # data that are not pulled yet
        (10, None, "", Shares(8, 1)),
        (10, 3, "", Shares(3, 1)),
        (11, None, "", Shares(2, 4)),  # as many as recipes
        (11, 1, "", Shares(1, 8)),
        (11, 9, "", Shares(9, 1)),
        (11, None, "3", Shares(2, 3)),
        (10, None, "16", Shares(1, 16)),
        (10, 2, "4", Shares(2, 4)),
    ],
)
def test_stages_share_the_cores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: int | None,
    jobs: int | None,
    stated: str,
    expected: Shares,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    monkeypatch.setattr(shares, "SMALL_CLIP", 10)
    Path("params.yaml").write_text("data: {clip: clip}\nrecipes: {a: mini_zegclip, b: mini_cascade_clip}\n")
    if weights is not None:
        Path("clip").mkdir()
        Path("clip/model.safetensors").write_bytes(b"0" * weights)
    assert shares_of_cores(jobs, 8) == expected


def test_one_core_runs_one_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert shares_of_cores(None, 1) == Shares(1, 1)
