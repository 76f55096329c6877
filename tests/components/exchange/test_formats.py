"""Formats of other tools: what `predict --format` writes, `prepare custom` reads back as the same label maps."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as masks

from cascade_core.data.polygons import CocoAnnotation, CocoImage, draw
from cascade_core.data.run_lengths import decode_runs, runs_of
from cascade_core.errors import UserError
from components.exchange.brush import decode_brush, encode_brush
from components.exchange.formats import format_named
from components.exchange.labelled import About, LabelledPicture
from components.exchange.names import FormatName
from components.exchange.outlines import one_ring, regions
from components.steps import prepare_custom

pytest.importorskip("rasterio", reason="the extra `raster` is not installed")

ABOUT = About(("cat", "wild dog", "fish & chips"), "a model")
BACKGROUND = 3
LABELS = """
name: pets
classes: [cat, wild dog, fish & chips]
background: {id: 0}
"""
FORMATS = [name for name in FormatName if name is not FormatName.PNG]
DRAWN = [name for name in FORMATS if name is not FormatName.JSON]
"""The formats with outlines, which `prepare custom` reads."""
RING = np.array([[1, 1, 1, 1, 3], [1, 0, 2, 1, 3], [1, 1, 1, 1, 3], [0, 1, 0, 3, 3]], dtype=np.uint8)
"""Classes 1 around 0 and 2, one pixel each; 0 twice, once touching a corner; background 3."""
SMALL = st.integers(1, 9)


def written(name: FormatName, folder: Path) -> Path:
    """Write the label maps of a/ring.png and of pictures without an object, and of one of a single class."""
    form = format_named(name)
    assert form is not None
    return form.save(folder, pictures(), ABOUT)


def pictures() -> list[LabelledPicture]:
    maps = {
        "a/ring.png": RING,
        "b é&<.png": np.full((2, 3), BACKGROUND, np.uint8),
        "c.png": np.full((3, 2), 2, np.uint8),
    }
    return [
        LabelledPicture(file_name, label_map, {int(i): 0.5 for i in np.unique(label_map)})
        for file_name, label_map in maps.items()
    ]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder with the pictures and a label file."""
    (tmp_path / "labels.yaml").write_text(LABELS)
    for shade, picture in enumerate(pictures()):
        path = tmp_path / "images" / picture.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", picture.size, (shade, 0, 0)).save(path)
    return tmp_path


def prepared(pets: Path, file: Path) -> dict[str, np.ndarray]:
    """Return the label maps that `prepare custom` makes of a file, by picture."""
    prepare_custom.run(
        labels=pets / "labels.yaml", images=pets / "images", annotations={"train": file}, out=pets / "out"
    )
    maps = pets / "out/label_maps/train"
    return {path.relative_to(maps).as_posix(): opened(path) for path in maps.rglob("*.png")}


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.mark.parametrize("name", DRAWN)
def test_every_format_comes_back_as_the_same_label_maps(pets: Path, name: FormatName) -> None:
    label_maps = prepared(pets, written(name, pets))
    assert label_maps.keys() == {picture.file_name for picture in pictures()}
    for picture in pictures():
        ids = np.array([1, 2, 3, 0])[picture.label_map]  # the label file counts from 1
        np.testing.assert_array_equal(label_maps[picture.file_name], ids)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_replaces_only_one_that_the_command_wrote(tmp_path: Path, name: FormatName) -> None:
    form = format_named(name)
    assert form is not None
    written(name, tmp_path)
    written(name, tmp_path)
    (tmp_path / form.file).write_text('{"images": []}')
    with pytest.raises(UserError, match="this command did not write it"):
        form.check(tmp_path)


def test_lines_have_the_areas_of_every_picture(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in written(FormatName.JSON, tmp_path).read_text().splitlines()]
    assert [(line["file_name"], line["width"], line["height"]) for line in lines] == [
        (picture.file_name, *picture.size) for picture in pictures()
    ]
    assert lines[0]["classes"] == [
        {"id": 0, "label": "cat", "pixels": 3, "share": 0.15, "confidence": 0.5},
        {"id": 1, "label": "wild dog", "pixels": 11, "share": 0.55, "confidence": 0.5},
        {"id": 2, "label": "fish & chips", "pixels": 1, "share": 0.05, "confidence": 0.5},
    ]
    assert not lines[1]["classes"]  # only background


@given(arrays(np.uint8, st.tuples(SMALL, SMALL), elements=st.integers(0, 2)))
@settings(deadline=None, max_examples=50)
def test_outlines_with_slits_hold_the_pixels_of_their_region(label_map: np.ndarray) -> None:
    height, width = label_map.shape
    image = CocoImage(id=1, file_name="a.png", width=width, height=height)
    outlines = [(i, [one_ring(rings).ravel().tolist()]) for i, rings in regions(label_map)]
    objects = [
        CocoAnnotation(id=number, image_id=1, category_id=i, segmentation=outline)
        for number, (i, outline) in enumerate(outlines)
    ]
    every_way = (objects, objects[::-1])  # no pixel is in two of them, so that their order does not count
    for order in every_way:
        np.testing.assert_array_equal(draw(image, order, {0: 0, 1: 1, 2: 2}, elsewhere=255), label_map)
    areas = sum(int(masks.area(masks.frPyObjects(item.segmentation, height, width))[0]) for item in objects)
    assert areas == height * width


