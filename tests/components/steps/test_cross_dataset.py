"""One checkpoint on many data sets: which classes count as seen there, and the table of scores."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_core.batches.samples import eval_dataset
from cascade_core.checkpoints.checkpoint import CheckpointManifest
from cascade_core.configs.config import RunConfig
from cascade_core.data.prepared import data_root, read_index
from cascade_core.datasets.catalogue import protocol
from cascade_core.datasets.context import CLASSES as CONTEXT_59
from cascade_core.evaluation import target_split
from cascade_core.labels.background import parse_background
from cascade_core.runtime.files import read_json, write_json
from components.results.confusion_table import present_confusion
from components.steps import cross_dataset, evaluate, prepare_dataset, splits, text_vectors
from components.tracking.experiments import CROSS_DATASET
from components.tracking.pipeline_run import whole_run
from components.tracking.store import open_store
from tests import official_files
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

SCORES = {
    "method": "zegclip",
    "setting": "inductive",
    "split": "val",
    "protocol": "voc12-20 from cocostuff-156-15",
    "seed": 0,
    "pAcc": 0.5,
    "miou_seen": 0.4,
    "miou_unseen": None,
    "hiou": None,
    "num_pictures": 3,
}


def manifest_of(name: str) -> CheckpointManifest:
    split = protocol(name)
    config = tiny_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"protocol": name})})
    return CheckpointManifest(
        config=config,
        setting="inductive",
        iteration=1,
        total_iterations=1,
        classes=split.classes,
        unseen=split.unseen_names,
        provenance={},
    )


def evaluation(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    write_json(folder / "scores.json", SCORES | changes)
    table = pd.DataFrame(
        {"class": ["cat", "dog", "sofa"], "group": ["seen", "unseen", "seen"], "iou": [0.5, None, 0.25]}
    )
    table.to_csv(folder / "per_class.csv", index=False)
    return folder


def test_classes_of_a_target_are_seen_by_name() -> None:
    target, source = protocol("voc12-20"), protocol("cocostuff-156-15")
    carried = target_split(target, manifest_of("cocostuff-156-15"), seen="names")
    assert set(carried.seen_names) == set(target.classes) & set(source.seen_names)
    assert set(carried.seen_names) | set(carried.unseen_names) == set(target.classes)
    assert "cow" in source.unseen_names and "cow" in carried.unseen_names
    assert carried.name == "voc12-20 from cocostuff-156-15"


@pytest.mark.parametrize(
    "target", ["voc12-20", "context59", "context59-literature", "ade20k-150", "mini-18-6"]
)
def test_as_published_every_class_of_a_target_counts_as_seen(target: str) -> None:
    carried = target_split(protocol(target), manifest_of("cocostuff-156-15"), seen="all")
    assert (carried.unseen, carried.classes) == ((), protocol(target).classes)
    assert carried.name == f"{target} from cocostuff-156-15"


def test_a_target_without_a_common_class_is_refused() -> None:
    with pytest.raises(ValueError, match="'mini-18-6' shares no class name with the 15 seen classes"):
        target_split(protocol("mini-18-6"), manifest_of("voc12-15-5"), seen="names")


def test_the_table_holds_a_row_per_target_in_their_order(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / "a"), evaluation(tmp_path / "b", protocol="other", pAcc=0.25)]
    done = cross_dataset.run(evaluations=folders, out=tmp_path / "out")
    assert [row["protocol"] for row in done.rows] == [SCORES["protocol"], "other"]
    assert (done.rows[0]["num_classes"], done.rows[0]["num_seen"]) == (3, 2)
    assert done.rows[0]["miou"] == pytest.approx(0.375)
    assert read_json(tmp_path / "out" / "cross_dataset.json") == list(done.rows)
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "other", "dropped", "zegclip", "inductive", "val", "3", "3", "2", "37.5", "25.0", "40.0", "-", "-",
    ]  # fmt: skip
    assert "<td>37.5</td>" in done.page.read_text()


@pytest.mark.parametrize("missing", ["scores.json", "per_class.csv"])
def test_a_folder_that_is_no_evaluation_is_named(tmp_path: Path, missing: str) -> None:
    folder = evaluation(tmp_path / "a")
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=missing):
        cross_dataset.run(evaluations=[folder], out=tmp_path / "out")


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one evaluation"):
        cross_dataset.run(evaluations=[], out=tmp_path / "out")


def test_a_confusion_matrix_keeps_the_classes_at_hand(tmp_path: Path) -> None:
    names = ["cat", "dog", "sofa", "car"]
    counts = pd.DataFrame(
        [[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]], index=names, columns=names
    )
    counts.to_csv(tmp_path / "confusion.csv", index_label="truth")
    assert present_confusion(tmp_path) == (["cat", "sofa", "car"], [[3, 1, 0], [0, 0, 0], [0, 0, 2]])


def test_a_folder_without_confusion_matrix_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"confusion\.csv does not exist"):
        present_confusion(tmp_path)


def coco_config() -> RunConfig:
    config = tiny_config(mode="slide", short_side=32)
    data = config.data.model_copy(update={"protocol": "cocostuff-156-15"})
    return config.model_copy(update={"data": data})


COCO_CONFIG = coco_config()


def prepared_target(data_set: str, target: str, write: Callable[[Path], None], folder: Path) -> Path:
    """Write official files of a target and prepare its validation pictures."""
    (folder / "downloads").mkdir()
    write(folder / "downloads")
    prepare_dataset.run(
        name=data_set,
        sources=[folder / "downloads"],
        raw=folder / "raw",
        protocol=target,
        splits=("val",),
        allow_subset=True,
        out=folder / "prepared",
    )
    return folder / "prepared"


def voc_data(folder: Path) -> None:
    official_files.voc_2012(folder, train=["a"], val=["2007_000033"])


def context_data(folder: Path) -> None:
    cat, wood = 1 + CONTEXT_59.index("cat"), 59
    maps = {
        "train": {"2008_000002": official_files.halves(1, 2)},
        "val": {"2008_000009": official_files.halves(cat, wood)},
    }
    maps["val"]["2008_000009"][0, -4:] = 0
    official_files.context(folder, maps, {})


def ade_data(folder: Path) -> None:
    maps = {
        "training": {"ADE_train_00000001": official_files.halves(1, 2)},
        "validation": {"ADE_val_00000001": official_files.halves(0, 150)},
    }
    official_files.ade20k(folder, maps)


@pytest.mark.parametrize(
    ("data_set", "target", "write", "truth"),
    [
        ("voc12", "voc12-20", voc_data, {"aeroplane": 48, "tvmonitor": 40}),
        ("context", "context59", context_data, {"cat": 48, "wood": 44}),
        ("context", "context59-literature", context_data, {"cat": 48, "wood": 44}),
        ("ade20k", "ade20k-150", ade_data, {"flag": 48}),
    ],
)
def test_a_targets_label_maps_are_read_by_its_own_ids(
    data_set: str, target: str, write: Callable[[Path], None], truth: dict[str, int], tmp_path: Path
) -> None:
    """From the official files to truth: what was trained on numbers its classes otherwise."""
    prepared = prepared_target(data_set, target, write, tmp_path)
    dataset = eval_dataset(
        read_index(prepared),
        data_root(prepared),
        data=COCO_CONFIG.data,
        short_side=None,
        label_set=protocol(target).label_set,
    )
    pixels = np.bincount(dataset[0].label.ravel(), minlength=256)[: protocol(target).num_classes]
    named = zip(protocol(target).classes, pixels.tolist(), strict=True)
    assert {name: count for name, count in named if count} == truth


@pytest.mark.parametrize(
    ("target", "background", "truth"),
    [
        ("context59-literature", "dropped", {"cat": 48, "wood": 44}),
        ("context60", "threshold=0.3", {"cat": 48, "wood": 44, "background": 4}),
    ],
)
def test_a_coco_stuff_checkpoint_is_scored_on_context(
    target: str, background: str, truth: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    prepared = prepared_target("context", target, context_data, tmp_path)
    splits.run(prepared=prepared, protocol=target, out=tmp_path / "splits")
    vectors = np.random.default_rng(0).normal(size=(59, 16)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    text_vectors.run(
        protocol=target, templates=("a {}",), vectors=tmp_path / "vectors.npy", out=tmp_path / "text"
    )
    write_tiny_checkpoint(tmp_path / "checkpoint", write_tiny_clip(tmp_path / "clip"), COCO_CONFIG)

    row = evaluate.run(
        prepared=prepared,
        splits=tmp_path / "splits",
        text=tmp_path / "text",
        checkpoint=tmp_path / "checkpoint",
        split="val",
        target=target,
        background=parse_background(background),
        out=tmp_path / "evaluated",
    )

    assert (row.protocol, row.background) == (
        f"{target} from cocostuff-156-15",
        str(parse_background(background)),
    )
    # All classes count as seen, so the inductive model pays nothing, and the row says so.
    assert row.seen_penalty == 0.0 < COCO_CONFIG.evaluate.seen_penalty
    assert (row.miou_unseen, row.hiou) == (None, None) and row.miou_seen is not None
    confusion = pd.read_csv(tmp_path / "evaluated" / "confusion.csv", index_col="truth")
    assert confusion.sum(axis=1)[lambda pixels: pixels > 0].to_dict() == truth
    (line,) = cross_dataset.run(evaluations=[tmp_path / "evaluated"], out=tmp_path / "out").rows
    assert line["num_classes"] == line["num_seen"] == (60 if "background" in truth else 59)
    assert line["miou"] == pytest.approx(row.miou_seen)


def test_the_run_of_the_table_names_every_data_set(store: Path, tmp_path: Path) -> None:
    evaluations = [
        evaluation(tmp_path / "voc", data_hash="ab" * 32),
        evaluation(
            tmp_path / "context", data_hash="cd" * 32, protocol="context60", background="prompts sky, wall"
        ),
    ]
    with whole_run(pipeline="cross-dataset", protocol=CROSS_DATASET):
        cross_dataset.run(evaluations=evaluations, out=tmp_path / "out")
    client = open_store()
    experiment = client.get_experiment_by_name(CROSS_DATASET)
    step, parent = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert step.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (step.data.tags["method"], step.data.tags["split"]) == ("zegclip", "val")
    assert step.data.metrics["voc12-20 from cocostuff-156-15.miou_seen"] == 0.4
    assert step.data.metrics["context60 prompts sky wall.miou"] == 0.375
    assert {one.dataset.digest for one in step.inputs.dataset_inputs} == {"ab" * 18, "cd" * 18}
    kept = {one.path for one in client.list_artifacts(step.info.run_id)}
    assert kept == {"cross_dataset.json", "table.md", "table.html"}


def test_names_with_html_are_text_in_the_page(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "a", protocol="<script>alert(1)</script>")
    page = cross_dataset.run(evaluations=[folder], out=tmp_path / "out").page.read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
