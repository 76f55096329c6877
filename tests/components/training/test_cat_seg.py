"""CAT-Seg through the steps: training, evaluation, prediction, costs, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.data.pictures import read_image
from cascade_core.data.prepared import data_root, read_index, rows_of_split
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.runtime.files import read_json
from components.steps import evaluate, export, profile, self_train, text_vectors, train
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


def test_prediction_takes_any_labels_and_sizes(folders: Folders, trained: Path) -> None:
    predictor = Predictor.load(trained / "final", folders.clip, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    assert predictor.size_seen(40, 90) == (96, 96)
    one, other = (predictor.predict(picture, labels) for labels in (("zebra", "grass"), ("grass", "zebra")))
    assert one.label_map.shape == (40, 90)
    # The order of the labels changes their ids only.
    assert np.array_equal(one.label_map, 1 - other.label_map)


def test_self_training_starts_from_it(folders: Folders, trained: Path, tmp_path: Path) -> None:
    result = self_train.run(
        **folders.steps, trained=trained, mode="strict", overrides={}, out=tmp_path / "out"
    )
    assert load_segmentor(result.final)[1].setting == "transductive_strict"


def test_an_export_to_a_graph_is_refused(folders: Folders, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{RECIPE} has no graph: its parts SpatialBlock follow"):
        export.run(model=str(trained / "final"), clip=folders.clip, kind="onnx", out=tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


@pytest.fixture(scope="module")
def text(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("text") / "text"
    text_vectors.run(protocol="mini-18-6", recipe="mini_cat_seg", clip=folders.clip, out=out)
    return out


@pytest.fixture(scope="module")
def tuned(folders: Folders, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cat_seg") / "tuned"
    overrides: dict[str, Any] = {
        **SHORT,
        **WINDOWS,
        "optim.warmup_iterations": 0,
        "train.iterations": 2,
        "optim.clip_lr": 1e-3,
    }
    train.run(
        **{**folders.steps, "text": text},
        clip=folders.clip,
        recipe="mini_cat_seg",
        overrides=overrides,
        out=out,
    )
    return out


def test_tuning_changes_queries_and_values_alone_of_clip(folders: Folders, tuned: Path) -> None:
    final, clip = load_file(tuned / "final/model.safetensors"), load_file(folders.clip / "model.safetensors")
    for name, weight in clip.items():
        own = {"visual": f"trunk.{name}", "text": name}.get(name.partition(".")[0])
        if own is None or name == "visual.positional_embedding":  # the logit scale; resized positions
            continue
        assert torch.equal(final[own], weight)
        if name.endswith("in_proj_weight"):
            place, rows = own.removesuffix("in_proj_weight"), weight.chunk(3)
            for part, before in (("query", rows[0]), ("value", rows[2])):
                if f"{place}{part}_weight" in final:
                    assert not torch.equal(final[f"{place}{part}_weight"], before)
    assert sum(name.endswith("_weight") and "query" in name for name in final) == 7 + 2


def test_a_tuned_checkpoint_evaluates_and_predicts_alike(
    folders: Folders, text: Path, tuned: Path, tmp_path: Path
) -> None:
    evaluate.run(
        **{**folders.steps, "text": text}, checkpoint=tuned / "final", split="val", out=tmp_path / "scores"
    )
    counts = pd.read_csv(tmp_path / "scores" / "confusion.csv", index_col="truth").to_numpy()
    assert read_json(tmp_path / "scores" / "scores.json")["seen_penalty"] == 0.0
    predictor = Predictor.load(tuned / "final", folders.clip, device="cpu")
    index = read_index(folders.prepared)
    rows = rows_of_split(index, "val")
    pictures = [read_image(data_root(folders.prepared) / path) for path in rows["image"]]
    predicted = np.concatenate([predictor.predict(one).label_map.ravel() for one in pictures])
    assert counts.sum(axis=0).tolist() == np.bincount(predicted, minlength=24).tolist()


def test_a_tuned_model_is_profiled_with_its_text_tower(
    folders: Folders, text: Path, tuned: Path, tmp_path: Path
) -> None:
    done = profile.run(
        checkpoints=(tuned / "final",), text=text, repeats=1, batch_sizes=(1,), out=tmp_path / "cost"
    )
    assert (done.cost.trainable_params, done.cost.dead_params) == (211_001, 0)
    assert {"text tower", "decoders"} <= {part.name for part in done.cost.breakdown.parts}


def test_vectors_without_tokens_are_refused(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"not the tokens of the texts, which this model reads; run the text-vectors"
    ):
        train.run(
            **folders.steps, clip=folders.clip, recipe="mini_cat_seg", overrides=SHORT, out=tmp_path / "out"
        )
    with pytest.raises(UserError, match=r"mini_cat_seg trains the text tower.*give --clip FOLDER"):
        text_vectors.run(protocol="mini-18-6", recipe="mini_cat_seg", random_clip=True, out=tmp_path / "text")
