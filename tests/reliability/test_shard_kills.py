"""A shard killed at file operations and at times, and called again: its table and label maps are those of an undisturbed call.

Run with: pytest -m reliability tests/reliability/test_shard_kills.py --capture=no
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.bulk.shards import Shard
from cascade_core.predictor import Predictor
from components.bulk import shard
from tests.reliability import forks
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

pytestmark = pytest.mark.reliability

PICTURES, LATEST_SECONDS = 19, 1.5
OPERATIONS, TIMES = 20, 5
"""How many kills are at a file operation, drawn at random, and how many at a time."""


def label(model: Path, pictures: list[str], out: Path) -> None:
    """Load the model here, in the fork: threads of torch do not outlive a fork."""
    shard.run(
        predictor=Predictor.load(model / "final", model / "clip", device="cpu"),
        pictures=pictures,
        labels=["zebra", "tiger", "sand"],
        out=str(out),
        shard=Shard(0, 1),
        batch=2,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_killed_shard_ends_as_if_it_had_not(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    random = np.random.default_rng(4)
    pictures = [str(tmp_path / f"{i:02}.png") for i in range(PICTURES)]
    for i, path in enumerate(pictures):
        pixels = random.integers(0, 256, (24, 40 if i % 3 else 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    Path(pictures[9]).write_text("no picture")
    work = partial(label, tmp_path, pictures)
    whole = tmp_path / "whole" / "out"
    count = forks.operations(partial(work, whole), below=whole.parent, count_file=tmp_path / "count")
    operations = random.choice(count, min(OPERATIONS, count), replace=False).tolist()
    moments: list[tuple[int | None, float | None]] = [(number, None) for number in operations]
    moments += [(None, seconds) for seconds in np.linspace(0.3, LATEST_SECONDS, TIMES).tolist()]
    for number, (kill_at, after) in enumerate(moments):
        out = tmp_path / str(number) / "out"
        assert forks.run(partial(work, out), kill_at=kill_at, after=after, below=out.parent) in (-9, 0)
        assert forks.run(partial(work, out), below=out.parent) == 0
        assert files(out) == files(whole), f"killed at {kill_at or after}"
    print(
        f"\n| shard of {PICTURES} pictures | {len(moments)} kills, of {count} file operations | equal bytes after each |"
    )
