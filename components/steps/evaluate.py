"""Step: score a checkpoint on one split; write a per-class table, the confusion matrix and pictures."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cascade_core.configs.settings import InferenceMap
from cascade_core.labels.class_split import TargetSeen
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Folder, Option, step
from components.contract.shared import (
    BackgroundPolicy,
    Checkpoint,
    Out,
    Precision,
    Prepared,
    SplitsFolder,
    SynonymRule,
    Text,
)
from components.results.evaluation import Control, Evaluation


def show_scores(
    evaluation: Evaluation, arguments: Mapping[str, Any], *, scores: Any, confusion: Any
) -> dict[str, Any]:
    """Write an evaluation into the artifacts that Kubeflow's pages show, and return no metadata."""
    from components.results import confusion_table

    confusion_table.show(evaluation, arguments["out"], scores=scores, confusion=confusion)
    return {}


@step(
    "evaluate",
    threads="free",
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
        Option("Negative control: words (swaps unseen vectors) or random_tower (only marks the results)."),
    ] = None,
    limit: Annotated[int | None, Option("Only this many pictures, from the first on.", minimum=1)] = None,
    target: Annotated[
        str | None,
        Option("Protocol of another data set, such as ade20k-150; give the three input folders made for it."),
    ] = None,
    target_seen: Annotated[
        TargetSeen,
        Option("The target's seen classes: all (as published), or names (those the checkpoint saw)."),
    ] = "all",
    background: BackgroundPolicy | None = None,
    seen_penalty: Annotated[
        float | None,
        Option("Number subtracted from the scores of seen classes; if left out, as published.", minimum=0),
    ] = None,
    picture_cosine: Annotated[
        float | None,
        Option("Weight of the cosine of text and picture in the masks; if left out, the model's own."),
    ] = None,
    patch_cosine: Annotated[
        float | None,
        Option("Weight of the cosine of text and patch in the masks; if left out, the model's own."),
    ] = None,
    inference_map: Annotated[
        InferenceMap | None,
        Option(
            "Map that an OTSeg's labels come from: decoder, scores or both; if left out, the model's own."
        ),
    ] = None,
    synonyms: SynonymRule = None,
    precision: Precision = None,
    graph: Annotated[
        Path,
        Folder(
            "Folder of a graph exported from the checkpoint, which is scored in its place, on the CPU.",
            local=True,
            made_by="export",
        ),
    ]
    | None = None,
) -> Evaluation:
    """Score a checkpoint: table, confusion, pictures.

    `pictures.json` holds the scores of each picture, `predictions.zip` the predictions of up to 400 pictures in small,
    `picture_counts.parquet` the pixel counts of every picture and class, from which intervals over pictures follow.

    For inductive models the configured seen penalty is subtracted from the scores of seen classes; as published,
    transductive and supervised models have none. --control words shifts the unseen classes' text vectors by one
    class; that must ruin the unseen scores of a model that uses them. --control random_tower only marks the results
    of a checkpoint that was trained on a random image tower.

    --target evaluates on another data set, named by its protocol; all its classes are candidates. As published, all
    count as seen and none has a penalty, so that the score is one mIoU. With --target-seen names, only classes
    whose names the checkpoint saw count as seen, with penalty.

    --background replaces the checkpoint's own background policy. Unless it is "dropped", background is scored
    as one more class, which counts as seen.

    --seen-penalty replaces the published penalty, for every setting; fit-thresholds proposes one. --synonyms replaces
    the checkpoint's rule for classes with synonyms, --precision its precision; the results record the one used.

    --picture-cosine and --patch-cosine add these cosines to the masks of any model with a mask decoder, whether its
    training knew of them or not. --inference-map reads one of OTSeg's two maps, or the mean of both.

    --graph scores a graph that `export` wrote, such as one in int8: it computes the logits of each picture or window, and
    all else is as for the checkpoint. Its precision is fp32; OpenVINO's graphs also take --precision bf16, for what is
    not in int8. `scores.json` records `engine` and `precision`; the gate takes no such scores.

    Under torchrun, each process scores its share of the batches, which are cut as for one process; the counts add up, and
    only the first process writes.

    Raises:
        UserError: the checkpoint is missing, is of another protocol without --target, or shares no seen class name
            with the target under --target-seen names; the graph was exported from other weights, or cannot be run in
            this precision; the decoder adds no cosines, or has one map; the split is empty; the background policy does not fit the label maps or the text vectors;
            or the seen penalty is no number from 0 to 1.
    """
    import math
    import os
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import torch

    from cascade_core.inference.vocabulary import check_seen_penalty
    from cascade_core.parallel import connected, device_of, world_of
    from cascade_core.scoring.scores import scores
    from components.artifacts.manifest import data_hash
    from components.evaluation.job import Request, count, evaluation_job, evaluation_of, write_tables
    from components.inputs.reading import check_limit

    check_limit(limit)
    check_seen_penalty(seen_penalty)
    request = Request(
        split,
        control,
        limit,
        target,
        background,
        target_seen,
        seen_penalty,
        synonyms,
        precision,
        picture_cosine,
        patch_cosine,
        inference_map,
    )
    world = world_of(os.environ)
    device = device_of(world) if world.launched else None
    job = evaluation_job(call.inputs, request, device=device)
    config, data, policy = job.manifest.config, data_hash(prepared), str(job.inference.background)
    with connected(world, device or torch.device("cpu")):
        if not world.leads:
            with TemporaryDirectory() as folder:
                confusion = count(job, Path(folder), split=split, world=world)
            return evaluation_of(job, scores(confusion, job.scored), split=split, data=data)
        with call.writing(
            method=config.method,
            setting=job.setting,
            protocol=job.protocol,
            seed=config.seed,
            parameters=asdict(request)
            | {"target": None if target is None else job.protocol, "background": policy},
            tracked_parameters={
                "split": split,
                "seen_penalty": job.vocabulary.penalty,
                "background": policy,
                "checkpoint_iteration": job.manifest.iteration,
                "recipe": config.recipe,
                "engine": job.engine,
                "precision": job.precision,
            },
            tags={"data_hash": data, "split": split},
        ) as work:
            confusion = count(job, work.folder, split=split, world=world)
            summary = scores(confusion, job.scored)
            result = evaluation_of(job, summary, split=split, data=data)
            write_tables(work.folder, result, summary, confusion, job.scored)
            work.tracker.metrics(
                {name: value for name, value in summary.summary().items() if not math.isnan(value)}
            )
            work.tracker.files(*sorted(path.name for path in work.folder.iterdir()))
    return result
