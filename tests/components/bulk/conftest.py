"""A tiny model, and a list of pictures in three buckets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.predictor import Predictor
from tests.components.bulk.listed import PICTURES
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip


@pytest.fixture(scope="session")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    root = tmp_path_factory.mktemp("model")
    write_tiny_checkpoint(root / "final", write_tiny_clip(root / "clip"), tiny_config())
    return Predictor.load(root / "final", root / "clip", device="cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Pictures of two sizes, and a file that is none."""
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{i:02}.png" for i in range(PICTURES)]
    random = np.random.default_rng(4)
    for i, path in enumerate(paths):
        pixels = random.integers(0, 256, (24, 40 if i % 3 else 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    paths[9].write_text("no picture")
    return [str(path) for path in paths]
