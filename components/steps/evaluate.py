"""Step: score a checkpoint on one split, with per-class table, confusion matrix and pictures."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from cascade_core.labels.class_split import TargetSeen
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Option, step
from components.contract.shared import (
    BackgroundPolicy,
    Checkpoint,
    Out,
    Prepared,
    SplitsFolder,
    Text,
)
from components.results.evaluation import Control, Evaluation


def show_scores(
    found: Evaluation, given: Mapping[str, Any], *, scores: Any, confusion: Any
) -> dict[str, Any]:
    """Put an evaluation into the artifacts that Kubeflow's pages show; no label follows from it."""
    from components.results import confusion_table

    confusion_table.show(found, given["out"], scores=scores, confusion=confusion)
    return {}


@step(
    "evaluate",
    example="cascade-clip evaluate --checkpoint outputs/train/zegclip/final --split val --out local_outputs/evaluate",
    cluster=Cluster(
        output="evaluation",
        options=("split", "limit"),
        pages={"scores": "Metrics", "confusion": "ClassificationMetrics"},
        show=show_scores,
        reads_pictures=True,
        pods=by_kind(cpu=MINI.with_retries(1), gpu=LARGE.with_retries(1)),
    ),
)
def run(
    call: Call,
    /,
    *,
    checkpoint: Checkpoint,
    split: Annotated[str, Option("Split of the prepared data, such as val or test.")],
    prepared: Prepared,
    splits: SplitsFolder,
    text: Text,
    out: Out,
    control: Annotated[
        Control | None,
        Option("words: unseen text vectors exchanged; random_tower: names the row."),
    ] = None,
    limit: Annotated[int | None, Option("Only the first so many pictures.", minimum=1)] = None,
    target: Annotated[
        str | None,
        Option("Protocol of another data set, such as ade20k-150; the three folders are of it."),
    ] = None,
    target_seen: Annotated[
        TargetSeen, Option("all as published, or names: those the checkpoint saw by name.")
    ] = "all",
    background: BackgroundPolicy | None = None,
) -> Evaluation:
    """Score a checkpoint: table, confusion, pictures.

    Inductive models have the configured penalty taken off their seen scores; transductive and supervised
    ones, as published, none. --control words shifts the unseen classes' text vectors by one among themselves,
    which must ruin the unseen scores of a model that reads them; random_tower only names the setting of a
    checkpoint trained on a random image tower.

    --target names the protocol of another data set, to which the checkpoint is carried over: all its classes
    compete. As published they all count as seen, so that none is taken off, under any background policy, and the
    score is one mIoU; with --target-seen names only those do, penalty included, whose names the checkpoint saw.

    --background says which pixels are background, in place of the checkpoint's own setting; unless it is
    dropped, background is scored as one more class, which counts as seen.

    Raises:
        UserError: the checkpoint is missing, of another protocol where no target is named, or shares no seen
            class name with the target where names decide; the split is empty; or the background policy does
            not go with the label maps or the text vectors.
    """
    import math

    from cascade_core.scoring.scores import scores
    from components.artifacts import data_hash
    from components.evaluation.job import Request, count, evaluation_job, evaluation_of, write_tables
    from components.inputs.reading import check_limit

    check_limit(limit)
    request = Request(split, control, limit, target, background, target_seen)
    job = evaluation_job(call.inputs, request)
    config, data, policy = job.manifest.config, data_hash(prepared), str(job.inference.background)
    with call.writing(
        method=config.method,
        setting=job.setting,
        protocol=job.protocol,
        seed=config.seed,
        parameters={
            **asdict(request),
            "target": None if target is None else job.protocol,
            "background": policy,
        },
        tracked_parameters={
            "split": split,
            "seen_penalty": job.vocabulary.penalty,
            "background": policy,
            "checkpoint_iteration": job.manifest.iteration,
        },
        tags={"data_hash": data, "split": split},
    ) as work:
        confusion = count(job, work.folder / "pictures")
        summary = scores(confusion, job.scored)
        result = evaluation_of(job, summary, split=split, data=data)
        write_tables(work.folder, result, summary, confusion, job.scored)
        defined = {name: value for name, value in summary.summary().items() if not math.isnan(value)}
        work.tracker.metrics(defined)
        work.tracker.files(*sorted(path.name for path in work.folder.iterdir()))
    return result
