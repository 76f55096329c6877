"""GeoJSON of a raster: at the raster's place, and back into the same label map."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cascade_core.runtime.files import read_json
from components.exchange.labelled import About
from components.exchange.raster_regions import write_regions
from components.steps import prepare_custom
from tests.components.rasters.test_labelling import pixels, write

rasterio = pytest.importorskip("rasterio", reason="the extra `raster` is not installed")

NOT_SQUARE = rasterio.Affine(0.5, 0, 500_000, 0, -0.25, 5_300_000)
TURNED = rasterio.Affine(0.3, 0.4, 500_000, 0.4, -0.3, 5_300_000)
LABELS = "name: field\nclasses: [grass, sand]\nbackground: {id: 0}\n"
NO_DATA = 255


def label_map(tmp_path: Path, **profile: Any) -> tuple[Path, np.ndarray]:
    """Write a picture below images/, the label map of 13 x 17 pixels, and a label file."""
    ids = np.random.default_rng(1).choice(np.array([0, 1, NO_DATA], dtype=np.uint8), (13, 17))
    (tmp_path / "images").mkdir()
    write(tmp_path / "images/field.tif", pixels(height=13, width=17), **profile)
    (tmp_path / "labels.yaml").write_text(LABELS)
    return write(tmp_path / "map.tif", ids[None], nodata=NO_DATA, **profile), ids


@pytest.mark.parametrize(
    "profile",
    [
        {"transform": NOT_SQUARE},
        {"transform": TURNED},
        {"transform": rasterio.Affine.identity(), "crs": None},
    ],
    ids=["upright", "turned", "without georeference"],
)
def test_regions_come_back_as_the_same_label_map(tmp_path: Path, profile: dict[str, Any]) -> None:
    path, ids = label_map(tmp_path, **profile)
    about = About(("grass", "sand"), "a model")
    file = write_regions(path, tmp_path / "map.geojson", about, file_name="field.tif")
    prepare_custom.run(
        labels=tmp_path / "labels.yaml",
        images=tmp_path / "images",
        annotations={"train": file},
        out=tmp_path / "out",
    )
    with Image.open(tmp_path / "out/label_maps/train/field.png") as picture:
        np.testing.assert_array_equal(np.array(picture), np.where(ids == NO_DATA, 0, ids + 1))


def test_features_lie_where_the_raster_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, ids = label_map(tmp_path, transform=NOT_SQUARE)
    about = About(("grass", "sand"), "a model")
    content = read_json(write_regions(path, tmp_path / "map.geojson", about, file_name="field.tif"))
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632" and not caplog.messages
    rings = [ring for feature in content["features"] for ring in feature["geometry"]["coordinates"]]
    x, y = np.concatenate(rings).T
    assert (
        (x >= 500_000).all()
        and (x <= 500_008.5).all()
        and (y >= 5_299_996.75).all()
        and (y <= 5_300_000).all()
    )
    assert all(ring[0] == ring[-1] for ring in rings)
    areas = {"grass": 0.0, "sand": 0.0}
    for feature in content["features"]:
        for ring in feature["geometry"]["coordinates"]:  # holes turn the other way, so their areas count less
            (x, y), properties = np.array(ring).T, feature["properties"]
            areas[properties["label"]] += float(x[:-1] @ y[1:] - y[:-1] @ x[1:]) / 2
    expected = {name: np.count_nonzero(ids == i) / 8 for i, name in enumerate(areas)}
    assert areas == pytest.approx(expected, abs=1e-3)


def test_pixel_coordinates_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = label_map(tmp_path, transform=rasterio.Affine.identity(), crs=None)
    with caplog.at_level(logging.WARNING):
        write_regions(path, tmp_path / "map.geojson", About(("grass", "sand"), ""), file_name="field.tif")
    assert "because the raster has no georeference" in caplog.text
