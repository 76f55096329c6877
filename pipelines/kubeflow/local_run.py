"""Runs a pipeline on this machine with `kfp.local`: a process per step, no container, no cluster."""

import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from kfp import local

from cascade_core.clip.home import clip_folder
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.targets import check_gathering_folder
from components.storage.places import in_store
from pipelines.kubeflow.catalogue import entry
from pipelines.kubeflow.checks import LABELS, PLACES, SHARED, is_named_model
from pipelines.kubeflow.local_steps import in_forks
from pipelines.kubeflow.resources import local_resources


def run_local(pipeline: str, parameters: Mapping[str, Any], *, out: Path) -> Path:
    """Run a pipeline in a new folder below `out`, and return the folder of its results.

    Two iterations of a loop run in parallel. There are no retries; caching, limits, volumes, secrets and images have no
    effect.

    Raises:
        UserError: `out` takes no new files, the pipeline is unknown, a parameter is wrong, a folder does not exist, or a
            step refused its input; the message is the step's.
        RuntimeError: a step failed otherwise; its own trace is in the log.
    """
    check_gathering_folder(out)
    definition = entry(pipeline)
    definition.check(parameters)
    built = definition.built(local_resources(), parameters)
    values = {
        name: _resolved(name, value)
        for name, value in parameters.items()
        if name in built.component_spec.inputs
    }
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(out),
        workspace_root=str(out / "workspace"),
    )
    earlier = set(out.glob("*"))
    with warnings.catch_warnings():
        # kfp warns of this for every task.
        warnings.filterwarnings("ignore", message="Task .* have no effect in the current local runner")
        with _refusals_reported(), in_forks():
            built(**values)
    # The folder is searched for, because kfp allows a pipeline no output from inside an exit handler.
    (results,) = (path for run in set(out.glob("*")) - earlier for path in run.glob("*/results"))
    return results


@contextmanager
def _refusals_reported() -> Iterator[None]:
    """Report a step's `UserError`, whose sentence stands in the log alone, in place of kfp's error about the step.

    Raises:
        UserError: a step raised one.
    """
    log = _Watched(sys.stdout)
    try:
        with redirect_stdout(log):
            yield
    except RuntimeError as error:
        if log.refusal is None:
            raise
        tasks = re.findall(r"'([^']+)'", re.sub(r"\x1b\[\d+m", "", str(error)))
        step = f"step {tasks[1]}" if len(tasks) > 1 else "a step"
        raise UserError(f"{step} stopped: {log.refusal}") from error


class _Watched(io.TextIOBase):
    """A stream that passes on what is written, and keeps the sentence of the first `UserError` in it."""

    PREFIX = f"{UserError.__module__}.{UserError.__name__}: "

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.refusal: str | None = None

    def write(self, text: str) -> int:
        if self.refusal is None and text.lstrip().startswith(self.PREFIX):
            self.refusal = text.strip().removeprefix(self.PREFIX)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


def _resolved(name: str, value: Any) -> Any:
    """Return a parameter with absolute paths, because a step's process has another working folder."""
    if name == "targets":
        return [
            {key: _resolved(f"targets[{i}].{key}", item) for key, item in target.items()}
            for i, target in enumerate(value)
        ]
    field = name.rpartition(".")[2]
    label_file = field in LABELS and is_label_file(value)
    if field in SHARED and not in_store(value):
        return os.path.abspath(value)  # noqa: PTH100 (a pattern stays one)
    if field == "model" and (Path(value).is_dir() or not (is_named_model(value) or in_store(value))):
        return str(Path(value).resolve())
    if not (label_file or field in PLACES) or not value or in_store(value):
        return value
    path = clip_folder(Path(value)) if field == "clip" else Path(value)
    if label_file and not path.is_file():
        raise UserError(f"{name}: label file {value} does not exist; check the path")
    if not label_file and not path.is_dir():
        raise UserError(f"{name}: folder {value} does not exist; run `dvc pull`, or give another folder")
    return str(path.resolve())
