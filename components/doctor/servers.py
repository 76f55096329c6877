"""Checks of the MLflow store and the object store that the environment names, with short timeouts; no other is asked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from cascade_core.errors import UserError
from cascade_core.runtime.extras import install_command
from components.doctor.finding import Finding
from components.servers.own_variables import SWITCH_VARIABLE
from components.tracking import store

CONNECT_SECONDS = 5
QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(CONNECT_SECONDS), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def tracking() -> Iterator[Finding]:
    """Open the MLflow store; a store that is a file and does not exist yet is not made."""
    if store.tracking_off():
        sentence = f"{SWITCH_VARIABLE}=off: no run is recorded"
        yield Finding("tracking", "note", sentence, f"unset {SWITCH_VARIABLE} to record runs")
        return
    uri = store.tracking_uri()
    if find_spec("mlflow") is None:
        state = "problem" if os.environ.get(store.URI_VARIABLE) else "note"
        yield Finding("tracking", state, "mlflow is not installed", install_command("pipeline"))  # type: ignore[arg-type]
        return
    file = store.sqlite_file(uri)
    if file is not None and not file.is_file():
        yield Finding("tracking", "note", f"{file} does not exist yet; the first recorded run makes it")
        return
    try:
        with _quick():
            client = store.connect_once(uri)
            experiments = client.search_experiments()
            models = client.search_registered_models()
    except UserError as error:
        yield Finding.of_error("tracking", error)
        return
    counts = f"{len(experiments)} experiments, {len(models)} registered models"
    yield Finding("tracking", "ok", f"{uri}: {counts}")


@contextmanager
def _quick() -> Iterator[None]:
    """Give MLflow's requests short timeouts in the block."""
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ.update(QUICK)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def object_store() -> Iterator[Finding]:
    """List the buckets of the object store at `AWS_ENDPOINT_URL`; AWS itself is not asked."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        yield Finding("object store", "note", "AWS_ENDPOINT_URL names none; steps read and write folders")
        return
    if find_spec("boto3") is None:
        yield Finding("object store", "problem", "boto3 is not installed", install_command("pipeline"))
        return
    from components.storage import s3

    try:
        client = s3.connect(connect_seconds=CONNECT_SECONDS, read_seconds=CONNECT_SECONDS, tries=1)
        buckets = s3.bucket_names(client)
    except UserError as error:
        yield Finding.of_error("object store", error)
        return
    names = f"buckets: {', '.join(buckets)}" if buckets else "no bucket"
    yield Finding("object store", "ok", f"{endpoint}: {names}")