@given(arrays(bool, st.tuples(SMALL, SMALL)), st.integers(0, 5), st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_runs_of_a_part_are_those_of_the_picture(mask: np.ndarray, top: int, left: int) -> None:
    rows, columns = mask.shape
    whole = np.zeros((top + rows + 2, left + columns), dtype=bool)
    whole[top : top + rows, left : left + columns] = mask
    np.testing.assert_array_equal(decode_runs(runs_of(mask, whole.shape, (top, left)), whole.shape), whole)


@given(arrays(bool, st.tuples(SMALL, SMALL)))
@settings(deadline=None, max_examples=50)
def test_brush_masks_come_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_brush_masks_of_long_and_of_literal_runs_are_read() -> None:
    mask = np.zeros((300, 400), dtype=bool)
    mask[100, 5:] = True
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)
    # 8 levels of 8 bits, sizes 3, 4, 8 and 16: a literal block of 8 (size 3), opaque and transparent.
    bits = f"{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}0{0:02b}{7:03b}" + "1" * 32 + "0" * 32
    packed = np.packbits([int(bit) for bit in bits]).tolist()
    np.testing.assert_array_equal(decode_brush(packed, (1, 2)), [[True, False]])


@pytest.mark.parametrize(
    ("rle", "reason"),
    [
        ([0, 0, 0], "ends too early"),
        (encode_brush(np.ones((2, 2), bool)), "holds 4 pixels"),
        ([300], "no list of bytes"),
    ],
)
def test_damaged_brush_masks_are_refused(rle: list[int], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        decode_brush(rle, (3, 3))


def task(
    *results: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-c.png", **more: Any
) -> dict[str, Any]:
    size = {"original_width": 2, "original_height": 3, "image_rotation": 0}
    done = {"result": [{**size, **result} for result in results], "was_cancelled": False}
    return {"data": {"image": image}, "annotations": [done], **more}


SQUARE = {"points": [[0, 0], [50, 0], [50, 100], [0, 100]], "polygonlabels": ["cat"]}
BOX = {"x": 50, "y": 0, "width": 50, "height": 100, "rotation": 0, "rectanglelabels": ["wild dog"]}


def test_what_annotators_draw_in_label_studio_is_read(pets: Path) -> None:
    tasks = [task({"type": "polygonlabels", "value": SQUARE}, {"type": "rectanglelabels", "value": BOX})]
    tasks[0]["annotations"].append({"result": [], "was_cancelled": True})
    file = pets / "export.json"
    file.write_text(json.dumps(tasks))
    np.testing.assert_array_equal(prepared(pets, file)["c.png"], [[1, 2]] * 3)


def test_what_annotators_draw_in_cvat_is_read(pets: Path) -> None:
    file = pets / "annotations.xml"
    file.write_text(
        '<annotations><version>1.1</version><image id="7" name="c.png" width="2" height="3"><tag label="x"/>'
        '<box label="cat" xtl="0.0" ytl="0.0" xbr="1.0" ybr="3.0" z_order="0"/>'
        '<polygon label="wild dog" points="1.00,0.00;2.00,0.00;2.00,3.00;1.00,3.00"/></image></annotations>'
    )
    np.testing.assert_array_equal(prepared(pets, file)["c.png"], [[1, 2]] * 3)


def geojson(geometry: dict[str, Any] | None, **properties: Any) -> str:
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


def corners(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


BROKEN: dict[str, tuple[str, str]] = {
    "kind": (json.dumps([task({"type": "ellipselabels", "value": {}})]), "of the kind 'ellipselabels'"),
    "several": (
        json.dumps([task() | {"annotations": [{"result": []}] * 2}]),
        "the task of c.png has 2 annotations",
    ),
    "nobody's": (json.dumps([task(image="s3://b/other.png")]), "no picture below"),
    "task": ("[1]", "task 1 is no task of Label Studio"),
    "xml": ("<annotations>", "is no XML"),
    "video": ("<annotations><track/></annotations>", "CVAT for images"),
    "entity": ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "declares a document type"),
    "points": (
        '<annotations><image name="c.png" width="2" height="3"><points label="cat" points="1,1"/></image></annotations>',
        "an object of the kind 'points'",
    ),
    "runs": (
        '<annotations><image name="c.png" width="2" height="3"><mask label="cat" rle="1,2" left="0" top="0" width="2" '
        'height="3"/></image></annotations>',
        "a mask of 2x3 pixels has 3",
    ),
    "reach": (
        '<annotations><image name="c.png" width="2" height="3"><mask label="cat" rle="0,6" left="1" top="0" width="2" '
        'height="3"/></image></annotations>',
        "a mask of 'cat' reaches out of c.png",
    ),
    "outside": (
        geojson(corners((90, 90), (99, 90), (99, 99)), picture="c.png", label="cat"),
        "a region of 'cat' in c.png lies outside it",
    ),
    "line": (
        geojson({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, picture="c.png", label="cat"),
        "LineString",
    ),
    "no label": (geojson(corners((0, 0), (1, 0), (1, 1)), picture="c.png"), "feature 1 is broken"),
    "no picture": (geojson(corners((0, 0), (1, 0), (1, 1)), label="cat"), "has no property picture"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_in_one_sentence(pets: Path, case: str) -> None:
    content, reason = BROKEN[case]
    (pets / "file").write_text(content)
    with pytest.raises(UserError, match=reason) as raised:
        prepared(pets, pets / "file")
    assert str(pets / "file") in str(raised.value) and not (pets / "out").exists()


def test_an_object_without_a_pixel_is_logged(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny = {"points": [[1, 1], [2, 1], [2, 2]], "polygonlabels": ["cat"]}
    (pets / "file").write_text(json.dumps([task({"type": "polygonlabels", "value": tiny})]))
    with caplog.at_level(logging.WARNING):
        assert not prepared(pets, pets / "file")["c.png"].any()
    assert "1 objects are not in the label maps" in caplog.text and "annotation 1 of c.png" in caplog.text
