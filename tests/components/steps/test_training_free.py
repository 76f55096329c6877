"""A model made by `import-clip --method`: every step takes it unchanged, from each published format."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.pyfunc.model import PythonModelContext
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from cascade_core.checkpoints.manifest import MODEL_FILE, load_manifest
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import DROPPED
from cascade_core.model.decoder import CosineDecoder
from cascade_core.predictor import Predictor, eval_settings
from components.artifacts.manifest import read_step_manifest
from components.evaluation.job import vocabulary_of
from components.registry import registered_model
from components.registry.addresses import clip_for, load_predictor
from components.results.report_page import curve_of
from components.steps import (
    compare,
    evaluate,
    export,
    import_clip,
    prepare_custom,
    profile,
    register,
    splits,
    text_vectors,
    train,
)
from tests.cascade_core.clip.families import VIT_B16, random_weights, write_scripted
from tests.components.conftest import Folders
from tests.own_data import draw_own_data

SMALL = VIT_B16.model_copy(update={"vocab_size": 49408, "context_length": 77})
MODEL_CFG = {
    "embed_dim": SMALL.embed_dim,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights(SMALL)


def test_both_published_formats_become_the_same_model(weights: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {key: tensor.half() for key, tensor in weights.items() if key != "attn_mask"}
    write_scripted(tmp_path / "ViT.pt", halves)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL_CFG}))
    torch.save({"state_dict": halves}, tmp_path / "hub" / "open_clip_pytorch_model.bin")
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    maps = []
    for source, name in (("ViT.pt", "naclip-ViT"), ("hub", "naclip-hub")):
        done = import_clip.run(source=str(tmp_path / source), method="naclip")
        assert done.folder == tmp_path / "home" / "models" / name
        # By name, and without a CLIP folder beside it.
        model = load_predictor(name, clip_for(name, None), device="cpu")
        maps.append(model.predict(picture, ["dog", "grass", "sky"]))
        assert model.manifest.config.evaluate.crop_size == SMALL.image_size
    assert np.array_equal(maps[0].label_map, maps[1].label_map)
    assert maps[0].label_map.shape == (70, 90) and 1 / 3 <= maps[0].mean_confidence <= 1


def test_the_model_is_scored_on_the_protocol_of_the_splits(folders: Folders, tmp_path: Path) -> None:
    done = import_clip.run(source=str(folders.clip), method="naclip", protocol="voc12-15-5")
    checkpoint = done.folder / "checkpoint"
    scored = evaluate.run(checkpoint=checkpoint, split="val", **folders.steps, out=tmp_path / "scores")
    assert (scored.method, scored.setting, scored.protocol) == ("naclip", "training_free", "mini-18-6")
    assert scored.seen_penalty == 0 and scored.miou_unseen is not None


def test_the_served_model_answers(folders: Folders) -> None:
    done = import_clip.run(source=str(folders.clip), method="naclip")
    artifacts = {"checkpoint": str(done.folder / "checkpoint"), "text_tower": str(done.folder / "text_tower")}
    context = PythonModelContext(artifacts, {})
    served = registered_model.RegisteredPredictor()
    served.load_context(context)
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    rows = pd.DataFrame([registered_model.request(content.getvalue(), ["zebra", "tiger", "sand"])])
    (answer,) = served.predict(context, rows)
    expected = Predictor.load(done.folder, device="cpu").predict(picture, ["zebra", "tiger", "sand"])
    assert answer["labels"] == ["zebra", "tiger", "sand"]
    assert np.array_equal(answer["label_map"], expected.label_map)
    assert answer["mean_confidence"] == pytest.approx(expected.mean_confidence)


def test_overrides_change_the_settings_of_the_model(folders: Folders) -> None:
    changes: dict[str, Any] = {
        "model.temperature": 7.0,
        "evaluate.average": "probabilities",
        "evaluate.synonyms": "mean",
        "evaluate.background": "threshold=0.1",
        "data.templates": ["{}"],
    }
    done = import_clip.run(source=str(folders.clip), method="naclip", overrides=changes)
    model = Predictor.load(done.folder, device="cpu")
    config, decoder = model.manifest.config, model.segmentor.decoder
    assert isinstance(decoder, CosineDecoder) and decoder.scale() == config.model.temperature == 7
    assert (config.evaluate.average, config.evaluate.synonyms) == ("probabilities", "mean")
    assert config.evaluate.background.threshold == 0.1 and config.data.templates == ("{}",)
    assert read_step_manifest(done.folder).parameters["overrides"] == changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 7}, "unknown override 'temperature'"),
        ({"train.iterations": 7}, "'train.iterations' changes nothing in a model without training"),
        ({"model.decoder": "masks"}, "model.decoder|decoder"),
        ({"model.decoder": "linear"}, "would have weights to train"),
        ({"model.clip.heads": 1}, "the CLIP is that of the weights"),
        ({"data.protocol": "ade20k-150"}, "stated by --protocol"),
        ({"seed": 7}, "stated by --seed"),
        ({"evaluate.average": "labels"}, "evaluate.average"),
        ({"evaluate.background": "threshold=2"}, "evaluate.background.*threshold"),
    ],
)
def test_overrides_that_such_a_model_does_not_read_are_refused(
    changes: dict[str, Any], message: str, folders: Folders, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        import_clip.run(source=str(folders.clip), method="naclip", overrides=changes, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_overrides_need_a_method(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set model\.temperature needs --method"):
        import_clip.run(
            source=str(folders.clip),
            activation="gelu",
            overrides={"model.temperature": 7},
            out=tmp_path / "out",
        )


def test_evaluation_and_prediction_take_the_same_synonyms(folders: Folders, tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text(
        "name: own\nclasses: [{name: zebra, synonyms: [tiger, taxi]}, sand, grass]\nunseen: [sand, grass]\n"
    )
    done = import_clip.run(source=str(folders.clip), method="naclip", protocol=str(labels))
    predictor = Predictor.load(done.folder, device="cpu")
    config, split = predictor.manifest.config, protocol(str(labels))
    text = tmp_path / "text"
    text_vectors.run(protocol=str(labels), templates=config.data.templates, clip=folders.clip, out=text)

    def of(synonyms: str, order: list[int] | None = None) -> Vocabulary:
        evaluate = config.evaluate.model_copy(update={"synonyms": synonyms})
        manifest = predictor.manifest.model_copy(
            update={"config": config.model_copy(update={"evaluate": evaluate})}
        )
        cpu = torch.device("cpu")
        return vocabulary_of(
            predictor.segmentor, manifest, split, DROPPED, text=text, device=cpu, order=order
        )

    for synonyms in ("maximum", "mean"):
        predictor.evaluate = eval_settings(predictor.evaluate, synonyms=synonyms)
        expected, scored = predictor.vocabulary(split.classes), of(synonyms)
        torch.testing.assert_close(scored.class_vectors, expected.class_vectors)
        assert scored.query_classes == expected.query_classes
    assert of("maximum").query_classes == [0, 0, 0, 1, 2] and len(of("mean")) == 3
    turned = of("maximum", [1, 2, 0])
    assert turned.query_classes == [0, 1, 2, 2, 2]
    assert torch.equal(turned.class_vectors, of("maximum").class_vectors[[3, 4, 0, 1, 2]])


@pytest.mark.slow
def test_every_step_takes_the_model(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = import_clip.run(source=str(folders.clip), method="clearclip", out=tmp_path / "model")
    checkpoint = done.folder / "checkpoint"
    scored = evaluate.run(checkpoint=checkpoint, split="val", **folders.steps, out=tmp_path / "scores")
    assert (scored.method, scored.setting, scored.seen_penalty) == (
        "clearclip",
        "training_free",
        0,
    )
    compare.run(
        checkpoints=[checkpoint, checkpoint],
        **folders.steps,
        split="val",
        limit=1,
        device="cpu",
        out=tmp_path / "compare",
    )
    profile.run(
        checkpoints=[checkpoint],
        text=folders.steps["text"],
        batch_sizes=(1,),
        repeats=1,
        device="cpu",
        out=tmp_path / "profile",
    )
    export.run(model=str(done.folder), kind="folder", out=tmp_path / "folder")
    assert isinstance(Predictor.load(tmp_path / "folder", device="cpu"), Predictor)
    monkeypatch.chdir(tmp_path)
    for variable in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING"):
        monkeypatch.delenv(variable, raising=False)
    registered = register.run(
        checkpoint=checkpoint,
        clip=folders.clip,
        evaluation=tmp_path / "scores",
        profile=tmp_path / "profile",
        out=tmp_path / "registered",
    )
    assert registered.name == "mini-18-6-clearclip"


def test_train_makes_the_model_that_import_clip_makes(folders: Folders, tmp_path: Path) -> None:
    imported = import_clip.run(source=str(folders.clip), method="naclip", protocol="mini-18-6")
    done = train.run(
        recipe="mini_naclip",
        **folders.steps,
        clip=folders.clip,
        overrides={"train.iterations": 7},  # of the recipes beside it
        out=tmp_path / "trained",
    )
    ours, theirs = load_manifest(done.final), load_manifest(imported.folder / "checkpoint")
    assert ours.setting == theirs.setting == "training_free" and done.half is None
    assert ours.config.model == theirs.config.model and ours.classes == theirs.classes
    weights = [load_file(folder / MODEL_FILE) for folder in (done.final, imported.folder / "checkpoint")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert curve_of(tmp_path / "trained", "#000").points == ()


def test_without_training_a_model_names_as_the_text_vectors_do(folders: Folders, tmp_path: Path) -> None:
    garden = draw_own_data(tmp_path / "garden", pictures=4, size=16)
    labels, inputs = (
        garden / "garden.yaml",
        {name: tmp_path / name for name in ("prepared", "splits", "text")},
    )
    prepare_custom.run(
        labels=labels,
        images=garden / "images",
        maps=garden / "maps",
        held_out={"val": 0.5},
        out=inputs["prepared"],
    )
    splits.run(prepared=inputs["prepared"], protocol=str(labels), out=inputs["splits"])
    text_vectors.run(protocol=str(labels), templates=["a {}"], clip=folders.clip, out=inputs["text"])
    done = train.run(
        recipe="mini_naclip", **inputs, clip=folders.clip, overrides={}, out=tmp_path / "trained"
    )
    manifest = load_manifest(done.final)
    assert manifest.config.data.templates == ("a {}",)
    predictor = Predictor.load(done.final, folders.clip, device="cpu")
    assert predictor.default_labels == ("grass", "sand", "water", "lava")


def test_a_protocol_without_method_is_refused(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--protocol needs --method"):
        import_clip.run(source=str(folders.clip), protocol="voc12-15-5", out=tmp_path / "out")
    with pytest.raises(UserError, match="unknown training-free method 'zegclip'"):
        import_clip.run(source=str(folders.clip), method="zegclip", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
