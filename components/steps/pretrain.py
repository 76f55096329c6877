"""Step: pretrain the mini benchmark's tiny CLIP from nothing, on pictures and captions alone."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cascade_core.clip.weights import save_clip
from cascade_core.errors import UserError
from cascade_core.mini.backbone import mini_clip_config
from cascade_core.mini.pretrain import STAGES, new_clip, pretrain
from cascade_core.mini.vocabulary import WORDS
from cascade_core.mini.zero_shot import ZeroShotAccuracy, patch_accuracy, zero_shot_accuracy
from cascade_core.runtime.files import read_json, write_json
from components.progress import progress
from components.tracking.tracker import tracked_step

ACCURACY_FILE = "accuracy.json"


@dataclass(frozen=True)
class Pretrained:
    """Zero-shot top-1 on held-out pictures: of whole pictures over things, of patches over all classes."""

    pictures: ZeroShotAccuracy
    patches: ZeroShotAccuracy


def run(*, seed: int, out: Path, steps: int | None = None) -> Pretrained:
    """Train the tiny CLIP with the contrastive loss and write it, with its accuracies, as the CLIP folder `out`.

    `steps` shortens each stage to at most that many, for trials.

    Raises:
        UserError: `steps` is too small to train on.
    """
    stages = [replace(stage, steps=min(stage.steps, steps or stage.steps)) for stage in STAGES]
    clip = new_clip(mini_clip_config(), seed=seed)
    settings = {
        stage.name: {"steps": stage.steps, "batch_size": stage.batch_size, "lr": stage.lr} for stage in stages
    }
    with tracked_step("pretrain", protocol="mini-18-6", seed=seed, parameters=settings, out=out) as tracker:
        before = 0
        for stage in stages:
            with progress(f"pretrain tiny CLIP on {stage.name}", stage.steps) as bar:
                for report in pretrain(clip, stage, seed=seed):
                    bar.advance(report.step, f"loss {report.loss:.3f} | retrieval {report.accuracy:.2f}")
                    if report.step % 50 == 0 or report.step == stage.steps:
                        values = {"loss": report.loss, "retrieval": report.accuracy}
                        tracker.metrics(values, step=before + report.step)
            before += stage.steps
        found = Pretrained(
            pictures=zero_shot_accuracy(clip, seed=seed), patches=patch_accuracy(clip, seed=seed)
        )
        save_clip(out, clip, words=list(WORDS))
        write_json(out / ACCURACY_FILE, asdict(found))
        tracker.metrics({"top1_seen": found.pictures.seen, "top1_unseen": found.pictures.unseen})
    return found


def read_accuracy(clip: Path) -> Pretrained:
    """Read the accuracies that were written with a pretrained CLIP folder.

    Raises:
        UserError: the folder holds none, or not these.
    """
    found = read_json(clip / ACCURACY_FILE)
    try:
        return Pretrained(**{name: ZeroShotAccuracy(**values) for name, values in found.items()})
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{clip / ACCURACY_FILE}: {error}; expected what `cascade-clip pretrain` writes beside its weights"
        ) from error
