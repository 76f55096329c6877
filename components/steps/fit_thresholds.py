"""Step: fit the seen penalty and background's threshold on a validation split."""

from typing import Annotated, Any

from cascade_core.errors import UserError
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Option, step
from components.contract.shared import (
    BackgroundPolicy,
    Checkpoint,
    Out,
    Prepared,
    SplitsFolder,
    Text,
    comma_separated,
)
from components.results.thresholds_file import Thresholds

TEST = "test"
"""Splits whose names begin so are test splits."""


@step(
    "fit_thresholds",
    threads="free",
    example="cascade-clip fit-thresholds --checkpoint outputs/train/zegclip/final --out local_outputs/fit",
    # A stage of dvc.yaml depends on the pictures by this statement; no pipeline in a cluster runs the step.
    cluster=Cluster(
        output="fit", reads_pictures=True, pods=by_kind(cpu=MINI.with_retries(1), gpu=LARGE.with_retries(1))
    ),
)
def run(
    call: Call,
    /,
    *,
    checkpoint: Checkpoint,
    prepared: Prepared,
    splits: SplitsFolder,
    text: Text,
    out: Out,
    split: Annotated[str, Option("Validation split of the prepared data; test is refused.", default="val")],
    held_out: Annotated[
        tuple[str, ...],
        Option(
            "Seen classes, separated by commas, that stand for unseen ones, whose labels are then never read.",
            **comma_separated("--held-out"),
        ),
    ] = (),
    limit: Annotated[int | None, Option("Only this many pictures, from the first on.", minimum=1)] = None,
    background: BackgroundPolicy | None = None,
) -> Thresholds:
    """Fit the seen penalty and the background threshold on a validation split.

    Tries seen penalties from 0 to 0.9, and under the background policy "threshold" thresholds from 0 to 0.95 too, and
    chooses the values with the highest hIoU. Writes `thresholds.json`, the curves of mIoU(S), mIoU(U) and hIoU, and a
    reliability diagram. `evaluate --seen-penalty` applies the result; nothing applies it by itself.

    The fit reads validation labels of the unseen classes. Where they may not be looked at, --held-out names seen
    classes that stand for them: those compete without a penalty, and pixels of unseen classes are ignored. Best is a
    checkpoint whose training counted these classes as unseen; for any other the penalty will be too small.

    A model without trained weights has nothing to fit; the step then says so and succeeds.

    Raises:
        UserError: the split is a test split or has no pictures, the checkpoint is missing or of another protocol, a class held
            out does not exist, or the background policy does not fit the label maps or the text vectors.
    """
    from cascade_core.runtime.files import write_json
    from components.artifacts.manifest import data_hash
    from components.evaluation.fit import fit
    from components.evaluation.job import Request, evaluation_job
    from components.inputs.reading import check_limit
    from components.results.fit_charts import charts
    from components.results.names import THRESHOLDS_FILE

    check_limit(limit)
    if split.startswith(TEST):
        raise UserError(
            f"--split is {split}, and values fitted on a test split would flatter its scores; give a validation split, "
            "such as val"
        )
    job = evaluation_job(call.inputs, Request(split=split, limit=limit, background=background))
    data, config = data_hash(prepared), job.manifest.config
    with call.writing(
        method=config.method,
        setting=job.setting,
        protocol=job.protocol,
        seed=config.seed,
        parameters=call.recorded | {"background": str(job.inference.background)},
        tags={"data_hash": data, "split": split},
    ) as work:
        fitted = fit(job, held_out, split=split, data=data)
        write_json(work.folder / THRESHOLDS_FILE, fitted.model_dump(mode="json"))
        for title, (chart, _) in charts(fitted).items():
            (work.folder / f"{title.lower().replace(' ', '_')}.svg").write_text(chart, encoding="utf-8")
        work.tracker.metrics(_metrics(fitted))
        work.tracker.files(*sorted(path.name for path in work.folder.iterdir()))
    return fitted


def _metrics(fitted: Thresholds) -> dict[str, Any]:
    best = fitted.fitted or fitted.configured
    values = {**best.model_dump(), "calibration_error": fitted.calibration_error}
    return {f"fit.{name}": value for name, value in values.items() if value is not None}
