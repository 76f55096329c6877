"""What the server answers beside MLflow's paths: a start page, a picture's label map as PNG, and whether it is ready."""

import asyncio
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from cascade_core.data.pictures import decode_image
from cascade_core.errors import UserError
from cascade_core.inference.prediction import Prediction
from cascade_core.predictor import Predictor
from components.contract.shared import names_by_commas
from components.results.pages import fill_template
from components.serving.request_limits import Limited

Ask = Callable[[bytes, Sequence[str]], Mapping[str, Any]]
"""Answers an image file and class names as `/invocations` does: `label_map`, `labels`, `mean_confidence`, `classes`."""
TEMPLATES = Path(__file__).parent / "templates"
SEGMENT, READY, DEMO = "/segment", "/ready", "/demo"
LONGEST_HEADER = 4000
Format = Literal["png", "overlay", "json"]
"""What `/segment` answers: the label map as a palette PNG, the overlay with its legend as PNG, or areas without a map."""


class Routes:
    """The handlers of one model.

    Attributes:
        ready: whether new requests are welcome; the server clears it when it is asked to stop.
        has_demo: whether the start page links to the demo.
        limited: the queue of requests, which says whether another one has a place.
    """

    def __init__(self, ask: Ask, predictor: Predictor | None, *, uri: str) -> None:
        self.ask, self.predictor, self.uri = ask, predictor, uri
        self.ready, self.has_demo = True, False
        self.limited: Limited | None = None

    @property
    def default_labels(self) -> tuple[str, ...]:
        """The classes of the training; none for a training-free model, or a version of before there were defaults."""
        try:
            return () if self.predictor is None else self.predictor.default_labels
        except UserError:
            return ()

    def add_to(self, app: Any) -> None:
        """Add the handlers to MLflow's application."""
        app.add_route("/", self.page, methods=["GET"])
        # The demo's page names no icon, so browsers ask for this one, and complain of an error.
        app.add_route("/favicon.ico", _no_icon, methods=["GET"])
        app.add_route(READY, self.readiness, methods=["GET"])
        app.add_route(SEGMENT, self.segment, methods=["POST"])

    async def page(self, request: Request) -> Response:
        """Answer with the start page."""
        labels = self.default_labels
        return HTMLResponse(
            fill_template(
                "serving.html",
                folder=TEMPLATES,
                uri=self.uri,
                curl=self.curl(str(request.base_url).rstrip("/")),
                labels=labels,
                unseen=() if self.predictor is None else self.predictor.manifest.unseen,
                demo=DEMO if self.has_demo else None,
            )
        )

    def curl(self, address: str) -> str:
        """Return a command to paste that labels a picture by the server at an address."""
        labels = "" if self.default_labels else "?labels=dog,grass,sky"
        return f"curl --data-binary @photo.jpg '{address}{SEGMENT}{labels}' -o labels.png"

    async def readiness(self, _: Request) -> Response:
        """Answer 200 if a request would be taken now, else 503 with the reason."""
        if not self.ready:
            return PlainTextResponse("the server is stopping\n", status_code=503)
        if self.limited is not None and self.limited.is_full:
            return PlainTextResponse("as many requests wait as may\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def segment(self, request: Request) -> Response:
        """Label the picture in the body, an image file, and answer in the `format` of the query."""
        content, query = await request.body(), request.query_params
        try:
            form = _format(query.get("format", "png"))
            names = [
                name for text in query.getlist("labels") for name in names_by_commas(text, source="labels")
            ]
            labels = names or self.default_labels
            if not labels:
                raise UserError(
                    f"this model has no classes of its own; name some in the address: {SEGMENT}?labels=dog,grass,sky"
                )
            return await asyncio.to_thread(self._answer, content, labels, form)
        except UserError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)

    def _answer(self, content: bytes, labels: Sequence[str], form: Format) -> Response:
        answer = self.ask(content, labels)
        names = tuple(answer["labels"])
        facts = {key: answer[key] for key in ("labels", "mean_confidence", "classes") if key in answer}
        label_map = np.asarray(answer["label_map"])
        if form == "json":
            height, width = label_map.shape
            return JSONResponse({"height": height, "width": width, **facts})
        picture = decode_image(content, "posted image") if form == "overlay" else None
        colours = () if self.predictor is None else self.predictor.colours_of(names)
        prediction = Prediction(label_map, names, np.zeros(label_map.shape, np.float32), picture, colours)
        image = prediction.overlay() if form == "overlay" else prediction.label_png()
        return _png_of(image, names)


async def _no_icon(_: Request) -> Response:
    return Response(status_code=204)


def _png_of(image: Image.Image, names: Sequence[str]) -> Response:
    """Return a PNG that holds the names of its ids as text; a header has them too if clients read one so long."""
    text, content, notes = json.dumps(list(names), allow_nan=False), io.BytesIO(), PngInfo()
    notes.add_text("labels", text)
    image.save(content, format="PNG", pnginfo=notes)
    headers = {"X-Labels": text} if len(text) <= LONGEST_HEADER else {}
    return Response(content.getvalue(), media_type="image/png", headers=headers)


def _format(text: str) -> Format:
    for known in get_args(Format):
        if text == known:
            form: Format = known
            return form
    raise UserError(f"format {text!r} is unknown; known are {', '.join(get_args(Format))}")
