"""Serve the page: on this machine alone unless another address is named, without a call to any other machine."""

import logging
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import Any

from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.runtime.extras import install_command
from components.serving.listening import check_free

log = logging.getLogger(__name__)

LARGEST_UPLOAD = "50mb"
STOP_SECONDS = 3
"""The longest time to finish answers after a signal; open pages hold a connection for ever."""
READABLE = "*neutral_600"
"""Gradio's own colour of small texts has too little contrast on white."""
GRADIO_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def is_installed() -> bool:
    """Say whether Gradio is installed."""
    return find_spec("gradio") is not None


def check_installed() -> None:
    """Check that Gradio is installed, before a model is loaded.

    Raises:
        UserError: it is not.
    """
    if not is_installed():
        raise UserError(
            f"the page needs the package gradio, which is not installed: {install_command('demo')}"
        )


def mounted(
    predictors: Sequence[Predictor],
    *,
    labels: str,
    examples: Sequence[Path],
    path: str,
    folder: Path,
) -> Any:
    """Return a FastAPI application with the page for one or two models at a path.

    Uploads and results are kept below `folder`.
    """
    uploads = folder / "uploads"
    # Gradio reads these when it is imported.
    os.environ.update(GRADIO_SETTINGS, GRADIO_TEMP_DIR=str(uploads))
    from fastapi import FastAPI
    from gradio import mount_gradio_app
    from gradio.themes import Default

    from components.demo.figure import TEMPLATES
    from components.demo.page import page
    from components.demo.segmenting import with_titles

    blocks = page(
        with_titles(predictors),
        labels=labels,
        examples=examples,
        uploads=uploads,
        results_root=folder / "results",
    )
    return mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        blocks,
        path=path,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        max_file_size=LARGEST_UPLOAD,
        theme=Default().set(
            body_text_color_subdued=READABLE,
            block_info_text_color=READABLE,
            block_label_text_color=READABLE,
        ),
        css_paths=TEMPLATES / "page.css",
    )


def serve(
    predictors: Sequence[Predictor], *, labels: str, examples: Sequence[Path], host: str, port: int
) -> None:
    """Serve the page for one or two models until a signal ends the process.

    Args:
        predictors: the models, whose results stand side by side.
        labels: the text in the field of class names at the start.
        examples: pictures that a click puts into the page.
        host: the address to listen at.
        port: the port to listen at.

    Raises:
        UserError: nothing can listen at the address.
    """
    address = check_free(host, port)
    with tempfile.TemporaryDirectory(prefix="cascade-demo-") as folder:
        import uvicorn

        app = mounted(predictors, labels=labels, examples=examples, path="", folder=Path(folder))
        if not address.is_loopback:
            log.warning(
                "%s can be reached from other machines, and there is no password: put one in front", host
            )

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket] | None = None) -> None:
                await super().startup(sockets)
                log.info(
                    "the page is at http://%s:%d (Ctrl-C ends it)", f"[{host}]" if ":" in host else host, port
                )

        config = uvicorn.Config(
            app, host=str(address), port=port, log_level="warning", timeout_graceful_shutdown=STOP_SECONDS
        )
        Server(config).run()
