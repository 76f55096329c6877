"""A served model in a real process: it segments pictures, refuses bad requests, and survives them."""

import asyncio
import base64
import io
import json
import re
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import torch
from mlflow.exceptions import MlflowException
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.registry import registered_model
from components.serving import server
from components.serving.listening import check_free
from components.serving.request_limits import Limits
from tests.components.candidates import write_model
from tests.components.model_server import PROGRAM, connect, read_all, register_served, serving
from tests.tiny import tiny_config

LABELS = ["zebra", "tiger", "sand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, _empty_store: Path) -> Path:
    """A store with one registered model, the champion."""
    return register_served(write_model(tmp_path_factory.mktemp("served")), _empty_store)


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """The address of `mlflow models serve`."""
    mlflow = (sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/served@champion")
    with serving(folder, *mlflow, "--env-manager", "local", "--host", "127.0.0.1", OMP_NUM_THREADS="1") as (
        address,
        _,
    ):
        yield address


@pytest.fixture(scope="module")
def limited(folder: Path) -> Iterator[str]:
    """The address of `cascade-clip models serve` that takes requests of 64 KiB within three seconds."""
    command = (PROGRAM, "models", "serve", "served", "--max-mib", "0.0625", "--max-seconds", "3", "--no-demo")
    with serving(folder, *command, OMP_NUM_THREADS="1") as (address, _):
        yield address


def _post(url: str, payload: Any) -> requests.Response:
    return requests.post(f"{url}/invocations", json=payload, timeout=60)


def _png(height: int = 40, width: int = 56) -> tuple[np.ndarray, bytes]:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    return picture, content.getvalue()


def _picture(kind: str) -> bytes:
    """Return a small picture in one of Pillow's formats."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, format=kind)
    return content.getvalue()


def _bomb(side: int) -> bytes:
    """Return a small PNG file with a header of side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _rows(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_records": list(rows)}


def _request(picture: bytes | None = None, labels: Any = LABELS) -> dict[str, Any]:
    return registered_model.request(_png()[1] if picture is None else picture, labels)


def test_a_posted_picture_gets_a_label_map(url: str, folder: Path) -> None:
    picture, content = _png()
    rows = _rows(_request(content), _request(content, LABELS[:2]))
    answer = _post(url, {**rows, "params": {"confidence_map": True}})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    predictor = Predictor.load(folder / "final", folder / "clip", device=torch.device("cpu"))
    expected = predictor.predict(picture, LABELS)
    assert np.array_equal(first["label_map"], expected.label_map)
    assert np.array_equal(first["confidence_map"], expected.confidence_levels)
    assert first["mean_confidence"] == pytest.approx(expected.mean_confidence)
    assert [area["label"] for area in first["classes"]] == list(expected.shares())
    assert second["labels"] == LABELS[:2]


def test_rows_without_labels_get_the_classes_of_the_training(url: str, folder: Path) -> None:
    _, content = _png()
    bare = {"image": registered_model.request(content, LABELS)["image"]}
    answer = _post(url, _rows(bare, bare))
    assert answer.status_code == 200, answer.text
    classes = list(load_manifest(folder / "final").classes)
    assert [row["labels"] for row in answer.json()["predictions"]] == [classes, classes]


def _segment(url: str, content: bytes, **query: str) -> requests.Response:
    return requests.post(f"{url}/segment", params=query, data=content, timeout=60)


def test_a_posted_file_becomes_a_label_map_as_png(limited: str, folder: Path) -> None:
    picture, content = _png()
    answer = _segment(limited, content, labels="zebra, tiger,sand")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    predictor = Predictor.load(folder / "final", folder / "clip", device=torch.device("cpu"))
    expected = predictor.predict(picture, LABELS)
    with Image.open(io.BytesIO(answer.content)) as image:
        assert np.array_equal(np.asarray(image), expected.label_map)
        assert json.loads(image.info["labels"]) == LABELS
    assert json.loads(answer.headers["x-labels"]) == LABELS

    overlay = _segment(limited, content, labels="zebra,tiger,sand", format="overlay").content
    with Image.open(io.BytesIO(overlay)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(expected.overlay()))
    facts = _segment(limited, content, format="json").json()
    assert facts["labels"] == list(load_manifest(folder / "final").classes)
    assert (facts["height"], facts["width"], "label_map" in facts) == (40, 56, False)


@pytest.mark.parametrize(
    ("content", "query", "reason"),
    [
        (b"no picture", {}, "image cannot be decoded as a picture"),
        (b"", {}, "image cannot be decoded as a picture"),
        (None, {"format": "jpeg"}, "format 'jpeg' is unknown; known are png, overlay, json"),
        (None, {"labels": 'a,"b'}, "labels .* is not a list of names"),
        (None, {"labels": "zebra,Zebra"}, "labels name zebra more than once"),
    ],
)
def test_a_file_that_cannot_be_labelled_is_refused(
    limited: str, content: bytes | None, query: dict[str, str], reason: str
) -> None:
    answer = _segment(limited, _png()[1] if content is None else content, **query)
    assert answer.status_code == 400 and re.match(reason, answer.text), answer.text


def test_the_limits_hold_for_files_too(limited: str) -> None:
    assert _segment(limited, b"x" * 100_000).status_code == 413


def test_the_start_page_has_a_command_and_the_classes(limited: str, folder: Path) -> None:
    page = requests.get(limited, timeout=60).text
    assert f"curl --data-binary @photo.jpg &#39;{limited}/segment&#39; -o labels.png" in page
    assert all(name in page for name in load_manifest(folder / "final").classes)
    assert "(unseen)" in page and "/demo" not in page


def test_a_server_says_that_it_is_ready_and_what_it_did(limited: str) -> None:
    for path in ("health", "ready"):
        assert requests.get(f"{limited}/{path}", timeout=60).status_code == 200
    _segment(limited, b"no picture")
    families = text_string_to_metric_families(requests.get(f"{limited}/metrics", timeout=60).text)
    samples = {
        (sample.name, sample.labels.get("path"), sample.labels.get("status")): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["cascade_requests_total", "/segment", "400"] >= 1
    assert samples["cascade_request_seconds_count", "/segment", None] >= 1
    assert samples["cascade_requests_waiting", None, None] == 0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (_rows({"image": "%%%", "labels": LABELS}), "row 0: image is not base64"),
        (_rows(_request(), _request(b"no picture")), "row 1: image cannot be decoded as a picture"),
        (_rows(_request(_png()[1][:200])), "cannot be decoded as a picture"),
        (_rows(_request(labels=[])), "row 0: 0 labels given"),
        (_rows(_request(labels=[f"label {i}" for i in range(10_000)])), "row 0: 10000 labels given"),
        (_rows(_request(labels=["zebra", "Zebra"])), "labels name zebra more than once"),
        (_rows(_request(labels=["x" * 10_000])), "a label has 10000 characters"),
        (_rows(_request(_bomb(8_000))), "row 0: image has 8000 x 8000 pixels"),
        (_rows(_request(_bomb(40_000))), "row 0: image cannot be decoded as a picture"),
        (_rows({"labels": LABELS}), "Model is missing inputs"),
        (_rows({"image": [[1, 2], [3, 4]], "labels": LABELS}), "row 0: image is a list, not text"),
        (_rows({"image": "aaaa", "labels": "zebra"}), "Expected data to be list or numpy array, got str"),
        (_rows(*[_request()] * 65), "65 rows given; a call takes 1 to 64"),
        ({"pictures": []}, "dataframe_records"),
        ([1, 2], "Received a list"),
        (_rows(_request(_picture("ICO"))), "row 0: image cannot be decoded as a picture (it is none of BMP, GIF"),
        (_rows(_request(_picture("EPS"))), "row 0: image cannot be decoded as a picture (it is none of BMP, GIF"),
        (_rows(*[_request(_bomb(7_000))] * 2), "row 1: the pictures up to this one have 98,000,000 pixels"),
    ],
    ids=[
        "no base64", "no picture", "cut off", "no labels", "10,000 labels", "twice", "long label", "large", "bomb",
        "column missing", "array", "labels as text", "many rows", "other keys", "list", "decoded for its size",
        "program", "large together",
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_a_reason(url: str, payload: Any, reason: str) -> None:
    answer = _post(url, payload)
    assert 400 <= answer.status_code < 500, answer.text
    assert reason in answer.text
    assert "Traceback" not in answer.text
    assert _post(url, _rows(_request())).status_code == 200


def test_bytes_that_are_no_json_are_refused(url: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{url}/invocations", data=b"\xff\xfe{", headers=headers, timeout=60)
    assert 400 <= answer.status_code < 500, answer.text


def test_limits_change_no_answer_within_them(limited: str) -> None:
    picture, content = _png()
    answer = _post(limited, _rows(_request(content)))
    assert answer.status_code == 200, answer.text
    assert np.shape(answer.json()["predictions"][0]["label_map"]) == picture.shape[:2]
    assert _post(limited, _rows(_request(labels=[]))).status_code == 400
    assert requests.get(f"{limited}/ping", timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{}", None), (b"[" * 20_000, "application/json"), (b"9" * 5_000, "application/json")],
    ids=["of no type", "nested too deep", "a number too long"],
)
def test_an_unreadable_request_is_refused_with_a_reason(limited: str, body: bytes, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = requests.post(f"{limited}/invocations", data=body, headers=headers, timeout=60)
    assert answer.status_code == 400
    assert answer.text.startswith("the request cannot be read ("), answer.text


@pytest.mark.parametrize("pieces", [0, 16], ids=["as it says itself", "in pieces"])
def test_the_server_survives_a_request_answered_413(limited: str, pieces: int) -> None:
    # More than socket buffers hold, and little enough to drain in time on a busy machine.
    huge = (b"x" * 2**20 for _ in range(pieces)) if pieces else b"x" * 2**24
    answer = requests.post(f"{limited}/invocations", data=huge, timeout=60)
    assert answer.status_code == 413
    assert answer.text == "the request has more than the 0.0625 MiB that are allowed\n"
    assert _post(limited, _rows(_request())).status_code == 200


def test_requests_that_stop_are_ended_and_keep_nobody_waiting(limited: str) -> None:
    started = time.monotonic()
    heads = [connect(limited, b"POST /invocations HTTP/1.1\r\nHost: here\r\nX-Part: 1") for _ in range(40)]
    start = b"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{"
    bodies = [connect(limited, start) for _ in range(40)]
    assert _post(limited, _rows(_request())).status_code == 200
    assert {read_all(sender) for sender in heads} == {b""}
    assert all(read_all(sender).startswith(b"HTTP/1.1 408 ") for sender in bodies)
    assert 2 < time.monotonic() - started < 30


def test_headers_have_a_limit(limited: str) -> None:
    sender = connect(limited, b"GET /ping HTTP/1.1\r\nHost: here\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n")
    try:
        answer = read_all(sender)
    except ConnectionResetError:  # The server left a part unread.
        answer = b"HTTP/1.1 431 "
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_many_clients_at_once_are_all_answered(limited: str) -> None:
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda _: _post(limited, _rows(_request())), range(32)))
    assert [answer.status_code for answer in answers] == [200] * 32
    assert len({answer.text for answer in answers}) == 1


def test_html_in_names_is_never_an_answer_in_html(limited: str) -> None:
    hostile = "<script>alert(1)</script>"
    for rows in (
        _rows(_request(labels=[hostile, "sand"])),
        _rows(_request(labels=[hostile, hostile])),
        _rows({"image": hostile, "labels": [hostile]}),
        {hostile: hostile},
    ):
        answer = _post(limited, rows)
        assert answer.headers["content-type"].partition(";")[0] in ("application/json", "text/plain")


def test_a_taken_address_is_refused_before_loading() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"nothing can listen at 127\.0\.0\.1:{port} \(.*in use.*--port"):
            server.serve("any", version=None, host="127.0.0.1", port=port, limits=Limits())
    assert str(check_free("localhost", port)) == "127.0.0.1"


def _loaded(
    monkeypatch: pytest.MonkeyPatch, segment: Callable[..., Any]
) -> registered_model.RegisteredPredictor:
    """Return a model that segments with `segment`."""
    model = registered_model.RegisteredPredictor()
    methods = {"predict": staticmethod(segment), "size_seen": staticmethod(lambda *size: size)}
    predictor = type("Loaded", (), methods)
    monkeypatch.setattr(model, "predictor", predictor, raising=False)
    return model


def test_a_defect_is_answered_500_and_what_a_user_can_mend_400(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame([_request()])
    for error, status in ((ValueError("shapes differ"), 500), (UserError("labels name zebra twice"), 400)):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        with pytest.raises(MlflowException, match="row 0: ") as raised:
            _loaded(monkeypatch, fail).predict(None, rows)  # type: ignore[arg-type]
        assert raised.value.get_http_status_code() == status
        assert raised.value.__cause__ is error
        assert isinstance(raised.value, UserError) == (status == 400)


def test_a_posted_picture_is_decoded_from_base64_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    decode = registered_model._decoded
    monkeypatch.setattr(registered_model, "_decoded", lambda image: calls.append(1) or decode(image))

    def stop(*_: Any) -> None:
        raise UserError("enough")

    with pytest.raises(UserError, match="row 0: enough"):
        _loaded(monkeypatch, stop).predict(None, pd.DataFrame([_request()] * 3))  # type: ignore[arg-type]
    assert len(calls) == 3


def test_an_unwritable_answer_is_not_the_requests_fault() -> None:
    def predictions_to_json() -> None:
        raise ValueError("no JSON")

    with pytest.raises(ValueError, match="Exceeds the limit") as reading:
        int("9" * 5_000)
    assert asyncio.run(server._unreadable(None, reading.value)).status_code == 400
    with pytest.raises(ValueError, match="no JSON") as writing:
        predictions_to_json()
    with pytest.raises(ValueError, match="no JSON"):
        asyncio.run(server._unreadable(None, writing.value))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_base64_may_have_line_ends(ends: str) -> None:
    content = _png()[1]
    text = base64.encodebytes(content).decode().replace("\n", ends)
    assert registered_model._decoded(text) == content


def test_a_data_address_is_refused_by_that_name() -> None:
    with pytest.raises(ValueError, match="image is a data: address; send the base64 after its comma"):
        registered_model._decoded("data:image/png;base64,aaaa")


def test_too_large_a_file_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered_model, "MAX_TEXT", 100)
    assert registered_model._decoded("aaaa" * 25) == registered_model.base64.b64decode("aaaa" * 25)
    with pytest.raises(ValueError, match="image has 104 characters; at most 100 are taken"):
        registered_model._decoded("%%%%" * 26)


def test_a_thin_picture_that_resizing_enlarges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = registered_model.RegisteredPredictor()
    config = tiny_config(short_side=512)
    loaded = type("Loaded", (), {"evaluate": config.evaluate, "size_seen": Predictor.size_seen})
    monkeypatch.setattr(model, "predictor", loaded(), raising=False)
    sliver = io.BytesIO()
    Image.new("RGB", (20_000, 4)).save(sliver, format="PNG")
    with pytest.raises(ValueError, match="20000 x 4 pixels, 2560000 x 512 as the model sees it"):
        model._check_size(sliver.getvalue())
