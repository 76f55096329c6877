"""The README's scene: a typical one is chosen, its colours and numbers are those of the legend."""

from pathlib import Path

import numpy as np
import pytest

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.results.picture_files import PICTURES_FILE, PicturesOfEvaluation
from components.results.scene_picture import COLOURS, Scene, draw, methods_of, scene_of, typical_scene
from tests.components.results.test_picture_rows import evaluation

CLASSES = tuple("abcdefghi")


def pictures() -> PicturesOfEvaluation:
    return PicturesOfEvaluation(
        protocol="p",
        split="test",
        background="dropped",
        classes=CLASSES,
        unseen=("c", "d"),
        colours=(),
        pictures=(),
    )


def scene(num_classes: int) -> Scene:
    truth = np.arange(num_classes, dtype=np.uint8).repeat(8)[None].repeat(32, axis=0)
    picture = np.full((*truth.shape, 3), 90, dtype=np.uint8)
    return Scene("p0", picture, {"truth": truth, "ZegCLIP": truth[:, ::-1].copy()})


def test_each_class_has_a_colour_that_everybody_distinguishes() -> None:
    sheet = np.asarray(draw(scene(5), pictures()))
    legend = sheet[-36:].reshape(-1, 3)
    colours = {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in np.unique(legend, axis=0).tolist()}
    assert colours & set(COLOURS) == set(COLOURS[:5])
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 10


def test_more_classes_than_colours_are_refused() -> None:
    with pytest.raises(UserError, match="has 8 classes on its maps, and only 7 colours"):
        draw(scene(8), pictures())


def test_the_typical_scene_is_nearest_to_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.results.scene_picture.LEAST_CLASSES", 2)
    monkeypatch.setattr("components.results.scene_picture.LEAST_UNSEEN", 1)
    folder = evaluation(tmp_path / "a", {"p0": 0.9, "p1": 0.5, "p2": 0.2, "p3": 0.1})
    write_json(folder / "scores.json", {"method": "zegclip"})
    methods = methods_of([folder])
    assert methods[0].name == "ZegCLIP" and typical_scene(methods).name == "p1"
    assert scene_of(methods, "p3").classes() == [0, 1]
    monkeypatch.setattr("components.results.scene_picture.LEAST_CLASSES", 3)
    with pytest.raises(UserError, match="no scene has 3 classes"):
        typical_scene(methods)


def test_evaluations_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no evaluation was given"):
        methods_of([])
    with pytest.raises(UserError, match="has no pictures.json; run the evaluate step again"):
        methods_of([tmp_path])
    folders = [evaluation(tmp_path / name, {"p0": 0.5}) for name in "ab"]
    for folder in folders:
        write_json(folder / "scores.json", {"method": "zegclip"})
    content = read_json(folders[1] / PICTURES_FILE)
    write_json(folders[1] / PICTURES_FILE, content | {"classes": ["cat", "dog", "owl"]})
    with pytest.raises(UserError, match="are of different classes"):
        methods_of(folders)
