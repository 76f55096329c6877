"""Training and evaluation at full size on real Pascal VOC photographs, with random CLIP weights, without scores.

Set `CASCADE_VOC_SAMPLE` to a folder with VOCdevkit/VOC2012 in the official layout, and `CASCADE_VOC_VECTORS` to a .npy
file with VOC's 20 text vectors of ViT-B/16.
"""

import os
from pathlib import Path

import pandas as pd
import pytest

from cascade_core.runtime.files import read_json
from components.inputs.preflight import preflight
from components.steps import evaluate, prepare, prepare_dataset, splits, text_vectors, train

VARIABLES = ("CASCADE_VOC_SAMPLE", "CASCADE_VOC_VECTORS")


@pytest.fixture(scope="module")
def sample() -> tuple[Path, Path]:
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        pytest.skip(f"needs real photographs: set {' and '.join(missing)}")
    folder, vectors = (Path(os.environ[name]) for name in VARIABLES)
    return folder, vectors


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["zegclip_voc12", "cascade_voc12"])
def test_full_size_training_and_evaluation_run_on_photographs(
    sample: tuple[Path, Path], recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    folder, vectors = sample
    steps = {name: tmp_path / name for name in ("prepared", "splits", "text")}
    prepared = prepare.run(
        raw=folder,
        protocol="voc12-15-5",
        image_sets={"train": "train+aug", "val": "val"},
        out=steps["prepared"],
    )
    assert prepared is not None
    splits.run(prepared=steps["prepared"], protocol="voc12-15-5", out=steps["splits"])
    text_vectors.run(
        protocol="voc12-15-5", templates=("a photo of a {}",), vectors=vectors, out=steps["text"]
    )
    trained = train.run(
        **steps,
        random_clip=True,
        recipe=recipe,
        overrides={"train.iterations": 2, "train.batch_size": 1, "train.workers": 0, "train.log_every": 1},
        seed=0,
        out=tmp_path / "trained",
    )
    losses = pd.read_csv(tmp_path / "trained/history.csv")["loss"]
    assert len(losses) == 2 and (losses > 0).all()
    row = evaluate.run(**steps, checkpoint=trained.final, split="val", limit=4, out=tmp_path / "evaluated")
    assert row.protocol == "voc12-15-5" and row.num_pictures == 4
    assert 0 <= row.pAcc <= 1
    assert len(list((tmp_path / "evaluated/pictures").glob("*.png"))) == 4
    assert read_json(tmp_path / "trained/final/manifest.json")["provenance"]["clip"] == "random"


@pytest.mark.real_data
def test_real_photographs_are_prepared_as_a_part_of_voc_2012(
    sample: tuple[Path, Path], tmp_path: Path
) -> None:
    """The sample has no SBD archive: SBD's label maps are ready in SegmentationClassAug."""
    folder, vectors = sample
    given = {"name": "voc12", "sources": [folder], "raw": tmp_path / "raw"}
    with pytest.raises(ValueError, match="officially 10,582"):
        prepare_dataset.run(**given, out=tmp_path / "prepared")
    done = prepare_dataset.run(**given, out=tmp_path / "prepared", allow_subset=True)
    indexed = prepare.run(
        raw=folder,
        protocol="voc12-15-5",
        image_sets={"train": "train+aug", "val": "val"},
        out=tmp_path / "indexed",
    )
    assert done.data_hash == indexed.data_hash
    splits.run(prepared=tmp_path / "prepared", protocol="voc12-15-5", out=tmp_path / "splits")
    text_vectors.run(
        protocol="voc12-15-5", templates=("a photo of a {}",), vectors=vectors, out=tmp_path / "text"
    )
    steps = {name: tmp_path / name for name in ("prepared", "splits", "text")}
    checks = preflight(**steps, stored=vectors)
    assert any("each of 20 is nearest to its own name" in sentence for sentence in checks.passed)
    assert checks.notes[-1].startswith("data: a part of voc12 only")
