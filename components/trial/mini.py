"""A pipeline's trial on a cluster: draw the mini benchmark on the volume, look at the run in MLflow, and remove both again."""

import shutil
from collections.abc import Collection
from pathlib import Path

from cascade_core.errors import UserError
from components.cluster.pod_probe import report
from components.finished.entries import kept_trainings
from components.retention import recorded
from components.servers.paging import all_of
from components.tracking.experiments import NOTE_TAG
from components.tracking.run_results import KFP_TAG
from components.tracking.store import open_store

PREFIX = "cascade-verify-"
SIZES = {"train": 8, "val": 4, "test": 4, "test2": 4}
DATA, CLIP = "data", "clip"


def trial_folder(volume: str, drawn_by: str) -> Path:
    """Return the folder on the volume for the run that draws the pictures."""
    return Path(volume, f"{PREFIX}{drawn_by}")


def draw(folder: Path) -> None:
    """Write a few pictures of the mini benchmark and a CLIP with random weights, and report that it went.

    Raises:
        UserError: the folder is not empty.
    """
    from cascade_core.clip.weights import new_clip, save_clip
    from cascade_core.configs.backbones import MINI_CLIP
    from cascade_core.mini.voc_layout import write_benchmark
    from cascade_core.mini.vocabulary import WORDS

    write_benchmark(folder / DATA, sizes=SIZES)
    save_clip(folder / CLIP, new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    report("benchmark on the volume", True, f"{sum(SIZES.values())} pictures and a CLIP in {folder}")


def look_and_remove(folder: Path, kfp_run: str) -> None:
    """Report what MLflow has of the trial's run, and remove it, with the folder on the volume."""
    try:
        client = open_store()
        experiments = all_of(lambda token: client.search_experiments(page_token=token))
        families = recorded.families(client, [str(one.experiment_id) for one in experiments])
        known = [family for family in families if family.parent.data.tags.get(KFP_TAG) == kfp_run]
        _report_runs(known)
        for family in known:
            recorded.remove_family(client, family)
        _remove_trainings({family.run_id for family in known})
    except UserError as error:
        report("run in MLflow", False, str(error))
    if folder.name.startswith(PREFIX) and folder.is_dir():
        shutil.rmtree(folder)
    report("removal", True, f"runs in MLflow and {folder}")


def _remove_trainings(runs: Collection[str]) -> None:
    """Remove the finished trainings that these runs of pipelines made."""
    place = kept_trainings()
    if place is None:
        return
    for entry in place.entries():
        if entry.mlflow_run in runs:
            place.remove(entry.key)


def _report_runs(known: list[recorded.Family]) -> None:
    if not known:
        report("run in MLflow", False, "the trial has no run there; its steps' logs say why")
        return
    parent, steps = known[0].parent, known[0].steps
    status = str(parent.info.status)
    best = "with" if parent.data.metrics else "without"
    detail = f"{status}, {len(steps)} runs of steps, {best} scores, described as {parent.data.tags.get(NOTE_TAG, '')!r}"
    report("run in MLflow", status == "FINISHED" and bool(steps) and bool(parent.data.metrics), detail)
