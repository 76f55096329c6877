"""The server of models under load, at its defaults, with the mini model's size, on two cores that its clients share.

Each test prints a line for docs/reliability.md.
"""

import io
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import torch
from PIL import Image

from cascade_core.clip.weights import load_clip, new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.configs.mini_recipes import mini_cascade_clip
from cascade_core.mini.vocabulary import WORDS
from cascade_core.predictor import Predictor
from cascade_core.runtime.files import write_json
from components.registry import registered_model
from tests.components.model_server import PROGRAM, connect, register_served, serving
from tests.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.reliability

CLIENTS, SECONDS = 32, 120
SLOW_CLIENTS, SLOW_SECONDS = 200, 75
PREDICTIONS, WARM_UP = 10_000, 1_000
SIDE, MINI_SIDE = 128, 64
"""Sides of the posted pictures in pixels; the second is that of the mini benchmark's."""
LABELS = ["zebra", "tiger", "sand", "grass"]


@dataclass
class _Load:
    """The pictures to post with their right answers, and the statuses and seconds of the answers."""

    url: str
    pid: int
    bodies: list[dict[str, object]]
    right: list[str] = field(default_factory=list)
    statuses: Counter[object] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def post(self, session: requests.Session, number: int) -> None:
        """Post a picture, and count the answer by its status, or as `wrong`."""
        place = number % len(self.bodies)
        started = time.monotonic()
        answer = session.post(f"{self.url}/invocations", json=self.bodies[place], timeout=180)
        self.seconds.append(time.monotonic() - started)
        right = answer.status_code != 200 or answer.text == self.right[place]
        self.statuses[answer.status_code if right else "wrong"] += 1

    def run(self, clients: int, more: Callable[[int], bool]) -> None:
        """Let clients post, each its next picture as soon as it has an answer, while `more` of the client's count."""

        def client(first: int) -> None:
            with requests.Session() as session:
                count = 0
                while more(count):
                    self.post(session, first + count)
                    count += 1

        with ThreadPoolExecutor(clients) as pool:
            for done in [pool.submit(client, first) for first in range(clients)]:
                done.result()

    def line(self, what: str) -> str:
        """Say how many answers came, how fast, and how busy the machine was."""
        p50, p95, p99 = np.percentile(self.seconds, [50, 95, 99])
        return (
            f"\n{what}: {len(self.seconds)} requests, statuses {dict(self.statuses)}, p50 {p50:.2f} s, p95 {p95:.2f} s, "
            f"p99 {p99:.2f} s, load {os.getloadavg()[0]:.1f}"
        )


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory, _empty_store: Path) -> Iterator[tuple[Path, str, int]]:
    """A server at its defaults, with an untrained model of the mini model's size."""
    folder = tmp_path_factory.mktemp("served")
    save_clip(folder / "clip", new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    write_tiny_checkpoint(folder / "final", load_clip(folder / "clip")[0], mini_cascade_clip())
    speed = {"method": "cascade_clip", "trainable_params": 1, "gmacs": 0.5, "images_per_second": 10.0}
    write_json(folder / "profile" / "profile.json", speed)
    register_served(folder, _empty_store)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:2])  # the server inherits it
    try:
        with serving(folder, PROGRAM, "models", "serve", "served", "--no-demo") as (url, pid):
            yield folder, url, pid
    finally:
        os.sched_setaffinity(0, cores)


@pytest.fixture
def load(_server: tuple[Path, str, int], request: pytest.FixtureRequest) -> _Load:
    """Eight square pictures, whose answers equal those of a predictor without a server; a test may give their side."""
    folder, url, pid = _server
    side = getattr(request, "param", SIDE)
    predictor = Predictor.load(folder / "final", folder / "clip", device=torch.device("cpu"))
    pictures = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    load = _Load(url, pid, [])
    for picture in pictures:
        content = io.BytesIO()
        Image.fromarray(picture).save(content, format="PNG")
        load.bodies.append({"dataframe_records": [registered_model.request(content.getvalue(), LABELS)]})
        answer = requests.post(f"{url}/invocations", json=load.bodies[-1], timeout=180)
        (served,) = answer.json()["predictions"]
        offline = predictor.predict(picture, LABELS)
        assert np.array_equal(served["label_map"], offline.label_map)
        assert served["mean_confidence"] == pytest.approx(offline.mean_confidence, abs=1e-6)
        load.right.append(answer.text)
    return load


def test_thirty_two_clients_get_right_answers_only(load: _Load) -> None:
    end = time.monotonic() + SECONDS
    load.run(CLIENTS, lambda _: time.monotonic() < end)
    print(load.line(f"{CLIENTS} clients for {SECONDS} s"))
    assert set(load.statuses) == {200}


def test_slow_clients_are_ended_and_keep_nobody_waiting(load: _Load) -> None:
    start = b"POST /invocations HTTP/1.1\r\nHost: here\r\n"
    heads = [connect(load.url, start) for _ in range(SLOW_CLIENTS // 2)]
    bodies = [connect(load.url, start + b"Content-Length: 100000\r\n\r\n") for _ in range(SLOW_CLIENTS // 2)]
    ended: dict[int, float] = {}
    started = time.monotonic()

    def drip() -> None:
        while (now := time.monotonic() - started) < SLOW_SECONDS:
            for slow in (*heads, *bodies):
                if slow.fileno() not in ended:
                    try:
                        slow.sendall(b"X: y\r\n")
                    except OSError:
                        ended[slow.fileno()] = now
            time.sleep(1)

    dripping = threading.Thread(target=drip)
    dripping.start()
    load.run(8, lambda _: time.monotonic() - started < SLOW_SECONDS)
    dripping.join()
    last = [max(ended[slow.fileno()] for slow in kind) for kind in (heads, bodies)]
    print(
        load.line(
            f"8 clients beside {SLOW_CLIENTS} slow ones (headers ended after {last[0]:.0f} s, bodies after {last[1]:.0f} s)"
        )
    )
    assert len(ended) == SLOW_CLIENTS and last[0] < 30
    assert set(load.statuses) == {200}
    for slow in (*heads, *bodies):
        slow.close()


@pytest.mark.parametrize("load", [MINI_SIDE], indirect=True)
def test_ten_thousand_predictions_take_no_more_memory(load: _Load) -> None:
    server = psutil.Process(load.pid)
    load.run(4, lambda count: count < WARM_UP // 4)
    before = server.memory_info().rss
    load.run(4, lambda count: count < (PREDICTIONS - WARM_UP) // 4)
    after = server.memory_info().rss
    print(
        load.line(
            f"{PREDICTIONS} predictions in one process (memory {before / 2**20:.0f} MiB after {WARM_UP}, "
            f"{after / 2**20:.0f} MiB at the end)"
        )
    )
    assert load.statuses == {200: PREDICTIONS}
    assert after < 1.05 * before
