"""Rasters larger than a block: labels, georeference, bands, resuming."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.errors import UserError
from cascade_core.inference import blocks
from cascade_core.predictor import Predictor, eval_settings
from cascade_core.runtime.files import read_json
from components.rasters import labelling
from components.rasters.labelling import label_raster
from components.rasters.reading import open_raster, opened
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

rasterio = pytest.importorskip("rasterio", reason="the extra `raster` is not installed")

LABELS = ["zebra", "tiger", "sand"]
TRANSFORM = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    root = tmp_path_factory.mktemp("model")
    write_tiny_checkpoint(root / "final", write_tiny_clip(root / "clip"), tiny_config())
    write_model_folder(root / "final", root / "clip", root / "model")
    return Predictor.load(root / "model", device="cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SIDE", 60)


def pixels(bands: int = 3, height: int = 130, width: int = 101, dtype: str = "uint8") -> np.ndarray:
    values = np.random.default_rng(4).integers(1, 256, (bands, height, width))
    return (values if dtype == "uint8" else values * 40 + 500).astype(dtype)


def write(path: Path, values: np.ndarray, **profile: Any) -> Path:
    settings = {"driver": "GTiff", "crs": "EPSG:32632", "transform": TRANSFORM, **profile}
    count, height, width = values.shape
    with opened(path, "w", count=count, height=height, width=width, dtype=values.dtype, **settings) as file:
        file.write(values)
    return path


def read(path: Path) -> np.ndarray:
    with opened(path) as file:
        return file.read(1)


def test_the_label_map_is_that_of_the_whole_picture_at_its_place(
    predictor: Predictor, tmp_path: Path
) -> None:
    values = pixels()
    source = write(tmp_path / "in.tif", values)
    files = label_raster(predictor, source, LABELS, tmp_path / "out.tif", confidence_map=True)
    before = predictor.evaluate
    predictor.evaluate = eval_settings(before, mode="slide")
    expected = predictor.predict(np.moveaxis(values, 0, -1), LABELS)
    predictor.evaluate = before
    np.testing.assert_array_equal(read(files.labels), expected.label_map)
    np.testing.assert_array_equal(read(files.confidence), expected.confidence_levels)
    with rasterio.open(files.labels) as file:
        assert (file.crs.to_epsg(), file.transform, file.nodata) == (32632, TRANSFORM, 255)
        assert file.profile["tiled"] and file.profile["compress"] == "deflate"
        assert [file.tags(1)[f"CLASS_{i}"] for i in range(3)] == LABELS
    table = read_json(files.classes)
    assert {row["label"]: row["pixels"] for row in table["classes"]} == {
        area.label: area.pixels for area in expected.areas
    }
    assert sum(row["square_metres"] for row in table["classes"]) == pytest.approx(130 * 101 / 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.tif", "out.tif", "out_classes.json", "out_confidence.tif"
    ]  # fmt: skip


def test_an_interrupted_run_resumes_at_its_row(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path / "in.tif", pixels()), tmp_path / "out.tif"
    expected = read(label_raster(predictor, source, LABELS, tmp_path / "whole.tif").labels)
    rows: list[tuple[int, int]] = []
    write_row = labelling._write_row

    def interrupted(part: Path, labeller: Any, raster: Any, span: tuple[int, int], names: Any) -> None:
        rows.append(span)
        if len(rows) == 3:
            raise KeyboardInterrupt
        write_row(part, labeller, raster, span, names)

    monkeypatch.setattr(labelling, "_write_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label_raster(predictor, source, LABELS, out)
    assert not out.exists()
    files = label_raster(predictor, source, LABELS, out, resume=True)
    assert len(rows) == 4 and rows[2] == rows[3]
    np.testing.assert_array_equal(read(files.labels), expected)


def test_pixels_without_values_get_no_label(predictor: Predictor, tmp_path: Path) -> None:
    values = pixels()
    values[:, :70, :70] = 0
    source = write(tmp_path / "in.tif", values, nodata=0)
    files = label_raster(predictor, source, LABELS, tmp_path / "out.tif")
    labels = read(files.labels)
    assert (labels[:70, :70] == 255).all() and (labels[70:, 70:] < 3).all()
    assert read_json(files.classes)["valid_pixels"] == 130 * 101 - 70 * 70


def test_more_bands_and_bits_are_chosen_and_stretched(tmp_path: Path) -> None:
    source = write(tmp_path / "in.tif", pixels(5, dtype="uint16"), photometric="minisblack")
    with pytest.raises(
        UserError, match="5 bands and does not say which are red, green and blue; give --bands"
    ):
        open_raster(source).__enter__()
    with open_raster(source, bands=(4, 3, 2)) as raster:
        part = raster.read((10, 30), (5, 45))
        assert part.shape == (20, 40, 3) and part.dtype == np.uint8
        low, high = np.percentile(pixels(5, dtype="uint16")[3], (2, 98))
        assert raster.limits is not None and raster.limits[0] == pytest.approx((low, high))
    with open_raster(source, bands=(1,), stretch=(0, 100)) as raster:
        grey = raster.read((0, 130), (0, 101))
        assert (grey[..., 0] == grey[..., 2]).all() and (grey.min(), grey.max()) == (0, 255)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"bands": (1, 2, 9)}, "has bands 1 to 3, but --bands names 9"),
        ({"bands": (1, 2)}, "--bands names 2 bands; give three"),
        ({"stretch": (98.0, 2.0)}, "--stretch is 98,2; give two percentiles"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        open_raster(write(tmp_path / "in.tif", pixels()), **options).__enter__()


def test_what_is_no_raster_is_one_sentence(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in.tif").write_bytes(b"II*\0 and then nothing")
    with pytest.raises(UserError, match=r"in.tif cannot be read as a raster \("):
        label_raster(predictor, tmp_path / "in.tif", LABELS, tmp_path / "out.tif")
    with pytest.raises(UserError, match="no.tif is no file; give a raster"):
        label_raster(predictor, tmp_path / "no.tif", LABELS, tmp_path / "out.tif")
    with pytest.raises(UserError, match="--out is .*; give the label map's file, such as out.tif"):
        label_raster(predictor, tmp_path / "in.tif", LABELS, tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_a_picture_without_a_place_is_labelled_without_one(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "in.png", pixels(), driver="PNG", crs=None, transform=None)
    with caplog.at_level(logging.WARNING):
        files = label_raster(predictor, source, LABELS, tmp_path / "out.tif")
    assert "in.png has no georeference; neither will the label map" in caplog.text
    assert "square_metres" not in read_json(files.classes)["classes"][0]
    with opened(files.labels) as file:
        assert file.crs is None
