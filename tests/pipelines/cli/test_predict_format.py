"""`cascade-clip predict --format`: the loop of predicting, correcting elsewhere and preparing, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cascade_core.runtime.files import read_json
from pipelines.cli.app import app
from tests.components.rasters.test_labelling import pixels, write

pytest.importorskip("rasterio", reason="the extra `raster` is not installed")

WORDS = ["predict", "--model", "mini", "--labels", "zebra,sand", "--threads", "1"]
LABELS = "name: found\nclasses: [zebra, sand]\n"


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.stdout


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for name in ("a/x.png", "y.png"):
        values = np.random.default_rng(len(name)).integers(0, 256, (40, 56, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / name)
    return folder


def test_predictions_come_back_through_prepare_custom(photos: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "out", tmp_path / "labels.yaml"
    labels.write_text(LABELS)
    run(*WORDS, photos, "--out", out)
    stdout = run(*WORDS, photos, "--out", out, "--format", "coco", "--resume")
    assert stdout == f"{out / 'coco.json'}\n"  # pictures that are skipped are in the file too
    prepared = tmp_path / "prepared"
    run("prepare", "custom", "--labels", labels, "--images", photos, "--annotations", f"train={out / 'coco.json'}", "--out", prepared)  # fmt: skip
    for name in ("a/x", "y"):
        ids = opened(out / f"{name}_labels.png")
        np.testing.assert_array_equal(opened(prepared / f"label_maps/train/{name}.png"), ids)


def test_shards_give_the_files_of_single_pictures(photos: Path, tmp_path: Path) -> None:
    one, shards = tmp_path / "one", tmp_path / "shards"
    run(*WORDS, photos, "--shard", "0/1", "--out", shards)
    for name, file in (("json", "pictures.jsonl"), ("coco-polygons", "coco.json"), ("cvat", "cvat.xml")):
        run(*WORDS, photos, "--out", one, "--format", name, "--resume")
        stdout = run("predict", "--gather", "--format", name, "--out", shards)
        assert stdout.splitlines()[1] == f"{shards / file}: names are relative to {photos}"
        assert (shards / file).read_bytes() == (one / file).read_bytes()


def test_a_raster_gets_its_regions_beside_the_label_map(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.tif", pixels(height=70, width=90)), tmp_path / "labels.tif"
    stdout = run(*WORDS, "--raster", source, "--out", out, "--format", "geojson")
    assert stdout == f"{out}\n{tmp_path / 'labels.geojson'}\n"
    properties = [one["properties"] for one in read_json(tmp_path / "labels.geojson")["features"]]
    assert {one["picture"] for one in properties} == {"in.tif"}
    assert {one["label"] for one in properties} <= {"zebra", "sand"}


def test_a_picture_that_fails_is_left_out(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    done = CliRunner().invoke(app, [*WORDS, str(photos), "--out", str(tmp_path / "out"), "--format", "cvat"])
    assert done.exit_code == 3
    content = (tmp_path / "out/cvat.xml").read_text()
    assert 'name="a/x.png"' in content and "broken" not in content


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["photos", "--format", "coco", "--shard", "0/2"],
            "--format coco is for all shards together; leave it out here",
        ),
        (["--format", "coco", "--list", "l.txt"], "--format coco is for all shards together"),
        (["clip.mp4", "--format", "coco"], "--format is not for videos"),
        (["--format", "geojson", "--gather"], "--format geojson is for rasters and single pictures"),
        (
            ["--format", "cvat", "--raster", "a.tif", "--out", "b.tif"],
            "--format cvat is not for rasters; give geojson",
        ),
    ],
)
def test_formats_that_do_not_fit_are_refused(words: list[str], reason: str) -> None:
    done = CliRunner().invoke(app, [*WORDS, *words])
    assert done.exit_code == 2 and f"error: {reason}" in done.stderr


def test_another_file_in_its_place_is_refused_at_once(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/coco.json").write_text("{}")
    done = CliRunner().invoke(app, [*WORDS, str(photos), "--out", str(tmp_path / "out"), "--format", "coco"])
    assert done.exit_code == 2 and "this command did not write it" in done.stderr
    assert (tmp_path / "out/coco.json").read_text() == "{}"
