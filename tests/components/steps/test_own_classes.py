"""From a folder of pictures and label maps of one's own to a trained and scored model, step by step."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image, ImageColor

from cascade_core.checkpoints.checkpoint import MANIFEST_FILE, load_manifest
from cascade_core.datasets.catalogue import protocol
from cascade_core.datasets.mini import CLASSES, TEMPLATES
from cascade_core.labels.background import Background
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.predictor import Predictor, eval_settings
from cascade_core.render.colours import palette
from cascade_core.runtime.files import read_json, write_json
from components.pictures import predict
from components.pictures.picture_files import PictureFile
from components.steps import (
    compare,
    evaluate,
    fit_thresholds,
    prepare_custom,
    profile,
    self_train,
    splits,
    text_vectors,
    train,
)
from tests.components.conftest import SHORT
from tests.tiny import write_tiny_clip

TINY = SHORT | {
    "model.clip": None,
    "model.image_size": 32,
    "model.groups": [[0, 1]],
    "model.decoder_heads": 2,
    "model.num_prompts": 2,
    "train.iterations": 2,
    "train.checkpoint_every": 1,
    "data.crop_size": 32,
}


COLOURS = {name: f"#00{10 * i:02x}05" for i, name in enumerate(CLASSES)}
"""The label file's, none of which is anyone's choice."""


@dataclass(frozen=True)
class Own:
    """A data set of one's own, prepared, and a training on it; the label file is gone."""

    source: dict[str, Any]
    folders: dict[str, Path]
    clip: Path
    trained: Path
    protocol: str


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    """Take the mini world's pictures under other ids and another name, hold some out, and train for two steps."""
    root = tmp_path_factory.mktemp("own")
    world = write_benchmark(root / "raw", sizes={"train": 6, "val": 1, "test": 1})
    labels = root / "labels.yaml"
    synonyms = {"taxi": ["taxi scene", "sand scene"], "pool": ["pool scene"]}
    classes = [
        {"name": name, "colour": colour, "synonyms": synonyms.get(name, [])}
        for name, colour in COLOURS.items()
    ]
    content = {"name": "own", "classes": classes, "unseen": ["taxi", "lava"], "background": {"id": 0}}
    labels.write_text(yaml.safe_dump(content))
    clip = write_tiny_clip(root / "clip")
    source: dict[str, Any] = {
        "images": world / "JPEGImages",
        "maps": world / "SegmentationClass",
        "held_out": {"val": 0.25},
    }
    folders = {name: root / name for name in ("prepared", "splits", "text")}
    prepare_custom.run(labels=labels, **source, out=folders["prepared"])
    splits.run(prepared=folders["prepared"], protocol=str(labels), out=folders["splits"])
    text_vectors.run(protocol=str(labels), templates=TEMPLATES, clip=root / "clip", out=folders["text"])
    name = protocol(str(labels)).name
    labels.unlink()
    train.run(
        **folders,
        clip=root / "clip",
        recipe="mini_cascade_clip",
        overrides=TINY | {"model.clip": clip.config.model_dump()},
        seed=0,
        out=root / "trained",
    )
    return Own(source, folders, root / "clip", root / "trained", name)


def test_a_recipe_trains_on_the_label_set_that_the_splits_hold(own: Own) -> None:
    manifest = load_manifest(own.trained / "final")
    assert manifest.config.recipe == "mini_cascade_clip"
    assert manifest.config.data.protocol == own.protocol and manifest.config.data.own is not None
    assert manifest.unseen == ("taxi", "lava") and manifest.classes == tuple(CLASSES)


def test_a_fitted_background_threshold_scores_as_evaluation(own: Own, tmp_path: Path) -> None:
    common = {**own.folders, "checkpoint": own.trained / "final", "split": "val"}
    policy = Background(policy="threshold", threshold=0.5)
    fitted = fit_thresholds.run(**common, background=policy, out=tmp_path / "fit")
    assert fitted.fitted is not None and fitted.configured.threshold == 0.5
    assert len(fitted.by_threshold) == 20 and "--background threshold=" in fitted.options
    for place, point in enumerate((fitted.configured, fitted.fitted, fitted.by_threshold[-1])):
        applied = Background(policy="threshold", threshold=point.threshold)
        row = evaluate.run(
            **common, background=applied, seen_penalty=point.seen_penalty, out=tmp_path / f"scored-{place}"
        )
        assert row.miou_seen == pytest.approx(point.miou_seen, abs=2e-3)
        assert row.miou_unseen == pytest.approx(point.miou_unseen, abs=2e-3)


@pytest.fixture(scope="module")
def scored(own: Own) -> Path:
    """Give the folder of an evaluation under the own protocol."""
    out = own.trained.with_name("scored")
    evaluate.run(**own.folders, checkpoint=own.trained / "final", split="val", out=out)
    return out


