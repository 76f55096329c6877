"""Self-training with unlabelled pictures, which a teacher labels before the training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cascade_core import predictor
from cascade_core.batches.samples import MixedDataset, TeacherLabels, train_dataset
from cascade_core.configs.recipes import recipe
from cascade_core.data.pictures import read_label_ids
from cascade_core.data.prepared import rows_of_split
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.inference.prediction import Prediction
from cascade_core.predictor import Predictor
from cascade_core.runtime.files import read_json, write_json
from components.artifacts.manifest import read_step_manifest, sha256
from components.inputs.reading import read_inputs
from components.steps import import_clip, self_train, train
from components.training.pseudo_labels import Unlabelled, confident_labels
from components.training.resume_checkpoints import NEWEST
from tests.components.conftest import RECIPE, SHORT, Folders, interrupt_after
from tests.components.same_training import check_same_training

SPLIT = protocol("mini-18-6")


@pytest.fixture(scope="module")
def inductive(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "inductive"
    arguments: dict[str, Any] = {**folders.steps, "clip": folders.clip, "overrides": SHORT}
    train.run(recipe=RECIPE, **arguments, seed=0, out=out)
    return out


@pytest.fixture(scope="module")
def teacher(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "naclip"
    return import_clip.run(source=str(folders.clip), method="naclip", out=out).folder


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Give a folder of photographs of several sizes, one in a subfolder."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for name, size in {"a.jpg": (64, 64), "b.png": (50, 80), "more/c.jpg": (70, 66)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder


def self_trained(folders: Folders, inductive: Path, out: Path, **changes: Any) -> self_train.SelfTrained:
    arguments = {**folders.steps, "trained": inductive, "overrides": {"self_train.iterations": 4}, "out": out}
    return self_train.run(**{**arguments, **changes})


def test_the_teacher_labels_the_pictures_once(
    folders: Folders, inductive: Path, teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    out, changes = tmp_path / "out", {"unlabelled": unlabelled, "teacher": teacher, "confidence": 0.05}
    done = self_trained(folders, inductive, out, **changes)
    maps = out / "pseudo_labels"
    expected = Predictor.load(teacher).predict(unlabelled / "more/c.jpg", SPLIT.classes)
    assert np.array_equal(
        read_label_ids(maps / "more/c.png"), confident_labels(expected, SPLIT.num_classes, 0.05)
    )
    record = read_json(done.final / "manifest.json")["provenance"]["unlabelled"]
    assert record["maps"] == read_json(maps / "summary.json")["sha256"]
    assert record["confidence"] == 0.05
    manifest = read_step_manifest(out)
    assert {"unlabelled", "teacher"} <= manifest.inputs.keys()
    assert manifest.inputs["unlabelled"].sha256 == record["pictures"]
    assert manifest.parameters["unlabelled"]["teacher"] == Predictor.load(teacher).identity

    plain = self_trained(folders, inductive, tmp_path / "plain")
    assert not (tmp_path / "plain/pseudo_labels").exists()
    assert "unlabelled" not in read_json(plain.final / "manifest.json")["provenance"]
    assert "unlabelled" not in read_step_manifest(tmp_path / "plain").parameters
    with_teacher, without = (load_file(run.final / "model.safetensors") for run in (done, plain))
    assert any(not torch.equal(with_teacher[name], without[name]) for name in without)


def test_the_teacher_is_loaded_once_and_encodes_the_words_once(
    folders: Folders, teacher: Path, unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_CACHE", str(tmp_path / "cache"))
    calls: list[str] = []
    load, encode = Predictor.load, predictor.class_vectors
    monkeypatch.setattr(
        Predictor, "load", lambda *given, **options: calls.append("load") or load(*given, **options)
    )
    monkeypatch.setattr(
        predictor,
        "class_vectors",
        lambda *given, **options: calls.append("encode") or encode(*given, **options),
    )
    pictures = Unlabelled.checked(
        unlabelled, teacher, SPLIT, mode="oracle", confidence=0.05, out=tmp_path / "out"
    )
    assert len(pictures.labelled(tmp_path / "maps", before_write=lambda: None).files) == 3
    assert calls == ["load", "encode"]
    assert pictures.predictor is None  # training gets its memory


def test_an_interrupted_run_goes_on_without_a_trace(
    folders: Folders,
    inductive: Path,
    teacher: Path,
    unlabelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"unlabelled": unlabelled, "teacher": teacher, "confidence": 0.05}
    self_trained(folders, inductive, tmp_path / "whole/out", **changes)
    out, working = tmp_path / "part/out", tmp_path / "part/.out.unfinished"
    with monkeypatch.context() as patch:  # after the second map
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            self_trained(folders, inductive, out, **changes)
    first = sha256(working / "pseudo_labels/a.png")
    assert not (working / "pseudo_labels/more/c.png").exists()
    for others, message in (
        ({**changes, "confidence": 0.9}, "made with other confidence; .*--no-resume"),
        ({}, "holds pseudo-labels of an interrupted run with --unlabelled"),
    ):
        with pytest.raises(UserError, match=message):
            self_trained(folders, inductive, out, **others)
    with monkeypatch.context() as patch:  # in the training, after its last map
        interrupt_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            self_trained(folders, inductive, out, **changes)
    assert (working / NEWEST).is_dir() and sha256(working / "pseudo_labels/a.png") == first
    kept = (working / "pseudo_labels/a.png").read_bytes()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(working / "pseudo_labels/a.png")
    with pytest.raises(UserError, match="the pseudo-labels changed since the teacher made them"):
        self_trained(folders, inductive, out, **changes)
    (working / "pseudo_labels/a.png").write_bytes(kept)
    self_trained(folders, inductive, out, **changes)
    check_same_training(tmp_path / "whole/out", out)


def test_what_does_not_fit_is_refused_before_training(
    folders: Folders, inductive: Path, teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    both: dict[str, Any] = {"unlabelled": unlabelled, "teacher": teacher}
    for changes, message in (
        ({"unlabelled": unlabelled}, "--unlabelled, .* and --teacher, .* go together"),
        ({"teacher": teacher}, "--unlabelled, .* and --teacher, .* go together"),
        ({"confidence": 0.5}, "--confidence needs both"),
        ({**both, "confidence": 1.5}, r"--confidence 1\.5 is not a probability"),
        ({**both, "processes": 2}, "by one process"),
        ({**both, "unlabelled": empty}, f"no picture in {empty}"),
        ({**both, "unlabelled": tmp_path / "none"}, "none is not a folder"),
        ({**both, "teacher": inductive / "final"}, "has no text tower beside it"),
        ({**both, "out": unlabelled / "out"}, "lies in --unlabelled"),
        ({**both, "confidence": 1.0}, "is confident of no pixel"),
    ):
        with pytest.raises(UserError, match=message):
            self_trained(folders, inductive, **{"out": out, **changes})
        assert not out.exists()


def test_a_teacher_that_saw_the_unseen_classes_is_refused(
    folders: Folders, inductive: Path, teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    file = teacher / "checkpoint/manifest.json"
    manifest = read_json(file)
    leaky = [
        ({"setting": "supervised"}, "oracle", "trained with labels of .* which are unseen in 'mini-18-6'"),
        ({"unseen": manifest["unseen"][:1]}, "oracle", "trained with labels of"),
        ({"setting": "transductive_oracle"}, "strict", "self-trained in mode oracle"),
    ]
    try:
        for change, mode, message in leaky:
            write_json(file, {**manifest, **change})
            with pytest.raises(UserError, match=message):
                self_trained(
                    folders, inductive, tmp_path / "out", unlabelled=unlabelled, teacher=teacher, mode=mode
                )
    finally:
        write_json(file, manifest)


def test_labels_below_the_confidence_are_ignored() -> None:
    ids = np.array([[0, 1, 2]], np.uint8)
    sure = Prediction(ids, ("a", "b", "background"), np.array([[0.5, 0.4, 0.9]], np.float32))
    assert confident_labels(sure, 2, 0.5).tolist() == [[0, 255, 255]]


def test_batches_mix_both_kinds_of_pictures(folders: Folders, unlabelled: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 23, np.uint8)).save(tmp_path / "a.png")
    inputs = read_inputs(**folders.steps, protocol_name="mini-18-6")
    labelled = train_dataset(
        rows_of_split(inputs.index, "train"), inputs.root, data=recipe(RECIPE).data, seed=0
    )
    mixed = MixedDataset(labelled, TeacherLabels(unlabelled, tmp_path, (("a.jpg", "a.png"),), ""))
    assert len(mixed) == len(labelled) + 1
    assert torch.equal(mixed[0, 5].image, labelled[0, 5].image) and not mixed[0, 5].by_teacher
    by_teacher_sample = mixed[len(labelled), 5]
    assert by_teacher_sample.by_teacher and set(
        by_teacher_sample.label[~by_teacher_sample.padding].unique().tolist()
    ) == {23}
