"""A local Kubeflow Pipelines server and pipelines that it runs in seconds."""

import inspect
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from components.servers.patience import Patience
from pipelines.kubeflow import catalogue, zero_shot
from pipelines.kubeflow.cluster import Connection, connect
from tests.pipelines.kfp_server import Server, serving
from tests.pipelines.tiny_pipeline import compile_tiny, compile_tiny_exit

QUICK, HASTY = Patience(20.0, first=0.01, longest=0.02), Patience(0.3, first=0.01, longest=0.05)
"""Short pauses: long enough for a busy machine, short enough for tests that wait for a timeout."""


@pytest.fixture(autouse=True, scope="module")
def _callers_without_their_source() -> Iterator[None]:
    """Spare kfp's compiler the source of its callers: it wants their names alone, ninety times a pipeline.

    In a process with as many modules as a test run's has, the search takes most of a compilation's time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", partial(inspect.stack, 0))
        yield


@pytest.fixture(scope="session")
def compilations() -> dict[str, bytes]:
    """Keep the YAML of `compiled_once`, by the arguments of the compilation."""
    return {}


@pytest.fixture
def compiled_once(compilations: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile our pipelines once for all tests of commands that compile them to a temporary file, for seconds each."""
    compile_pipeline = catalogue.compile_pipeline

    def compile_or_copy(name: str, out: Path, **options: Any) -> None:
        values = options["values"]
        used = {**options, "values": values is not None and zero_shot.on_one_split(values)}
        key = repr((name, sorted(used.items())))
        if key in compilations:
            out.write_bytes(compilations[key])
        else:
            compile_pipeline(name, out, **options)
            compilations[key] = out.read_bytes()

    monkeypatch.setattr(catalogue, "compile_pipeline", compile_or_copy)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Restore logging, which commands configure."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Give a server for one user, without a token."""
    with serving(Server(tmp_path / "server")) as running:
        yield running


@pytest.fixture
def cluster(server: Server) -> Connection:
    """Give a connection to the server with a short timeout."""
    return connect(server.host, patience=QUICK)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the quick pipeline, compiled."""
    return compile_tiny(tmp_path_factory.mktemp("tiny") / "tiny.yaml")


@pytest.fixture(scope="session")
def tiny_with_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the quick pipeline with a secret and a timeout, compiled."""
    return compile_tiny(tmp_path_factory.mktemp("tiny") / "tiny_k8s.yaml", with_kubernetes=True)


@pytest.fixture(scope="session")
def tiny_exit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the pipeline of a slow step and an exit handler, compiled."""
    return compile_tiny_exit(tmp_path_factory.mktemp("tiny") / "tiny_exit.yaml")
