"""Step: pretrain the tiny CLIP of the mini benchmark from scratch, on pictures and captions alone."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.contract import Call, Option, Output, step
from components.contract.shared import Seed

if TYPE_CHECKING:
    from cascade_core.mini.zero_shot import ZeroShotAccuracy

ACCURACY_FILE = "accuracy.json"
PROTOCOL = "mini-18-6"


@dataclass(frozen=True)
class Pretrained:
    """Zero-shot top-1 accuracy on held-out data: of whole pictures over things, of patches over all classes."""

    pictures: "ZeroShotAccuracy"
    patches: "ZeroShotAccuracy"


@step("pretrain", threads="usable", example="cascade-clip pretrain --out local_outputs/clip")
def run(
    call: Call,
    /,
    *,
    out: Annotated[Path, Output("CLIP folder to write; must be new or empty.", default="local_outputs/clip")],
    steps: Annotated[int | None, Option("Largest number of steps per stage, for trials.", minimum=1)] = None,
    seed: Seed = 0,
) -> Pretrained:
    """Pretrain the mini benchmark's CLIP from scratch.

    The contrastive loss of pictures and captions is the only loss; no label map is read. The folder also holds
    `accuracy.json`, the zero-shot accuracies on seen and unseen classes.

    Raises:
        UserError: `steps` is too small to train on.
    """
    from cascade_core.clip.weights import new_clip, save_clip
    from cascade_core.configs.backbones import MINI_CLIP
    from cascade_core.mini.pretrain import STAGES, pretrain
    from cascade_core.mini.vocabulary import WORDS
    from cascade_core.mini.zero_shot import patch_accuracy, zero_shot_accuracy
    from components.progress import progress
    from components.tracking.tracker import tracked_step

    stages = [replace(stage, steps=min(stage.steps, steps or stage.steps)) for stage in STAGES]
    clip = new_clip(MINI_CLIP, seed=seed)
    settings = {
        stage.name: {"steps": stage.steps, "batch_size": stage.batch_size, "lr": stage.lr} for stage in stages
    }
    # No manifest: the folder is data, which DVC tracks, and its bytes are the shipped ones.
    with tracked_step(call.step.name, protocol=PROTOCOL, seed=seed, parameters=settings, out=out) as tracker:
        before = 0
        for stage in stages:
            with progress(f"pretrain tiny CLIP on {stage.name}", stage.steps) as bar:
                for report in pretrain(clip, stage, seed=seed):
                    bar.advance(report.step, f"loss {report.loss:.3f} | retrieval {report.accuracy:.2f}")
                    if report.step % 50 == 0 or report.step == stage.steps:
                        values = {"loss": report.loss, "retrieval": report.accuracy}
                        tracker.metrics(values, step=before + report.step)
            before += stage.steps
        accuracy = Pretrained(
            pictures=zero_shot_accuracy(clip, seed=seed), patches=patch_accuracy(clip, seed=seed)
        )
        save_clip(out, clip, words=list(WORDS))
        write_json(out / ACCURACY_FILE, asdict(accuracy))
        tracker.metrics({"top1_seen": accuracy.pictures.seen, "top1_unseen": accuracy.pictures.unseen})
    return accuracy


def read_accuracy(clip: Path) -> Pretrained:
    """Read `accuracy.json` of a pretrained CLIP folder.

    Raises:
        UserError: the file is missing or has other fields.
    """
    from cascade_core.mini.zero_shot import ZeroShotAccuracy

    content = read_json(clip / ACCURACY_FILE)
    try:
        return Pretrained(**{name: ZeroShotAccuracy(**values) for name, values in content.items()})
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{clip / ACCURACY_FILE}: {error}; expected what `cascade-clip pretrain` writes beside its weights"
        ) from error
