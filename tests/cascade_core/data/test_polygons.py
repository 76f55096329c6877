"""Label maps from COCO annotations: the pixels of COCO's own tools, and an error for each broken annotation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as masks

from cascade_core.data.polygons import CocoAnnotation, CocoCategory, CocoImage, draw, raw_ids, read_coco
from cascade_core.data.run_lengths import unpack_runs

IMAGE = CocoImage(id=1, file_name="a.jpg", width=6, height=4)


def annotation(segmentation: Any, *, category: int = 1, number: int = 1) -> CocoAnnotation:
    return CocoAnnotation.model_validate(
        {"id": number, "image_id": 1, "category_id": category, "segmentation": segmentation}
    )


def rectangle(left: int, top: int, right: int, bottom: int) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def test_a_polygon_covers_the_pixels_between_its_corners() -> None:
    label_map = draw(IMAGE, [annotation([rectangle(1, 1, 3, 4), rectangle(5, 0, 6, 1)])], {1: 7}, elsewhere=0)
    assert label_map.tolist() == [
        [0, 0, 0, 0, 0, 7],
        [0, 7, 7, 0, 0, 0],
        [0, 7, 7, 0, 0, 0],
        [0, 7, 7, 0, 0, 0],
    ]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_smaller_of_two_overlapping_objects_stays_whole(swapped: bool) -> None:
    objects = [annotation([rectangle(0, 0, 6, 4)]), annotation([rectangle(2, 1, 4, 3)], category=2)]
    label_map = draw(IMAGE, objects[::-1] if swapped else objects, {1: 3, 2: 4}, elsewhere=0)
    assert (label_map == 4).sum() == 4 and (label_map == 3).sum() == 20


@given(st.lists(st.booleans(), min_size=24, max_size=24))
def test_run_lengths_decode_to_the_encoded_mask(pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(4, 6)
    packed = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = packed["counts"].decode()
    for counts in (text, unpack_runs(text).tolist()):
        label_map = draw(IMAGE, [annotation({"size": [4, 6], "counts": counts})], {1: 1}, elsewhere=0)
        assert (label_map == mask).all()


def test_long_runs_take_several_characters() -> None:
    mask = np.zeros((300, 500), np.uint8)
    mask[100:200, 33:400] = 1
    packed = masks.encode(np.asfortranarray(mask))
    image = CocoImage(id=1, file_name="a.jpg", width=500, height=300)
    rle = {"size": [300, 500], "counts": packed["counts"].decode()}
    assert (draw(image, [annotation(rle)], {1: 1}, elsewhere=0) == mask).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "annotation 1: it has no polygon of at least three points"),
        ([[1, 1, 2, 2]], "no polygon of at least three points"),
        ([[1, 1, 2, 2, 3, 3, 4]], "no polygon of at least three points"),
        ([[1, 1, 1e12, 2, 3, 3]], "has corners far outside the picture of 6x4"),
        ([[1, 1, float("nan"), 2, 3, 3]], "has corners far outside"),
        (
            {"size": [6, 4], "counts": [24]},
            r"annotation 1: its mask has the size \(6, 4\), its picture \(4, 6\)",
        ),
        (
            {"size": [4, 6], "counts": [4, 3]},
            "annotation 1: runs of its mask add up to 7 pixels, not to 4 x 6",
        ),
        ({"size": [4, 6], "counts": [30, -6]}, "add up to 24 pixels"),
        ({"size": [4, 6], "counts": "P"}, "annotation 1: no run-length mask"),
    ],
)
def test_a_broken_outline_is_an_error_with_its_annotation(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(IMAGE, [annotation(segmentation)], {1: 1}, elsewhere=0)


def test_categories_match_names_and_synonyms() -> None:
    categories = [
        CocoCategory(id=i, name=name) for i, name in ((3, "Cat"), (9, "traffic  light"), (4, "cow"))
    ]
    assert raw_ids(categories, {"cat": 1, "kitten": 1, "traffic light": 2}) == ({3: 1, 9: 2}, {4: "cow"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ({"images": [], "categories": []}, "annotations: Field required"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 4}]}, r"images\.0\.width"),
    ],
)
def test_an_invalid_file_of_instances_is_an_error_that_names_it(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = tmp_path / "instances.json"
    if content is not None:
        path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"instances.json .*{message}"):
        read_coco(path)
