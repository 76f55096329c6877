"""What a step could not tell MLflow: kept as a folder beside its results, and told later by one command.

A spool is `calls.jsonl`, a call a line in the order they were made, and `files/`, copies of what was to be
uploaded. Replaying it twice adds nothing twice: MLflow keeps one of equal metric points (same run, name, step,
time and value), and tags, parameters, files and ends take the place of themselves; a run that a spool opens is
found again by its tag.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import disk_is_full
from components.tracking.step_run import open_spooled_run
from components.tracking.store import first_line, of_store, open_store, require_store, shown_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

FOLDER, CALLS_FILE = "mlflow.spool", "calls.jsonl"

# What one call to the store may hold (MLflow's own limits: 1000 metrics, 100 parameters).
METRIC_BATCH, PARAMETER_BATCH = 500, 100


@dataclass(frozen=True)
class Call:
    """Something to tell MLflow about a run; `path` (of a file or folder) is relative to the spool, or absolute.

    Of kind "open" it opens the run, whose id is then a name of the spool's own.
    """

    run_id: str
    kind: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Replayed:
    """How many calls about how many runs were made."""

    calls: int
    runs: int


class Spool:
    """A folder that takes calls; it does not exist before the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, call: Call) -> None:
        """Append a call, with copies of the files it is about: theirs may be moved or changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = dict(call.content)
        if "path" in content:
            content["path"] = self._copied(Path(content["path"]))
        line = json.dumps({"run_id": call.run_id, "kind": call.kind, "content": content})
        with (self.folder / CALLS_FILE).open("a") as stream:
            stream.write(f"{line}\n")

    def _copied(self, path: Path) -> str:
        files = self.folder / "files"
        target = files / str(len(list(files.iterdir())) if files.exists() else 0) / path.name
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            target.parent.mkdir(parents=True)
            shutil.copy2(path, target)
        return target.relative_to(self.folder).as_posix()


def make(client: "MlflowClient", call: Call, *, base: Path) -> str:
    """Make a call and return the id of the run that was told; relative paths start at `base`."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

    content, run_id = call.content, call.run_id
    match call.kind:
        case "open":
            return open_spooled_run(client, spooled_as=run_id, **content)
        case "metrics":
            points = [Metric(name, float(value), time, step) for name, value, time, step in content["points"]]
            for first in range(0, len(points), METRIC_BATCH):
                client.log_batch(run_id, metrics=points[first : first + METRIC_BATCH])
        case "parameters":
            values = [Param(name, value) for name, value in content["values"].items()]
            for first in range(0, len(values), PARAMETER_BATCH):
                client.log_batch(run_id, params=values[first : first + PARAMETER_BATCH])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in content["values"].items()])
        case "text":
            client.log_text(run_id, content["text"], content["name"])
        case "file":
            client.log_artifact(run_id, str(base / content["path"]), content["below"])
        case "folder":
            client.log_artifacts(run_id, str(base / content["path"]), content["below"])
        case "dataset":
            entity = Dataset(**content)
            client.log_inputs(run_id, [DatasetInput(entity)])
        case "end":
            client.set_terminated(run_id, content["status"], content["time"])
        case unknown:
            raise UserError(f"{base / CALLS_FILE}: {unknown!r} is no kind of call; was it edited?")
    return run_id


def lost(error: BaseException) -> bool:
    """Say whether an error of a call means that the store cannot be reached, or not used, for now.

    Wrong values are the caller's fault, and a full disk is no better a place for a spool: both are not lost.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code != "INVALID_PARAMETER_VALUE"
    if isinstance(error, OSError):
        return not disk_is_full(error)
    return of_store(error)


def replay(folder: Path) -> Replayed:
    """Tell MLflow what every spool in or below `folder` holds; the spools stay, and may be replayed again.

    Raises:
        UserError: there is no spool, one is damaged, tracking is off, or the store does not take a call; the
            message names file and line.
    """
    spools = sorted(path.parent for path in folder.rglob(CALLS_FILE))
    if not spools:
        raise UserError(f"{folder} holds no spool ({FOLDER}/{CALLS_FILE}); give the folder a warning named")
    require_store("replay into")
    client, calls = open_store(), 0
    told: dict[str, str] = {}
    for spool in spools:
        for number, call in read(spool):
            opened = replace(call, run_id=told.get(call.run_id, call.run_id))
            told[call.run_id] = _make_or_tell(client, opened, spool, number)
            calls += 1
    return Replayed(calls, len(told))


def read(spool: Path) -> Iterator[tuple[int, Call]]:
    """Yield the calls of a spool with their line numbers; a last line that was cut off is left out.

    Raises:
        UserError: another line is damaged.
    """
    lines = (spool / CALLS_FILE).read_text().split("\n")
    if lines.pop():
        log.warning("%s: the last line is cut off, it is left out", spool / CALLS_FILE)
    for number, line in enumerate(lines, 1):
        try:
            yield number, Call(**json.loads(line))
        except (json.JSONDecodeError, TypeError) as error:
            raise UserError(f"{spool / CALLS_FILE}: line {number} is no call ({error})") from error


def _make_or_tell(client: "MlflowClient", call: Call, spool: Path, number: int) -> str:
    try:
        return make(client, call, base=spool)
    except Exception as error:
        if isinstance(error, ValueError):
            raise
        raise UserError(
            f"{spool / CALLS_FILE}: line {number} was not taken by the MLflow store at {shown_uri()} "
            f"({first_line(error)}); mend that and replay again, which adds nothing twice"
        ) from error
