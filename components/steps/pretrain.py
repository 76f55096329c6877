"""Step: pretrain the tiny CLIP of a synthetic benchmark from scratch, on pictures and captions alone."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.contract import Call, Option, Output, Place, step
from components.contract.shared import Seed

if TYPE_CHECKING:
    from cascade_core.mini.zero_shot import ZeroShotAccuracy

ACCURACY_FILE = "accuracy.json"
PROTOCOLS = {"mini": "mini-18-6", "hard": "mini-hard-38-12"}


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
    world: Annotated[
        Literal["mini", "hard"],
        Option("Benchmark whose pictures and words the CLIP learns: mini or mini-hard."),
    ] = "mini",
    start: Annotated[
        Path | None,
        Place(
            "CLIP folder of another benchmark whose weights it starts from; random ones if left out.",
            local=True,
        ),
    ] = None,
    steps: Annotated[int | None, Option("Largest number of steps per stage, for trials.", minimum=1)] = None,
    seed: Seed = 0,
) -> Pretrained:
    """Pretrain the CLIP of the mini benchmark, or of mini-hard, from scratch or from another one.

    With --start it begins with the weights, and with the vectors of all words, that it shares with another CLIP. The contrastive loss of pictures and captions is the only loss; no label map is read. The folder also holds
    `accuracy.json`, the zero-shot accuracies on seen and unseen classes.

    Raises:
        UserError: `steps` is too small to train on, or the CLIP in `start` has another shape.
    """
    from cascade_core.clip.weights import load_clip, new_clip, save_clip
    from cascade_core.mini.pretrain import pretrain
    from cascade_core.mini.stages import STAGES
    from cascade_core.mini.warm_start import start_from
    from cascade_core.mini.worlds import named_world
    from cascade_core.mini.zero_shot import patch_accuracy, zero_shot_accuracy
    from components.progress import progress
    from components.tracking.tracker import tracked_step

    stages = [replace(stage, steps=min(stage.steps, steps or stage.steps)) for stage in STAGES[world]]
    pictured = named_world(world)
    clip = new_clip(pictured.clip, seed=seed)
    if start is not None:
        start_from(clip, pictured, *load_clip(start))
    settings = {
        stage.name: {"steps": stage.steps, "batch_size": stage.batch_size, "lr": stage.lr} for stage in stages
    }
    # No manifest: the folder is data, which DVC tracks, and its bytes are the shipped ones.
    with tracked_step(
        call.step.name, protocol=PROTOCOLS[world], seed=seed, parameters=settings, out=out
    ) as tracker:
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
            pictures=zero_shot_accuracy(clip, pictured, seed=seed),
            patches=patch_accuracy(clip, pictured, seed=seed),
        )
        save_clip(out, clip, words=list(pictured.words))
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
