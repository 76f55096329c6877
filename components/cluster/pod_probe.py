"""Checks that a pod makes of its own surroundings, for `cascade-clip pipeline verify`.

A pod reports by lines in its log, because nothing else comes back from a pod whose artifacts cannot be stored.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.runtime.cores import CORES_VARIABLE, usable_cores

MARK = "verify:"
"""A line with this mark is a report."""
EXPERIMENT = "cascade-clip-verify"

Report = tuple[str, bool, str]
"""The name of a check, whether it holds, and what was seen or what mends it."""


def report_pod(folder: str) -> None:
    """Check volume, user, secret, tracking server and cores of the pod that runs this, and print a line for each."""
    checks: list[Callable[[], Iterator[Report]]] = [lambda: volume(Path(folder)), user, cores, tracking]
    for check in checks:
        for name, holds, detail in check():
            print(MARK, json.dumps({"check": name, "holds": holds, "detail": detail}), flush=True)


def report_torch(note: str) -> None:
    """Check that torch can be imported, and that the artifact of the other step has arrived; print a line for each."""
    import torch

    gpus = torch.cuda.device_count()
    lines: list[Report] = [
        ("image with torch", True, f"torch {torch.__version__}, {gpus} GPUs"),
        ("artifacts", note == EXPERIMENT, f"another step's artifact holds {note!r}"),
    ]
    for name, holds, detail in lines:
        print(MARK, json.dumps({"check": name, "holds": holds, "detail": detail}), flush=True)


def volume(folder: Path) -> Iterator[Report]:
    """Check that the folder is there and that this user may write in it."""
    if not folder.is_dir():
        yield "volume", False, f"{folder} does not exist in the pod; bind the claim cascade-data to a volume"
        return
    probe = folder / f".verify-{uuid.uuid4().hex}"
    try:
        probe.write_text("written by cascade-clip pipeline verify", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        yield (
            "volume",
            False,
            f"user {_user_number()} may not write to {folder} ({error.strerror}); give the user the folder, or mount the volume with "
            "fsGroup",
        )
        return
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    yield "volume", True, f"{folder} may be written, and holds {', '.join(names[:8]) or 'nothing yet'}"


def _user_number() -> int:
    """Return the user's number; 0, as root's, where the system has none."""
    return os.getuid() if hasattr(os, "getuid") else 0


def user() -> Iterator[Report]:
    """Check that the pod does not run as root."""
    number = _user_number()
    yield "user", number != 0, f"the steps run as user {number}"


def cores() -> Iterator[Report]:
    """Check that the pod may use the cores of its row."""
    stated = os.environ.get(CORES_VARIABLE, "")
    yield (
        "cores",
        stated == str(usable_cores()),
        f"the row says {stated or 'nothing'}, the pod may use {usable_cores()}",
    )


def tracking() -> Iterator[Report]:
    """Check that the secret names a tracking server, and that it takes a run; remove the run."""
    from components.tracking.store import URI_VARIABLE, experiment_id, masked_uri, open_store

    if not os.environ.get(URI_VARIABLE):
        yield "secret", False, f"{URI_VARIABLE} is missing in the pod; put it into the secret cascade-clip"
        return
    yield "secret", True, f"names the tracking server {masked_uri()}"
    try:
        client = open_store()
        run = client.create_run(experiment_id(client, EXPERIMENT), run_name="verify")
        client.set_terminated(run.info.run_id)
        client.delete_run(run.info.run_id)
        client.delete_experiment(run.info.experiment_id)
    except UserError as error:
        yield "tracking server", False, str(error)
        return
    yield "tracking server", True, "takes runs, and removes them"
