"""A dozen pictures of the mini benchmark, written once, for tests of steps."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.datasets.mini import TEMPLATES
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.vocabulary import WORDS
from components.progress import Progress

SIZES = {"train": 6, "val": 2, "test": 3}
IMAGE_SETS = {"train": "train", "val": "val", "test": "test"}


SHORT = {
    "train.iterations": 4,
    "train.batch_size": 2,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "self_train.batch_size": 2,
    "optim.warmup_iterations": 1,
    "evaluate.batch_size": 2,
}
RECIPE = "mini_cascade_clip"


@dataclass(frozen=True)
class Folders:
    """What the steps before training made."""

    prepared: Path
    splits: Path
    text: Path
    clip: Path

    @property
    def steps(self) -> dict[str, Path]:
        return {"prepared": self.prepared, "splits": self.splits, "text": self.text}


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
    from components.steps import prepare

    prepare.run(raw=world, protocol="mini-18-6", image_sets=IMAGE_SETS, out=tmp_path / "prepared")
    return tmp_path / "prepared"


def write_earlier(out: Path, step: str) -> None:
    """Write a folder as an earlier call of the step left it, with a file `kept`."""
    out.mkdir()
    (out / "kept").write_text("earlier")
    (out / "manifest.json").write_text(json.dumps({"step": step, "content_sha256": "0" * 64}))


def interrupt_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop whatever shows its progress once it has finished a step."""
    advance = Progress.advance

    def stop(self: Progress, done: int, text: str = "", *, total: int | None = None) -> None:
        advance(self, done, text, total=total)
        if done == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "advance", stop)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Give what the steps before training make of six training pictures and a random CLIP."""
    root = tmp_path_factory.mktemp("steps")
    from components.steps import prepare, splits, text_vectors

    raw = write_benchmark(root / "raw", sizes={"train": 6, "val": 3, "test": 2})
    save_clip(root / "clip", new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    made = Folders(root / "prepared", root / "splits", root / "text", root / "clip")
    prepare.run(
        raw=raw,
        protocol="mini-18-6",
        image_sets={"train": "train", "val": "val", "test": "test"},
        out=made.prepared,
    )
    splits.run(prepared=made.prepared, protocol="mini-18-6", out=made.splits)
    text_vectors.run(protocol="mini-18-6", templates=TEMPLATES, clip=made.clip, out=made.text)
    return made
