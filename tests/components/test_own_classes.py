"""From a folder of pictures and label maps of one's own to a trained and scored model, step by step."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cascade_core.files import read_json
from cascade_core.labelsets import protocol
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.vocabulary import CLASS_TEMPLATES, CLASSES
from cascade_core.train.checkpoint import load_manifest
from components import evaluate, prepare_custom, profile, self_train, splits, text_vectors, train
from tests.components.conftest import SHORT
from tests.tiny import write_tiny_clip

pytestmark = pytest.mark.usefixtures("untracked")

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


@dataclass(frozen=True)
class Own:
    """A data set of one's own, prepared, and a training on it; the label file is gone."""

    folders: dict[str, Path]
    clip: Path
    trained: Path
    protocol: str


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, untracked: None) -> Own:
    """Take the mini world's pictures under other ids and another name, hold some out, and train for two steps."""
    root = tmp_path_factory.mktemp("own")
    world = write_benchmark(root / "raw", sizes={"train": 6, "val": 1, "test": 1})
    labels = root / "labels.yaml"
    content = {"name": "own", "classes": list(CLASSES), "unseen": ["taxi", "lava"], "background": {"id": 0}}
    labels.write_text(yaml.safe_dump(content))
    clip = write_tiny_clip(root / "clip")
    source = prepare_custom.Source(
        images=world / "JPEGImages", maps=world / "SegmentationClass", held_out={"val": 0.25}
    )
    folders = {name: root / name for name in ("prepared", "splits", "text")}
    prepare_custom.run(labels=labels, source=source, out=folders["prepared"])
    splits.run(prepared=folders["prepared"], protocol=str(labels), out=folders["splits"])
    text_vectors.run(protocol=str(labels), templates=CLASS_TEMPLATES, clip=root / "clip", out=folders["text"])
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
    return Own(folders, root / "clip", root / "trained", name)


def test_a_recipe_trains_on_the_label_set_that_the_splits_hold(own: Own) -> None:
    manifest = load_manifest(own.trained / "final")
    assert manifest.config.recipe == "mini_cascade_clip"
    assert manifest.config.data.protocol == own.protocol and manifest.config.data.own is not None
    assert manifest.unseen == ("taxi", "lava") and manifest.classes == tuple(CLASSES)


def test_a_trained_model_is_scored_under_its_own_protocol(own: Own, tmp_path: Path) -> None:
    found = evaluate.run(
        **own.folders, checkpoint=own.trained / "final", split="val", out=tmp_path / "scored"
    )
    assert (found.protocol, found.num_pictures) == (own.protocol, 2)
    assert read_json(tmp_path / "scored" / "scores.json")["protocol"] == own.protocol


def test_it_is_self_trained_and_profiled_without_the_label_file(own: Own, tmp_path: Path) -> None:
    self_train.run(
        **own.folders,
        trained=own.trained,
        protocol="oracle",
        overrides={"self_train.iterations": 1},
        out=tmp_path / "self_trained",
    )
    assert load_manifest(tmp_path / "self_trained/final").config.data.protocol == own.protocol
    profile.run(
        checkpoint=own.trained / "final", text=own.folders["text"], out=tmp_path / "cost", batch_sizes=(1,)
    )
    assert read_json(tmp_path / "cost" / "profile.json")["method"] == "cascade_clip"


def test_an_override_that_names_another_protocol_is_refused(own: Own, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"protocol is '{own.protocol}', the recipe trains 'mini-18-6'"):
        train.run(
            **own.folders,
            clip=own.clip,
            recipe="mini_cascade_clip",
            overrides={"data.protocol": "mini-18-6"},
            seed=0,
            out=tmp_path / "trained",
        )
