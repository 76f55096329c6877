"""A store with one registered model, and servers of it in processes of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from components.tracking.store import open_store
from tests.components.candidates import register_candidate

START_SECONDS = 420
PROGRAM = str(Path(sys.executable).parent / "cascade-clip")


def register_served(folder: Path, empty_store: Path) -> Path:
    """Register the model in `folder` as the champion `served`, in a store of its own."""
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CASCADE_TRACKING", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        open_store()
        register_candidate(folder, folder, "served")
    return folder


@contextmanager
def serving(folder: Path, *command: str, **variables: str) -> Iterator[tuple[str, int]]:
    """Start a server process, yield its address and process id once it answers, and end it after the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        # mlflow starts uvicorn by name, which is on the path only in an activated environment.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        **variables,
    }
    environment.pop("CASCADE_TRACKING", None)
    log = folder / f"{port}.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        os.killpg(server.pid, 15)
        code = server.wait(timeout=60)
    assert code == 0 or command[0] != PROGRAM, log.read_text()


def connect(url: str, content: bytes) -> socket.socket:
    """Open a connection and send only this."""
    host, port = url.removeprefix("http://").split(":")
    sender = socket.create_connection((host, int(port)), timeout=60)
    sender.sendall(content)
    return sender


def read_all(sender: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    with sender:
        return b"".join(iter(lambda: sender.recv(65536), b""))


def _wait(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            requests.get(f"{url}/ping", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.2)
            continue
        return
    raise AssertionError(f"no answer in {START_SECONDS} s:\n{log.read_text()}")
