"""What is noted of a picture that is as it should be."""

from pathlib import Path

import numpy as np
from PIL import Image

from cascade_core.data.examine import Examined, examine
from cascade_core.data.own_layout import Candidate
from cascade_core.labelsets import IGNORE, INVALID, LabelSet


def test_classes_come_by_train_id_with_their_pixels(tmp_path: Path) -> None:
    table = [INVALID] * 256
    table[9], table[4], table[0] = 0, 1, IGNORE
    image, label = tmp_path / "a.png", tmp_path / "map.png"
    Image.new("RGB", (3, 2)).save(image)
    Image.fromarray(np.array([[4, 4, 0], [9, 4, 0]], np.uint8)).save(label)
    found = examine(
        Candidate("a", "train", image, label, "a.png", "map.png"), LabelSet("own", ("cat", "dog"), tuple(table))
    )
    assert isinstance(found, Examined)
    assert (found.row["classes"], found.row["pixels"]) == ([0, 1], [1, 3])
    assert found.raw_pixels == {0: 2, 4: 3, 9: 1}
