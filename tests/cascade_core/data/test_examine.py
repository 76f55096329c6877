"""What is noted of a picture that is as it should be."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.examine import Candidate, Examined, Problem, examine
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet


def turned() -> bytes:
    """A photograph of 3x2 pixels that a camera says is to be turned."""
    content, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3, 2)).save(content, "JPEG", exif=exif)
    return content.getvalue()


def test_classes_come_by_train_id_with_their_pixels(tmp_path: Path) -> None:
    table = [INVALID] * 256
    table[9], table[4], table[0] = 0, 1, IGNORE
    image, label = tmp_path / "a.png", tmp_path / "map.png"
    Image.new("RGB", (3, 2)).save(image)
    Image.fromarray(np.array([[4, 4, 0], [9, 4, 0]], np.uint8)).save(label)
    found = examine(
        Candidate("a", "train", image, label, "a.png", "map.png"),
        LabelSet("own", ("cat", "dog"), tuple(table)),
    )
    assert isinstance(found, Examined)
    assert (found.row["classes"], found.row["pixels"]) == ([0, 1], [1, 3])
    assert found.raw_pixels == {0: 2, 4: 3, 9: 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"a\.jpg: cannot be decoded as a picture \(it is empty\); fetch"),
        (b"<html>", r"a\.jpg: cannot be decoded as a picture \(it is of no known format\); fetch"),
        (turned(), "size 3x2 differs from 2x3 .* EXIF orientation .* turn the map"),
    ],
)
def test_what_is_wrong_with_a_picture_is_told_with_the_way_out(
    tmp_path: Path, content: bytes, told: str
) -> None:
    image, label = tmp_path / "a.jpg", tmp_path / "a.png"
    image.write_bytes(content)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(label)
    candidate = Candidate("a", "train", image, label, "a.jpg", "a.png")
    found = examine(candidate, LabelSet("own", ("cat",), (0, *[INVALID] * 255)))
    assert isinstance(found, Problem)
    assert re.search(told, found.text)
