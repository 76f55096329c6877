"""Step: pretrain the mini benchmark's tiny CLIP from nothing, on pictures and captions alone."""

from dataclasses import asdict, dataclass
from pathlib import Path

from cascade_core.clip.weights import save_clip
from cascade_core.files import write_json
from cascade_core.mini.pretrain import (
    ZeroShotAccuracy,
    mini_clip_config,
    new_clip,
    patch_accuracy,
    pretrain,
    zero_shot_accuracy,
)
from cascade_core.mini.vocabulary import WORDS
from components.progress import progress
from components.tracking import tracked_step

STEPS, BATCH_SIZE, LEARNING_RATE = 1800, 96, 2e-3
"""What the shipped weights were made with."""

ACCURACY_FILE = "accuracy.json"


@dataclass(frozen=True)
class Pretrained:
    """Zero-shot top-1 on held-out pictures: of whole pictures over things, of patches over all classes."""

    pictures: ZeroShotAccuracy
    patches: ZeroShotAccuracy


def run(*, seed: int, out: Path, steps: int | None = None) -> Pretrained:
    """Train the tiny CLIP with the contrastive loss and write it, with its accuracies, as the CLIP folder `out`.

    Raises:
        ValueError: `steps` is too small to train on.
    """
    total = steps or STEPS
    clip = new_clip(mini_clip_config(), seed=seed)
    with tracked_step(
        "pretrain",
        protocol="mini-18-6",
        seed=seed,
        parameters={"steps": total, "batch_size": BATCH_SIZE, "lr": LEARNING_RATE},
    ) as tracker:
        with progress("pretrain tiny CLIP", total) as bar:
            reports = pretrain(clip, steps=total, batch_size=BATCH_SIZE, lr=LEARNING_RATE, seed=seed)
            for report in reports:
                bar.advance(report.step, f"loss {report.loss:.3f} | retrieval {report.accuracy:.2f}")
                if report.step % 50 == 0 or report.step == total:
                    tracker.metrics({"loss": report.loss, "retrieval": report.accuracy}, step=report.step)
        found = Pretrained(
            pictures=zero_shot_accuracy(clip, seed=seed), patches=patch_accuracy(clip, seed=seed)
        )
        save_clip(out, clip, words=list(WORDS))
        write_json(out / ACCURACY_FILE, asdict(found))
        tracker.metrics({"top1_seen": found.pictures.seen, "top1_unseen": found.pictures.unseen})
    return found
