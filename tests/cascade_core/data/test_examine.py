"""The check of a picture and its label map: its index row, or its problem with a remedy."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.examine import Candidate, Examined, Problem, examine
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet


def sideways() -> bytes:
    """Return a photograph of 3x2 pixels whose EXIF orientation rotates it by a quarter turn."""
    content, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3, 2)).save(content, "JPEG", exif=exif)
    return content.getvalue()


def test_classes_are_sorted_by_train_id_with_their_pixels(tmp_path: Path) -> None:
    table = [INVALID] * 256
    table[9], table[4], table[0] = 0, 1, IGNORE
    image, label = tmp_path / "a.png", tmp_path / "map.png"
    Image.new("RGB", (3, 2)).save(image)
    Image.fromarray(np.array([[4, 4, 0], [9, 4, 0]], np.uint8)).save(label)
    checked = examine(
        Candidate("a", "train", image, label, "a.png", "map.png"),
        LabelSet("own", ("cat", "dog"), tuple(table)),
    )
    assert isinstance(checked, Examined)
    assert (checked.row["classes"], checked.row["pixels"]) == ([0, 1], [1, 3])
    assert checked.raw_pixels == {0: 2, 4: 3, 9: 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.jpg: cannot be decoded as a picture \(it is empty\); fetch"),
        (b"<html>", r"a\.jpg: cannot be decoded as a picture \(it is none of BMP, .*\); fetch"),
        (sideways(), "size 3x2 differs from 2x3 .* EXIF orientation, .* turn the map"),
    ],
)
def test_a_problem_with_a_picture_states_its_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    image, label = tmp_path / "a.jpg", tmp_path / "a.png"
    image.write_bytes(content)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(label)
    candidate = Candidate("a", "train", image, label, "a.jpg", "a.png")
    checked = examine(candidate, LabelSet("own", ("cat",), (0, *[INVALID] * 255)))
    assert isinstance(checked, Problem)
    assert re.search(message, checked.text)
