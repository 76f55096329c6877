"""Bytes of a training's artifacts in a pipeline at full size: `python -m benchmarks.artifact_bytes`.

The weights are random, in the sizes of CLIP ViT-B/16 and of the published recipes. "One folder" is a training as the
command writes it: with one artifact for all of it, each step that reads any part downloads all.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from cascade_core.checkpoints.checkpoint import save_checkpoint
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.recipes import recipe
from cascade_core.model.build import build_segmentor
from components.artifacts.manifest import write_manifest
from components.bodies.between_steps import Clip, hand_on
from components.results.names import HISTORY_FILE

RECIPES = ("zegclip_voc12", "cascade_voc12")
READERS: Mapping[str, tuple[str, ...]] = {
    "trained": ("evaluate", "profile", "register"),
    "half": ("self_train",),
    "training": ("index_both",),
}
"""The steps of `zero_shot` that download an artifact of an inductive training."""


def write_training(folder: Path, name: str, clip: ClipModel) -> None:
    """Write the folder of an untrained model of this recipe, as the train step does."""
    config = recipe(name, {}, seed=0)
    split = config.data.split
    manifest = CheckpointManifest(
        config=config,
        setting="inductive",
        iteration=config.train.iterations,
        total_iterations=config.train.iterations,
        classes=split.classes,
        unseen=tuple(split.unseen_names),
        provenance={},
    )
    segmentor = build_segmentor(config.model, clip.visual, seed=0)
    for checkpoint in ("final", "half"):
        save_checkpoint(folder / checkpoint, segmentor, manifest)
    rows = [f"{number},0.5" for number in range(0, config.train.iterations, config.train.log_every)]
    (folder / HISTORY_FILE).write_text("\n".join(["iteration,loss", *rows]) + "\n", encoding="utf-8")
    write_manifest(folder, step="train", inputs={}, parameters={})


def num_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(root: Path, name: str) -> tuple[int, dict[str, int]]:
    """Return the bytes of a training as one folder, and those of its artifacts."""
    config = recipe(name, {}, seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = ClipModel(config.model.clip)
    save_clip(root / "clip", clip)
    write_training(root / "trained", name, clip)
    before = num_bytes(root / "trained")
    parts = {part: root / part for part in ("half", "training")}
    hand_on(root / "trained", parts, Clip(root / "clip", str(root / "clip")))
    return before, {part: num_bytes(root / part) for part in ("trained", *parts)}


def main() -> None:
    """Print a row per recipe: bytes of the artifacts, and what the steps of `zero_shot` download of them."""
    readers = sum(len(steps) for steps in READERS.values())
    print("| recipe | one folder | trained | half | training | downloads, one folder | downloads, parts |")
    print("|---|---|---|---|---|---|---|")
    for name in RECIPES:
        with tempfile.TemporaryDirectory() as scratch:
            before, after = measured(Path(scratch), name)
        downloads = sum(after[part] * len(steps) for part, steps in READERS.items())
        cells = [before, *after.values(), before * readers, downloads]
        print(f"| {name} | " + " | ".join(f"{cell / 1e6:,.2f} MB" for cell in cells) + " |")


if __name__ == "__main__":
    main()
