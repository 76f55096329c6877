"""Checks that a pod makes of its own surroundings, for `cascade-clip pipeline verify`.

A pod reports by lines in its log, because nothing else comes back from a pod whose artifacts cannot be stored.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cascade_core.errors import UserError
from cascade_core.runtime.cores import CORES_VARIABLE, usable_cores
from components.cluster.names import DATA_CLAIM, DATA_FOLDER, SECRET, variable_of
from components.servers.addresses import masked
from components.servers.own_variables import plugin

MARK = "verify:"
"""A line with this mark is a report."""
EXPERIMENT = "cascade-clip-verify"
SECONDS = 10.0

Report = tuple[str, bool | None, str]
"""The name of a check, whether it holds (None: it could not be seen), and what was seen or what mends it."""


def report_pod(folder: str) -> None:
    """Check what the pod that runs this has, and print a line for each check."""
    checks: list[Callable[[], Iterator[Report]]] = [
        launcher,  # before `enter`, which sets what the launcher must not see
        lambda: volume(Path(folder)),
        user,
        cores,
        tracking,
        mlflow_plugin,
        object_store,
        trainjobs,
    ]
    for check in checks:
        for name, holds, detail in check():
            report(name, holds, detail)


def report(check: str, holds: bool | None, detail: str) -> None:
    """Print the line of a check: whether it holds, and what was seen or what mends it."""
    line = {"check": check, "holds": holds, "detail": detail}
    print(MARK, json.dumps(line, allow_nan=False), flush=True)


def report_torch(note: str) -> None:
    """Check that torch can be imported, and that the artifact of the other step has arrived; print a line for each."""
    import torch

    gpus = torch.cuda.device_count()
    lines: list[Report] = [
        ("image with torch", True, f"torch {torch.__version__}, {gpus} GPUs"),
        ("artifacts", note == EXPERIMENT, f"another step's artifact holds {note!r}"),
    ]
    for name, holds, detail in lines:
        report(name, holds, detail)


def trainjobs() -> Iterator[Report]:
    """Let Kubeflow Trainer check a job of two nodes without starting it: rights, webhooks, fields that it would drop."""
    from components.cluster import trainjob, trainjob_run
    from components.servers.patience import Patience

    job = trainjob.TrainJob(
        name="cascade-clip-verify",
        image="none",
        nodes=2,
        gpus=0,
        volumes=(trainjob.Volume.parse(f"{DATA_CLAIM}={DATA_FOLDER}"),),
        secret=SECRET,
        command="train",
        arguments=(),
        out=PurePosixPath(DATA_FOLDER, "none"),
        logs=PurePosixPath(DATA_FOLDER, "none"),
    )
    try:
        jobs = replace(trainjob_run.connect(), patience=Patience(SECONDS))
        jobs.rehearse(job.manifest())
    except UserError as error:
        yield "TrainJobs", None, f"{error}; only trainings on several nodes need them"
        return
    yield "TrainJobs", True, "this account may start and remove them, and Trainer keeps all fields of one"


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


def launcher() -> Iterator[Report]:
    """Check that Kubeflow's launcher does not see the keys of the secret, with which it would store its artifacts."""
    theirs = os.environ.get("AWS_ACCESS_KEY_ID")
    if theirs and theirs == os.environ.get(variable_of("AWS_ACCESS_KEY_ID")):
        yield (
            "launcher",
            False,
            "the pod has the secret's AWS_ACCESS_KEY_ID under that name, too: Kubeflow's launcher uses it for its artifacts; "
            "take the secret out of the PodDefault or the pod template that sets it",
        )
    elif theirs:
        yield "launcher", True, "the cluster gives it AWS_ACCESS_KEY_ID, which is not the secret's"
    else:
        yield (
            "launcher",
            True,
            "sees no AWS_ACCESS_KEY_ID; it stores artifacts with the cluster's roles or settings",
        )


def tracking() -> Iterator[Report]:
    """Check that the secret names a tracking server, and that it takes a run; remove the run."""
    from components.entry import enter
    from components.tracking.experiments import experiment_id
    from components.tracking.store import URI_VARIABLE, masked_uri, open_store

    try:
        enter()
    except UserError as error:
        yield "secret", False, str(error)
        return
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


def mlflow_plugin() -> Iterator[Report]:
    """Report whether Kubeflow's MLflow plugin is at work, and where pipelines' runs go then."""
    from components.tracking.store import tracking_uri

    theirs = plugin()
    if theirs is None:
        yield "MLflow plugin", True, "none; pipelines' runs are those of the tracking server alone"
    elif theirs.endpoint == tracking_uri().rstrip("/"):
        yield "MLflow plugin", True, "keeps its runs on the same server; ours hang below them"
    else:
        yield (
            "MLflow plugin",
            True,
            f"keeps its runs on another server, {masked(theirs.endpoint)}; --resource all.tracking=plugin joins them there",
        )


def object_store() -> Iterator[Report]:
    """Check that the object store which the secret names takes the keys; AWS itself is not asked."""
    from components.storage import s3

    endpoint = os.environ.get(s3.ENDPOINT_VARIABLE)
    if not endpoint:
        yield (
            "object store",
            True,
            f"the secret has no {s3.ENDPOINT_VARIABLE}; steps read folders of the volume",
        )
        return
    try:
        names = s3.bucket_names(s3.connect(connect_seconds=SECONDS, read_seconds=SECONDS, tries=1))
    except UserError as error:
        yield "object store", False, str(error)
        return
    yield "object store", True, f"{masked(endpoint)} has the buckets {', '.join(names[:8]) or '(none)'}"
