"""The Kubeflow pipeline on this machine: every step in a process of its own, no container, no cluster."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local

from cascade_core.files import read_json
from pipelines.resources import resources
from pipelines.zero_shot import RECIPES, zero_shot_pipeline


@dataclass(frozen=True)
class LocalRun:
    """What a local run of the pipeline left: the report step's folder, and the rows of its benchmark.json."""

    report: Path
    rows: list[dict[str, Any]]


def run_local(
    *,
    raw: Path,
    clip: Path,
    out: Path,
    protocol: str = "mini-18-6",
    image_sets: Mapping[str, str] | None = None,
    recipes: Sequence[str] = tuple(RECIPES),
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    split: str = "test",
    self_training: str = "oracle",
    limit: int | None = None,
) -> LocalRun:
    """Run the pipeline with everything it writes below `out`, a new folder per run; two recipes at a time.

    Caching, resource limits and the image, which only a cluster knows, play no part.

    Raises:
        ValueError: the data set or the CLIP folder does not exist.
        RuntimeError: a step failed; its own error is in the log.
    """
    for name, folder in (("raw", raw), ("clip", clip)):
        if not folder.is_dir():
            raise ValueError(f"{name}: folder {folder} does not exist; run `dvc pull`, or give another one")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(out),
        workspace_root=str(out / "workspace"),
    )
    sets = dict(image_sets or {"train": "train", "val": "val", "test": "test"})
    with warnings.catch_warnings():
        # Said of every task; this function's own words say it once.
        warnings.filterwarnings("ignore", message="Task .* have no effect in the current local runner")
        done = zero_shot_pipeline(resources("cpu"))(
            raw=str(raw.resolve()),
            clip=str(clip.resolve()),
            protocol=protocol,
            image_sets=json.dumps(sets),
            recipes=list(recipes),
            overrides=json.dumps(dict(overrides or {})),
            seed=seed,
            split=split,
            self_training=self_training,
            limit=limit or 0,
        )
    report = Path(done.output.path)
    return LocalRun(report, read_json(report / "benchmark.json"))
