"""The trial of `pipeline verify`: one training of the ablation pipeline on the mini benchmark, which is removed again.

Its data are drawn on the cluster's volume by the run that looks around; another run looks at what MLflow has of the trial,
and removes it and the data.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.cluster.pod_probe import EXPERIMENT
from components.trial.mini import CLIP, DATA, trial_folder
from pipelines.kubeflow.findings import Verification, reports_in, terminate, why_not
from pipelines.kubeflow.submit import RunStatus, explain, status, submit
from pipelines.kubeflow.waiting import waits

TRAINING, REMOVAL = "training", "verify_removal"
REPORTS = ("run in MLflow", "removal")
OVERRIDES = {
    "train.iterations": 4,
    "train.batch_size": 2,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "optim.warmup_iterations": 1,
    "evaluate.batch_size": 2,
}


def check(seen: Verification, packages: Mapping[str, Path], volume: str, looked: RunStatus | None) -> None:
    """Train on what the run `looked` has drawn, judge the run, and remove what it left in MLflow and on the volume."""
    if looked is None or not looked.succeeded:
        seen.note(TRAINING, None, f"not tried: {why_not(seen, looked)}")
        return
    folder = trial_folder(volume, looked.run_id)
    values = {
        "raw": f"{folder}/{DATA}/VOCdevkit/VOC2012",
        "clip": f"{folder}/{CLIP}",
        "recipes": ["mini_zegclip"],
        "seeds": [0],
        "overrides": json.dumps(OVERRIDES, allow_nan=False),
        "reuse_trainings": False,
    }
    trained = _submitted(seen, packages["ablation"], values)
    ended = _end_of(seen, trained)
    _judge_training(seen, ended)
    removal = {"folder": volume, "drawn_by": looked.run_id, "kfp_run": trained}
    # The time for removing is not that of the checks: nothing is to be left.
    seen.waited = 0.0
    if ended is None or not ended.finished:
        terminate(seen.cluster, trained)
        _end_of(seen, trained)
    removed = _end_of(seen, _submitted(seen, packages[REMOVAL], removal))
    logs = [seen.cluster.log_of(removed.run_id, step.node) for step in removed.steps] if removed else []
    reports = {report["check"]: report for text in logs for report in reports_in(text)}
    for name in REPORTS:
        if name in reports:
            seen.note(name, reports[name]["holds"], reports[name]["detail"])
        else:
            seen.note(name, None, f"{why_not(seen, removed)}; look for {folder} on the volume")


def _submitted(seen: Verification, package: Path, values: Mapping[str, Any]) -> str:
    run = submit(seen.cluster, package, parameters=values, experiment=EXPERIMENT)
    seen.runs.append(run.run_id)
    return run.run_id


def _end_of(seen: Verification, run_id: str) -> RunStatus | None:
    """Return a run that ended, or one with a step that does not start; None if the time is up."""
    while True:
        run = status(seen.cluster, run_id)
        if run.finished or any(waits(step) for step in run.steps):
            return run
        if not seen.wait():
            return None


def _judge_training(seen: Verification, run: RunStatus | None) -> None:
    if run is not None and run.succeeded:
        names = ", ".join(step.name for step in run.steps)
        seen.note(TRAINING, True, f"a pipeline trained on the mini benchmark: {names}")
        return
    failed = next((step for step in run.steps if step.state == "FAILED"), None) if run else None
    if run is not None and failed is not None:
        reason = "; ".join(explain(seen.cluster, run.run_id, failed))
        seen.note(TRAINING, False, f"step {failed.title} failed: {reason}")
    else:
        seen.note(TRAINING, None, why_not(seen, run))
