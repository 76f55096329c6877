"""CAT-Seg through the steps: training, evaluation, prediction, costs, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.steps import evaluate, export, profile, self_train, train
from tests.components.conftest import SHORT, Folders

RECIPE = "mini_cat_seg_frozen"
# Of the size of a window, so that the inference of full size runs too.
WINDOWS = {
    "evaluate.mode": "slide_and_whole",
    "evaluate.short_side": 96,
    "evaluate.keep_ratio": False,
    "evaluate.batch_size": 1,
}


@pytest.fixture(scope="module")
def trained(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cat_seg") / "trained"
    overrides: dict[str, Any] = {**SHORT, **WINDOWS, "optim.warmup_iterations": 0}
    train.run(**folders.steps, clip=folders.clip, recipe=RECIPE, overrides=overrides, out=out)
    return out


def test_training_changes_the_head_alone(trained: Path) -> None:
    half, final = (load_file(trained / name / "model.safetensors") for name in ("half", "final"))
    same = {name for name in final if torch.equal(half[name], final[name])}
    assert same == {name for name in final if name.startswith("trunk.")}
    losses = pd.read_csv(trained / "history.csv")["loss"]
    assert len(losses) == 4 and losses.is_monotonic_decreasing


def test_evaluation_scores_windows_and_the_whole(folders: Folders, trained: Path, tmp_path: Path) -> None:
    row = evaluate.run(**folders.steps, checkpoint=trained / "final", split="val", out=tmp_path / "scores")
    counts = pd.read_csv(tmp_path / "scores" / "confusion.csv", index_col="truth").to_numpy()
    assert counts.sum() == 3 * 64 * 64 and row.seen_penalty == 0.0


def test_prediction_takes_any_labels_and_sizes(folders: Folders, trained: Path) -> None:
    predictor = Predictor.load(trained / "final", folders.clip, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    assert predictor.size_seen(40, 90) == (96, 96)
    one, other = (predictor.predict(picture, labels) for labels in (("zebra", "grass"), ("grass", "zebra")))
    assert one.label_map.shape == (40, 90)
    # The order of the labels changes their ids only.
    assert np.array_equal(one.label_map, 1 - other.label_map)


def test_costs_are_counted(folders: Folders, trained: Path, tmp_path: Path) -> None:
    done = profile.run(
        checkpoints=(trained / "final",),
        text=folders.text,
        repeats=1,
        batch_sizes=(1,),
        out=tmp_path / "cost",
    )
    assert (done.cost.trainable_params, done.cost.dead_params) == (133_177, 0)
    assert done.cost.gmacs > 0 and "decoders" in {part.name for part in done.cost.breakdown.parts}


def test_self_training_starts_from_it(folders: Folders, trained: Path, tmp_path: Path) -> None:
    result = self_train.run(
        **folders.steps, trained=trained, mode="strict", overrides={}, out=tmp_path / "out"
    )
    assert load_segmentor(result.final)[1].setting == "transductive_strict"


def test_an_export_to_a_graph_is_refused(folders: Folders, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{RECIPE} has no graph: its parts SpatialBlock follow"):
        export.run(model=str(trained / "final"), clip=folders.clip, kind="onnx", out=tmp_path / "graph")
    assert not (tmp_path / "graph").exists()
