"""The mini benchmark on disk: Pascal VOC's layout, splits and label maps."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from cascade_core.datasets.mini import CLASSES
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.pretrain import HELD_OUT_STREAM, PRETRAINING_STREAM
from cascade_core.mini.voc_layout import scene, write_benchmark

SMALL = {"train": 6, "val": 3, "test": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("mini") / "data", seed=7, sizes=SMALL)


def test_every_listed_name_has_a_picture_and_a_label_map(folder):
    for split, size in SMALL.items():
        names = (folder / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        assert len(names) == size
        for name in names:
            with Image.open(folder / "JPEGImages" / f"{name}.jpg") as image:
                assert (image.mode, image.size) == ("RGB", (64, 64))
            with Image.open(folder / "SegmentationClass" / f"{name}.png") as label_map:
                assert (label_map.mode, label_map.size) == ("P", (64, 64))


def test_label_maps_hold_label_id_plus_one_and_voc_s_palette(folder):
    _, labels = scene("val", 2, seed=7)
    with Image.open(folder / "SegmentationClass" / "val_0002.png") as label_map:
        assert np.array_equal(np.array(label_map), labels + 1)
        assert label_map.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_no_pixel_is_background_or_void(folder):
    for path in (folder / "SegmentationClass").iterdir():
        with Image.open(path) as label_map:
            raw = np.array(label_map)
        assert raw.min() >= 1 and raw.max() <= len(CLASSES)


def test_the_jpeg_is_the_scene_but_for_compression(folder):
    image, _ = scene("train", 0, seed=7)
    with Image.open(folder / "JPEGImages" / "train_0000.jpg") as stored:
        difference = np.abs(np.array(stored, float) - image)
    assert difference.mean() < 4


def test_no_picture_occurs_twice_within_or_across_splits():
    pictures = {
        hashlib.sha256(scene(split, index, seed=0)[0].tobytes()).hexdigest()
        for split in MINI_WORLD.sizes
        for index in range(25)
    }
    assert len(pictures) == 25 * len(MINI_WORLD.sizes)


def test_pretraining_has_its_own_random_streams():
    streams = [PRETRAINING_STREAM, HELD_OUT_STREAM, *(one.stream for one in MINI_WORLD.image_sets.values())]
    assert len(set(streams)) == len(streams) == 6


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown split 'trainval'.*train, val, test"):
        scene("trainval", 0, seed=0)


def test_writing_twice_gives_the_same_bytes(folder, tmp_path):
    again = write_benchmark(tmp_path / "again", seed=7, sizes=SMALL)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((folder / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_a_folder_that_is_not_empty_is_refused_and_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="is not empty"):
        write_benchmark(tmp_path, sizes=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_writing_leaves_nothing_behind(tmp_path):
    def stop(split: str, index: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_benchmark(tmp_path / "data", sizes=SMALL, on_picture=stop)
    assert not list(tmp_path.iterdir())


def test_the_benchmark_has_the_promised_sizes():
    assert MINI_WORLD.sizes == {"train": 800, "val": 200, "test": 400, "test2": 400}
