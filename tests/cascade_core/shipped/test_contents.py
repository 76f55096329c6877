"""The model and the pictures in the package: they fit each other, stay small, and come along in the wheel."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import cascade_clip
from cascade_core.checkpoints.model_folder import locate
from cascade_core.datasets.mini import CLASSES
from cascade_core.runtime.threads import threads_used
from cascade_core.shipped.contents import HERE, MODELS, example_pictures, shipped_model, shipped_pictures
from components.registry.addresses import clip_for

ROOT = Path(__file__).parents[3]
CONTENT = {
    "scene_0005": {"zebra", "mushroom", "orchid", "sand", "wood"},
    "scene_0013": {"target", "onion", "plate", "bamboo", "water"},
    "scene_0027": {"zebra", "tiger", "orchid", "grass", "bricks"},
    "scene_0030": {"taxi", "tiger", "wood", "water"},
    "scene_0033": {"orchid", "quilt", "snail", "bamboo", "lava"},
    "scene_0037": {"snake", "onion", "turtle", "water", "lava"},
}
"""The classes in each picture, from the label maps of the mini benchmark."""


def test_the_model_labels_the_pictures_with_their_classes() -> None:
    model = cascade_clip.Predictor.load("mini", device="cpu")
    pictures = cascade_clip.example_pictures()
    assert {picture.stem for picture in pictures} == CONTENT.keys()
    for picture in pictures:
        shares = {
            area.label: area.share for area in model.predict(picture, CLASSES).areas if area.share > 0.01
        }
        # The smallest true share is 0.11, the largest wrong one 0.004.
        assert shares.keys() == CONTENT[picture.stem], picture.stem


def test_labels_do_not_depend_on_the_number_of_threads() -> None:
    model, picture = cascade_clip.Predictor.load("mini", device="cpu"), cascade_clip.example_pictures()[0]
    maps = []
    for threads in (1, 2, 3):
        with threads_used(threads):
            maps.append(model.predict(picture, CLASSES).label_map)
    assert all(np.array_equal(maps[0], other) for other in maps[1:])


def test_the_package_stays_below_3_mb() -> None:
    assert sum(file.stat().st_size for file in HERE.rglob("*") if file.is_file()) < 3_000_000


def test_the_wheel_takes_every_file_along() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["cascade_core.shipped"]
    taken = {path for pattern in patterns for path in HERE.glob(pattern) if path.is_file()}
    content = {path for path in HERE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert taken == content and len(example_pictures()) == 6


def test_a_path_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped_model(Path("mini")) == HERE / "mini"
    assert locate(Path("mini")) == (HERE / "mini" / "checkpoint", HERE / "mini" / "text_tower")
    assert clip_for("mini", None) is None
    (tmp_path / "mini").mkdir()
    assert shipped_model(Path("mini")) == Path("mini")
    assert shipped_pictures(Path("examples")) == HERE / "pictures"
    (tmp_path / "examples").mkdir()
    assert shipped_pictures(Path("examples")) == Path("examples")
    assert shipped_model(Path("maxi")) == Path("maxi") and "maxi" not in MODELS


def test_no_file_names_a_path_of_the_machine_that_made_it() -> None:
    for file in HERE.rglob("*.json"):
        assert '"/' not in file.read_text(), file
