"""An object store of this machine, by moto: as S3 in its calls, without its checks of signatures unless asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from mlflow.store.artifact.s3_artifact_repo import _cached_get_s3_client
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def object_store(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start one with an empty bucket, point the environment to it, and give its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        patch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    # MLflow keeps clients for minutes, by everything but the address that the environment names.
    _cached_get_s3_client.cache_clear()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
