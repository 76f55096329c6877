"""A dozen pictures of the mini benchmark, written once, for tests of steps."""

import shutil
from pathlib import Path

import pytest

from cascade_core.mini.voc_layout import write_benchmark

SIZES = {"train": 6, "val": 2, "test": 3}
IMAGE_SETS = {"train": "train", "val": "val", "test": "test"}


@pytest.fixture(scope="session")
def _written_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "mini"
    write_benchmark(root, sizes=SIZES)
    return root


@pytest.fixture
def world(_written_world: Path, tmp_path: Path) -> Path:
    """Give a copy of its own of the VOC-like folder, to be broken at will."""
    shutil.copytree(_written_world, tmp_path / "mini")
    return tmp_path / "mini" / "VOCdevkit" / "VOC2012"


@pytest.fixture
def prepared(world: Path, tmp_path: Path) -> Path:
    """Give the folder of a prepare step on it."""
    from components import prepare

    prepare.run(raw=world, protocol="mini-18-6", image_sets=IMAGE_SETS, out=tmp_path / "prepared")
    return tmp_path / "prepared"
