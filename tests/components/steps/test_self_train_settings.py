"""Self-training beyond the papers: thresholds, other teachers and pictures without labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cascade_core.batches.samples import WithUnlabelled
from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.clip.weights import load_clip
from cascade_core.configs.recipes import recipe
from cascade_core.data.prepared import rows_of_split
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from components.evaluation.job import Request, evaluation_job
from components.inputs.reading import read_inputs
from components.steps import self_train, train
from components.training.continued import beside_cell, check_same_classes
from components.training.resume_checkpoints import NEWEST
from components.training.training_pictures import training_pictures
from tests.components.conftest import RECIPE, SHORT, Folders, interrupt_after
from tests.components.same_training import check_same_training
from tests.tiny import write_tiny_checkpoint


def test_scores_on_pictures_of_the_training_come_with_a_warning(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = recipe(RECIPE, {"self_train.extra_splits": ["val"]})
    for setting, times in (("inductive", 0), ("transductive_strict", 1)):
        write_tiny_checkpoint(tmp_path / setting, load_clip(folders.clip)[0], config, setting=setting)
        for split in ("val", "test"):
            evaluation_job({**folders.steps, "checkpoint": tmp_path / setting}, Request(split))
        assert caplog.text.count("took the pictures of val, without their labels") == times


@pytest.fixture(scope="module")
def inductive(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "inductive"
    arguments: dict[str, Any] = {**folders.steps, "clip": folders.clip, "overrides": SHORT}
    train.run(recipe=RECIPE, **arguments, seed=0, out=out)
    return out


def self_trained(folders: Folders, inductive: Path, out: Path, **settings: Any) -> dict[str, torch.Tensor]:
    changes = {f"self_train.{name}": value for name, value in settings.items()}
    overrides = {"self_train.iterations": 3, "train.checkpoint_every": 1, **changes}
    run = self_train.run(**folders.steps, trained=inductive, mode="strict", overrides=overrides, out=out)
    return load_file(run.final / "model.safetensors")


def test_a_resumed_average_equals_an_uninterrupted_one(
    folders: Folders, inductive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"teacher": "ema", "ema_decay": 0.5, "extra_splits": ["val"]}
    whole = self_trained(folders, inductive, tmp_path / "whole/out", **settings)
    out, working = tmp_path / "part/out", tmp_path / "part/.out.unfinished"
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            self_trained(folders, inductive, out, **settings)
    averages = load_file(working / NEWEST / "averages.safetensors")
    weights = load_file(working / NEWEST / "model.safetensors")
    assert any(not torch.equal(average, weights[name]) for name, average in averages.items())
    self_trained(folders, inductive, out, **settings)
    check_same_training(tmp_path / "whole/out", out)
    others = {
        "taught": {"teacher": "training_free"},
        "sure": {"confidence": 0.9},
    }
    finals = [
        whole,
        *(self_trained(folders, inductive, tmp_path / name, **own) for name, own in others.items()),
    ]
    name = "decoder.stages.0.query.proj.weight"
    assert len({final[name].numpy().tobytes() for final in finals}) == len(finals)


def test_the_labels_of_extra_pictures_are_never_read(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = read_inputs(**folders.steps, protocol_name="mini-18-6")
    config = recipe(RECIPE, {"self_train.extra_splits": ["val"]})
    inductive = training_pictures(inputs, config, "inductive", None)
    pictures = training_pictures(inputs, config, "transductive_strict", None)
    num_train, num_val = (len(rows_of_split(inputs.index, split)) for split in ("train", "val"))
    assert len(inductive) == num_train and len(pictures) == num_train + num_val
    assert isinstance(pictures, WithUnlabelled)
    assert torch.equal(pictures[0, 5].image, inductive[0, 5].image) and not pictures[0, 5].unlabelled

    def unread(*_: object) -> None:
        raise AssertionError("a label map was read")

    monkeypatch.setattr("cascade_core.batches.samples.read_label_map", unread)
    sample = pictures[num_train + 1, 5]
    assert sample.name == rows_of_split(inputs.index, "val")["name"].iloc[1]
    assert sample.unlabelled and (sample.label == IGNORE).all()
    assert np.prod(sample.image.shape) == 3 * config.data.crop_size**2


def test_files_leave_out_the_published_settings() -> None:
    stored = recipe(RECIPE).model_dump(mode="json")["self_train"]
    assert set(stored) == {"iterations", "batch_size", "start_iteration", "mode", "strict_seen_penalty"}
    ours = recipe(RECIPE, {"self_train.teacher": "ema", "self_train.confidence": 0.5}).model_dump(mode="json")
    assert ours["self_train"].items() >= {"teacher": "ema", "confidence": 0.5}.items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": 1.5}, "self_train.confidence"),
        ({"ema_decay": 0.9}, "needs teacher='ema'"),
        ({"teacher": "other"}, "'self', 'ema' or 'training_free'"),
        ({"extra_splits": ["train"]}, "splits other than 'train'"),
        ({"extra_splits": ["vla"]}, "split 'vla' has no pictures"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    folders: Folders, inductive: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        self_trained(folders, inductive, tmp_path / "out", **settings)
    assert not any(tmp_path.iterdir())


def test_a_training_free_teacher_reads_one_vector_per_class() -> None:
    with pytest.raises(UserError, match="reads one text vector per class"):
        recipe("mini_otseg", {"self_train.teacher": "training_free"})
    with pytest.raises(UserError, match="is CLIP alone, and with model.tuned='queries_values' CLIP trains"):
        recipe("mini_cat_seg", {"self_train.teacher": "training_free", "model.text": "mean"})


def test_self_training_keeps_model_and_classes_of_its_start(
    folders: Folders, inductive: Path, tmp_path: Path
) -> None:
    for key, value in (("dropout", 0.3), ("picture_cosine", 2.0)):
        with pytest.raises(UserError, match=f"override model.{key}={value}: .*half was trained with"):
            self_train.run(
                **folders.steps,
                trained=inductive,
                mode="strict",
                overrides={f"model.{key}": value},
                out=tmp_path / "out",
            )
    assert not any(tmp_path.iterdir())
    manifest, split = load_manifest(inductive / "half"), protocol("mini-18-6")
    check_same_classes(split, manifest, inductive)
    with pytest.raises(UserError, match=f"class '{split.unseen_names[0]}' is unseen in only one of"):
        check_same_classes(replace(split, unseen_names=split.unseen_names[1:]), manifest, inductive)
    with pytest.raises(UserError, match="was trained with 24 classes that are not the 18 of protocol"):
        check_same_classes(protocol("mini-13-5a"), manifest, inductive)


def test_overrides_do_not_undo_the_cell_of_an_ablation(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments: dict[str, Any] = {**folders.steps, "clip": folders.clip, "overrides": SHORT}
    own_recipe = tmp_path / "own.yaml"
    own_recipe.write_text("parent: mini_zegclip:loss_weights.focal\n")
    train.run(recipe=str(own_recipe), **arguments, seed=0, out=tmp_path / "focal")
    overrides = {"loss.dice_weight": 0.5, "loss.focal_weight": 7.0, "self_train.iterations": 1}
    run = self_train.run(
        **folders.steps, trained=tmp_path / "focal", overrides=overrides, out=tmp_path / "self"
    )
    loss = load_manifest(run.final).config.loss
    assert (loss.dice_weight, loss.focal_weight) == (0.0, 7.0)
    assert beside_cell({}, "self_training.c7", "oracle") == {}
    assert "in mode oracle; the cell self_training.c7 of the training is of mode strict" in caplog.text
    own = {"self_train.confidence": 0.9, "optim.weight_decay": 0.1}
    assert beside_cell(own, "self_training.c7", "strict") == {"optim.weight_decay": 0.1}
    assert beside_cell(own, "zegclip", "strict") == own
