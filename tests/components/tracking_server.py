"""A tracking server with MLflow's own pages and calls, in a thread, that tests stop and start at will."""

import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import BaseWSGIServer, make_server


class TrackingServer:
    """Speaks HTTP on a port of this machine that stays its own, above a sqlite file."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._port = 0
        self._server: BaseWSGIServer | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self._port, self._app, threaded=True)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None


def started(folder: Path, database: Path, patch: pytest.MonkeyPatch) -> TrackingServer:
    """Start one whose artifacts lie in `folder`, and make clients give up at the first failure."""
    for name, value in {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{database}",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{database}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }.items():
        patch.setenv(name, value)
    from mlflow.server import app, handlers

    with warnings.catch_warnings():
        # Searching for runs imports it, and it warns of itself.
        warnings.simplefilter("ignore")
        import starlette.middleware.wsgi  # noqa: F401
    # What the server's first call for a model sets for the whole process, and would leave behind.
    patch.setattr("mlflow.tracking._model_registry.utils._registry_uri", None)
    patch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{database}")
    for store in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
        patch.setattr(handlers, store, None)
    # Opened now, because opening makes the server's own store the one that this whole process talks to.
    handlers._get_tracking_store()
    server = TrackingServer(app)
    server.start()
    patch.setenv("MLFLOW_TRACKING_URI", server.uri)
    patch.delenv("CASCADE_TRACKING", raising=False)
    return server
