"""The conversion of label maps: missing ones only, and one error for all broken files."""

import time
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.sources.convert import convert, voc_palette, write_label_map
from cascade_core.data.sources.plan import Job
from cascade_core.errors import UserError


def ids(value: int) -> np.ndarray:
    if value < 0:
        raise UserError(f"map {value} is broken")
    return np.full((2, 3), value, dtype=np.uint8)


def jobs(folder: Path, values: list[int]) -> list[Job]:
    return [Job(folder / f"{value}.png", partial(ids, value)) for value in values]


def test_label_maps_store_ids_with_the_palette_of_voc(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.png", ids(15))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert np.array(picture).tolist() == [[15] * 3] * 2
        assert picture.convert("RGB").getpixel((0, 0)) == (192, 128, 128)  # person, as in VOC's devkit


def test_the_palette_is_that_of_a_map_of_the_official_archive() -> None:
    colours = np.frombuffer(voc_palette(), dtype=np.uint8).reshape(256, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {i: tuple(colours[i].tolist()) for i in known} == known


def test_a_second_call_converts_missing_maps_only(tmp_path: Path) -> None:
    assert convert(jobs(tmp_path, [1, 2, 3]), workers=2) == 3
    (tmp_path / "2.png").unlink()
    steps: list[tuple[int, int]] = []
    assert convert(jobs(tmp_path, [1, 2, 3]), workers=2, progress=lambda *step: steps.append(step)) == 1
    assert steps == [(3, 3)]


def test_an_error_names_the_broken_maps_and_the_others_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)2 of 4 label maps.*map -1 is broken.*map -2 is broken"):
        convert(jobs(tmp_path, [-1, 5, -2, 6]), workers=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5.png", "6.png"]


def test_an_interrupt_does_not_wait_for_the_remaining_maps(tmp_path: Path) -> None:
    interrupted = Event()

    def interrupt(done: int, total: int) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def slow(value: int) -> np.ndarray:
        if value:
            interrupted.wait(10)
            time.sleep(0.02)
        return ids(value)

    many = [Job(tmp_path / f"{value}.png", partial(slow, value)) for value in range(200)]
    with pytest.raises(KeyboardInterrupt):
        convert(many, workers=1, progress=interrupt)
    written = len(list(tmp_path.glob("*.png")))
    assert 0 < written < 200
    assert convert(jobs(tmp_path, list(range(200))), workers=1) == 200 - written
