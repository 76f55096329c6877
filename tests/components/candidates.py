"""Candidates for the registry: an untrained tiny model, and scores and speed as the steps write them."""

from pathlib import Path

from cascade_core.runtime.files import write_json
from components.steps import register
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

DATA = "ab" * 32
SCORES = {
    "method": "cascade_clip",
    "setting": "inductive",
    "split": "test",
    "protocol": "mini-18-6",
    "seed": 0,
    "pAcc": 0.8,
    "miou_seen": 0.6,
    "miou_unseen": 0.4,
    "hiou": 0.48,
    "data_hash": DATA,
    "num_pictures": 3,
}


def write_model(folder: Path) -> Path:
    """Write what all candidates share: `clip`, the checkpoint `final`, and the `profile` of its speed."""
    clip = write_tiny_clip(folder / "clip")
    write_tiny_checkpoint(folder / "final", clip, tiny_config())
    write_json(
        folder / "profile" / "profile.json",
        {"method": "cascade_clip", "trainable_params": 1234, "gmacs": 0.5, "images_per_second": 10.0},
    )
    return folder


def write_evaluation(folder: Path, **changes: object) -> Path:
    """Write the scores of a candidate: `SCORES` with `changes`."""
    write_json(folder / "scores.json", SCORES | changes)
    return folder


def register_candidate(
    folder: Path,
    scratch: Path,
    name: str,
    *,
    checkpoint: Path | None = None,
    clip: Path | None = None,
    decision: Path | None = None,
    validation: Path | None = None,
    **scores: object,
) -> register.Registered:
    """Register the model that `write_model` wrote, with scores of its own."""
    return register.run(
        checkpoint=checkpoint or folder / "final",
        clip=clip or folder / "clip",
        evaluation=write_evaluation(scratch / "evaluation", **scores),
        profile=folder / "profile",
        out=scratch / "out",
        name=name,
        decision=decision,
        validation=validation,
    )
