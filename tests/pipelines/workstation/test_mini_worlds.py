"""The table over several worlds: what it takes, what it refuses, and its page."""

from functools import partial
from pathlib import Path

import pytest

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.vocabulary import WORDS
from cascade_core.runtime.files import write_json
from components.steps.pretrain import ACCURACY_FILE
from pipelines.workstation import mini_worlds
from pipelines.workstation.mini_page import PUBLISHED, MiniRow
from pipelines.workstation.mini_worlds import SETTINGS, page


def row(method: str, setting: str, seed: int, unseen: float) -> MiniRow:
    scores = {"pAcc": 0.7, "miou_seen": 0.5, "miou_unseen": unseen, "hiou": unseen}
    cost = {"trainable_params": 1, "gmacs": 1.0, "images_per_second": 1.0}
    facts = {"split": "test2", "protocol": "mini-18-6", "made_from": "commit x"}
    return MiniRow.model_validate(
        {"method": method, "setting": setting, "seed": seed, **facts, **scores, **cost}
    )


def world(folder: Path, seed: int) -> Path:
    write_benchmark(folder, seed=seed, sizes={"train": 2, "val": 1, "test": 1, "test2": 1})
    save_clip(folder / "clip", new_clip(MINI_CLIP, seed=seed), words=list(WORDS))
    accuracy = {"seen": 0.9, "unseen": 0.8, "per_class": {}}
    write_json(folder / "clip" / ACCURACY_FILE, {"pictures": accuracy, "patches": accuracy})
    return folder


def test_the_spread_is_over_worlds_and_claims_pair_them() -> None:
    worlds = [
        [
            row(method, setting, seed, base + (0.1 if method == "cascade_clip" else 0) + seed / 10)
            for method in PUBLISHED
            for setting in SETTINGS
            for seed in (0, 1)
        ]
        for base in (0.2, 0.3, 0.4)
    ]
    text = page(worlds, [0, 1], ["pictures a", "pictures b", "pictures c"])
    assert "| ZegCLIP | inductive | mIoU(U) | 25.0 | 35.0 | 45.0 | 35.0 ± 10.0 |" in text
    assert "- world 2: pictures b" in text and "Made from commit x." in text
    (claim,) = (line for line in text.splitlines() if "middle levels" in line)
    assert claim.endswith("| +10.0 | +10.0 | +10.0 | +10.0 | +10.0 to +10.0 | holds |")
    assert "These are 5 comparisons." in text


def test_worlds_are_checked_and_their_trainings_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {"markdown": tmp_path / "w.md", "rows_json": tmp_path / "w.json"}
    plan = partial(
        mini_worlds.run, seeds=[0, 1], split="test2", work=tmp_path / "work", dry_run=True, **results
    )
    with pytest.raises(ValueError, match="two or more --world"):
        plan(worlds=[tmp_path])
    with pytest.raises(ValueError, match=r"draw it: cascade-clip mini-data --seed N --out"):
        plan(worlds=[tmp_path, tmp_path])
    first, second = world(tmp_path / "first", 0), world(tmp_path / "second", 1)
    assert plan(worlds=[first, second]) == []
    assert "24 of 24 trainings are left to do" in capsys.readouterr().out
    with pytest.raises(ValueError, match="two worlds have the same pictures and CLIP"):
        plan(worlds=[first, second, first])
    assert not (tmp_path / "w.md").exists()
