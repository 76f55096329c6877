"""Runs a pipeline on this machine with `kfp.local`: a process per step, no container, no cluster."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import local

from cascade_core.clip.home import clip_folder
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.targets import check_gathering_folder
from components.storage.places import S3
from pipelines.kubeflow.catalogue import entry
from pipelines.kubeflow.checks import PLACES
from pipelines.kubeflow.resources import local_resources


def run_local(pipeline: str, parameters: Mapping[str, Any], *, out: Path) -> Path:
    """Run a pipeline in a new folder below `out`, and return the folder of its results.

    Two iterations of a loop run in parallel. There are no retries; caching, limits, volumes, secrets and images have no
    effect.

    Raises:
        UserError: `out` takes no new files, the pipeline is unknown, a parameter is wrong, or a folder does not exist.
        RuntimeError: a step failed; its own error is in the log.
    """
    check_gathering_folder(out)
    definition = entry(pipeline)
    definition.check(parameters)
    values = {name: _resolved(name, value) for name, value in parameters.items()}
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(out),
        workspace_root=str(out / "workspace"),
    )
    earlier = set(out.glob("*"))
    with warnings.catch_warnings():
        # kfp warns of this for every task.
        warnings.filterwarnings("ignore", message="Task .* have no effect in the current local runner")
        definition.build(local_resources())(**values)
    # The folder is searched for, because kfp allows a pipeline no output from inside an exit handler.
    (results,) = (path for run in set(out.glob("*")) - earlier for path in run.glob("*/results"))
    return results


def _resolved(name: str, value: Any) -> Any:
    """Return a parameter with absolute paths, because a step's process has another working folder."""
    if name == "targets":
        return [
            {key: _resolved(f"targets[{i}].{key}", item) for key, item in target.items()}
            for i, target in enumerate(value)
        ]
    field = name.rpartition(".")[2]
    label_file = field == "protocol" and is_label_file(value)
    if not (label_file or field in PLACES) or value.startswith(S3):
        return value
    path = clip_folder(Path(value)) if field == "clip" else Path(value)
    if label_file and not path.is_file():
        raise UserError(f"{name}: label file {value} does not exist; check the path")
    if not label_file and not path.is_dir():
        raise UserError(f"{name}: folder {value} does not exist; run `dvc pull`, or give another folder")
    return str(path.resolve())
