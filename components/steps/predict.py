"""Step: label one shard of a list of pictures, into the place that all shards share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cascade_core.configs.config import Precision
from components.contract import Call, Folder, Option, step
from components.contract.shared import BackgroundPolicy, Out
from components.steps.list_pictures import LIST_FILE, Place
from components.tracking.experiments import PREDICTIONS

SHARD_FILE = "shard.json"


@dataclass(frozen=True)
class Labelled:
    """How many pictures a shard has, how many of their rows an earlier try made, and how many have an error."""

    pictures: int
    kept: int
    failed: int


@step("predict")
def run(
    call: Call,
    /,
    *,
    listed: Annotated[Path, Folder("Folder of the list_pictures step.", content=(LIST_FILE,))],
    shard: Annotated[str, Option("Part of the list, such as 0/4.")],
    model: Annotated[str, Option("Model folder, checkpoint folder, mini, or an address in the registry.")],
    labels: Annotated[Sequence[str], Option("Any class names.")],
    place: Place,
    out: Out,
    clip: Annotated[Path | None, Option("CLIP folder of a checkpoint without text tower.")] = None,
    batch: Annotated[
        int | None, Option("Pictures of equal size in a batch; 1 if left out.", minimum=1)
    ] = None,
    background: BackgroundPolicy | None = None,
    scales: Annotated[Sequence[float], Option("Sizes to average over.")] = (1.0,),
    flip: Annotated[bool, Option("Average with the scores of the mirror image.")] = False,
    precision: Annotated[
        Precision | None, Option("Precision of the arithmetic; the recipe's if left out.")
    ] = None,
    short_side: Annotated[
        int | None,
        Option("Length of the shorter side after resizing; the recipe's if left out.", minimum=1),
    ] = None,
    seen_penalty: Annotated[
        float | None, Option("Number subtracted from the scores of seen classes; if left out, as published.")
    ] = None,
) -> Labelled:
    """Label a shard: a table with a row for each picture, and label maps in tars, at the place of the results.

    What an earlier try finished is kept. A try that finds another process on the shard, such as one whose pod died,
    waits for its end, or until its lease has expired. `shard.json` holds the counts. A picture that cannot be labelled
    is a row with its error.

    Raises:
        UserError: the model cannot be loaded, the shard does not exist, or as of `components.bulk.shard.run`.
    """
    from cascade_core.bulk.shards import Shard
    from cascade_core.predictor import eval_settings
    from cascade_core.runtime.files import write_json
    from components.bulk import shard as shard_work
    from components.bulk.listing import addresses
    from components.registry.addresses import clip_for, load_predictor

    part = Shard.parse(shard)
    # The setting distinguishes the runs of several shards from several tries of one.
    with call.writing(protocol=PREDICTIONS, setting=f"shard {part}") as work:
        predictor = load_predictor(model, clip_for(model, clip))
        predictor.evaluate = eval_settings(
            predictor.evaluate,
            batch_size=batch,
            background=background,
            precision=precision,
            short_side=short_side,
        )
        if seen_penalty is not None:
            predictor.seen_penalty = seen_penalty
        done = shard_work.run(
            predictor=predictor,
            pictures=addresses([], [str(listed / LIST_FILE)]),
            labels=labels,
            out=place,
            shard=part,
            scales=scales,
            flip=flip,
            batch=batch or 1,
            wait=True,
        )
        result = Labelled(done.pictures, done.kept, done.failed)
        write_json(work.folder / SHARD_FILE, asdict(result))
        work.tracker.metrics(asdict(result))
    return result