def test_a_trained_model_is_scored_under_its_own_protocol(own: Own, scored: Path) -> None:
    scores = read_json(scored / "scores.json")
    assert (scores["protocol"], scores["num_pictures"], scores["background"]) == (own.protocol, 2, "dropped")


def test_an_evaluation_takes_either_rule_for_synonyms(own: Own, scored: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {**own.folders, "split": "val"}
    other = shutil.copytree(own.trained / "final", tmp_path / "other")
    manifest = read_json(other / MANIFEST_FILE)
    assert manifest["config"]["evaluate"]["synonyms"] == "mean"
    manifest["config"]["evaluate"]["synonyms"] = "maximum"
    write_json(other / MANIFEST_FILE, manifest)
    evaluate.run(**arguments, checkpoint=other, out=tmp_path / "configured")
    evaluate.run(**arguments, checkpoint=own.trained / "final", synonyms="maximum", out=tmp_path / "stated")
    evaluate.run(**arguments, checkpoint=other, synonyms="mean", out=tmp_path / "back")

    def confusion(folder: Path) -> str:
        return (folder / "confusion.csv").read_text()

    assert confusion(tmp_path / "stated") == confusion(tmp_path / "configured") != confusion(scored)
    assert confusion(tmp_path / "back") == confusion(scored)


def test_panels_show_classes_in_the_label_files_colours(scored: Path) -> None:
    colours: set[tuple[int, ...]] = set()
    for path in (scored / "pictures").iterdir():
        with Image.open(path) as panel:
            colours |= {colour for _, colour in panel.getcolors(panel.width * panel.height)}
    own_colours = {ImageColor.getrgb(colour) for colour in COLOURS.values()}
    assert len(own_colours & colours) >= 3
    assert not colours & {tuple(colour) for colour in palette(len(CLASSES)).tolist()}


def test_predictions_show_classes_in_the_label_files_colours(own: Own, tmp_path: Path) -> None:
    picture = next(own.source["images"].iterdir())
    predict.run(
        predictor=Predictor.load(own.trained / "final", own.clip),
        pictures=[PictureFile(picture, "a")],
        labels=["grass", "scene", "Zebra"],
        out=tmp_path,
    )
    with Image.open(tmp_path / "a_labels.png") as label_map:
        levels = label_map.getpalette()
    assert levels is not None
    grass, scene, zebra = (tuple(levels[first : first + 3]) for first in (0, 3, 6))
    assert (grass, zebra) == (ImageColor.getrgb(COLOURS["grass"]), ImageColor.getrgb(COLOURS["zebra"]))
    assert scene == tuple(palette(3)[1])


def test_background_is_black_in_predictions(own: Own, tmp_path: Path) -> None:
    predictor = Predictor.load(own.trained / "final", own.clip)
    predictor.evaluate = eval_settings(
        predictor.evaluate, background=Background(policy="threshold", threshold=1)
    )
    picture = next(own.source["images"].iterdir())
    predict.run(predictor=predictor, pictures=[PictureFile(picture, "a")], labels=["grass"], out=tmp_path)
    with Image.open(tmp_path / "a_labels.png") as label_map:
        assert label_map.convert("RGB").getcolors() == [(64 * 64, (0, 0, 0))]


def test_models_are_compared_with_background_as_a_class(own: Own, tmp_path: Path) -> None:
    final = own.trained / "final"
    done = compare.run(
        checkpoints=[final, final],
        **own.folders,
        split="val",
        background=Background(policy="threshold", threshold=1),
        out=tmp_path / "compared",
    )
    assert "background <b>threshold 1</b>" in done.page.read_text()
    content = read_json(tmp_path / "compared" / "pictures.json")
    assert (content["protocol"], content["background"]) == (own.protocol, "threshold 1")
    pictures = content["pictures"]
    assert [scores["pixels"] for picture in pictures for scores in picture["scores"]] == [0, 0] * len(
        pictures
    )


def test_models_of_different_background_are_not_compared(own: Own, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(own.trained / "final", other)
    manifest = read_json(other / MANIFEST_FILE)
    manifest["config"]["evaluate"]["background"] = {"policy": "threshold", "threshold": 0.3}
    write_json(other / MANIFEST_FILE, manifest)
    with pytest.raises(ValueError, match="background policies dropped; threshold 0.3; choose one for all"):
        compare.run(
            checkpoints=[own.trained / "final", other], **own.folders, split="val", out=tmp_path / "compared"
        )


def test_background_by_threshold_is_scored_and_shown(own: Own, tmp_path: Path) -> None:
    everything = Background(policy="threshold", threshold=1)
    evaluation = evaluate.run(
        **own.folders,
        checkpoint=own.trained / "final",
        split="val",
        limit=1,
        background=everything,
        out=tmp_path / "scored",
    )
    assert (evaluation.background, evaluation.pAcc) == ("threshold 1", 0)
    table = pd.read_csv(tmp_path / "scored" / "per_class.csv").set_index("class")
    assert len(table) == 25 and table.loc["background", "group"] == "seen"
    assert table.loc["background", "predicted"] == table["pixels"].sum() == 64 * 64


def test_background_by_prompts_uses_vectors_of_the_text_folder(own: Own, tmp_path: Path) -> None:
    prompts = Background(policy="prompts", names=("grass zebra", "picture"))
    arguments = {**own.folders, "checkpoint": own.trained / "final", "split": "val", "limit": 1}
    with pytest.raises(ValueError, match='text-vectors step with --background-names "grass zebra, picture"'):
        evaluate.run(**arguments, background=prompts, out=tmp_path / "scored")
    labels = tmp_path / "labels.yaml"
    own_file = load_manifest(own.trained / "final").config.data.own
    assert own_file is not None
    content = own_file.model_dump(mode="json") | {
        "background": {"id": 0, "policy": "prompts", "names": list(prompts.names)}
    }
    labels.write_text(yaml.safe_dump(content))
    text_vectors.run(protocol=str(labels), templates=TEMPLATES, clip=own.clip, out=tmp_path / "text")
    evaluation = evaluate.run(
        **arguments | {"text": tmp_path / "text"}, background=prompts, out=tmp_path / "scored"
    )
    assert evaluation.background == "prompts grass zebra, picture"
    compared = compare.run(
        **{**own.folders, "text": tmp_path / "text"},
        checkpoints=[own.trained / "final", own.trained / "half"],
        split="val",
        background=prompts,
        out=tmp_path / "compared",
        device="cpu",
    )
    pictures = read_json(compared.page.parent / compare.SCORES_FILE)["pictures"]
    assert pictures[0]["scores"][0]["pixels"] == pytest.approx(evaluation.pAcc, abs=1e-4)
    assert "<b>prompts grass zebra, picture</b>" in compared.page.read_text()
    other = Background(policy="prompts", names=("grass",))
    with pytest.raises(ValueError, match="for background are of grass zebra, picture, the policy names"):
        evaluate.run(**arguments | {"text": tmp_path / "text"}, background=other, out=tmp_path / "scored")


def test_a_target_in_another_order_is_read_by_its_own_ids(own: Own, scored: Path, tmp_path: Path) -> None:
    classes = [{"name": name, "id": i + 1} for i, name in reversed(list(enumerate(CLASSES)))]
    labels = tmp_path / "reversed.yaml"
    labels.write_text(yaml.safe_dump({"name": "reversed", "classes": classes}))
    folders = {name: tmp_path / name for name in ("prepared", "splits", "text")}
    prepare_custom.run(labels=labels, **own.source, out=folders["prepared"])
    splits.run(prepared=folders["prepared"], protocol=str(labels), out=folders["splits"])
    text_vectors.run(protocol=str(labels), templates=TEMPLATES, clip=own.clip, out=folders["text"])
    target = tmp_path / "target"
    evaluation = evaluate.run(
        **folders,
        checkpoint=own.trained / "final",
        split="val",
        target=str(labels),
        # So that the seen penalty is that of the first evaluation.
        target_seen="names",
        out=target,
    )
    assert evaluation.protocol == f"{protocol(str(labels)).name} from {own.protocol}"
    ious = [pd.read_csv(out / "per_class.csv").set_index("class")["iou"] for out in (scored, target)]
    assert ious[0].notna().any()
    pd.testing.assert_series_equal(ious[1].reindex(ious[0].index), ious[0])


def test_it_is_self_trained_and_profiled_without_the_label_file(own: Own, tmp_path: Path) -> None:
    self_train.run(
        **own.folders,
        trained=own.trained,
        mode="oracle",
        overrides={"self_train.iterations": 1},
        out=tmp_path / "self_trained",
    )
    assert load_manifest(tmp_path / "self_trained/final").config.data.protocol == own.protocol
    profile.run(checkpoints=(own.trained / "final",), text=own.folders["text"], out=tmp_path / "cost")
    assert read_json(tmp_path / "cost" / "profile.json")["method"] == "cascade_clip"


def test_an_override_that_names_another_protocol_is_refused(own: Own, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"protocol is '{own.protocol}', but that of the recipe or target is 'mini-18-6'"
    ):
        train.run(
            **own.folders,
            clip=own.clip,
            recipe="mini_cascade_clip",
            overrides={"data.protocol": "mini-18-6"},
            seed=0,
            out=tmp_path / "trained",
        )


def test_background_has_no_name_to_train_with(own: Own, tmp_path: Path) -> None:
    sixty = protocol("context60")
    content = {"protocol": sixty.name, "classes": list(sixty.classes), "unseen": []}
    write_json(tmp_path / "splits" / "split.json", content)
    with pytest.raises(
        ValueError, match="'context60' counts background as a class, which has no name to train"
    ):
        train.run(
            **own.folders | {"splits": tmp_path / "splits"},
            clip=own.clip,
            recipe="cascade_context59",
            overrides={},
            seed=0,
            out=tmp_path / "trained",
        )
