"""The worker: every picture one outcome, whatever fails, and as many in memory as its limits say."""

import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from cascade_core.bulk import worker as module
from cascade_core.bulk.outcomes import Failure, Labelled, Outcome, PictureError
from cascade_core.bulk.worker import Request, Worker
from cascade_core.errors import UserError
from cascade_core.inference.prediction import Prediction


def png(width: int, height: int, level: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


@dataclass
class Stored:
    where: str
    content: bytes | Exception
    reads: list[str] = field(default_factory=list)

    def read(self) -> bytes:
        self.reads.append(self.where)
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


class Model:
    """Labels every pixel with 0, and refuses pictures of one pixel."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict_equal(self, pixels: list[np.ndarray], *_: object, **__: object) -> list[Prediction]:
        self.batches.append(len(pixels))
        if pixels[0].size == 3:
            raise UserError("too small")
        return [
            Prediction(item[..., 0] * 0, ("a",), np.ones(item.shape[:2], np.float32), item) for item in pixels
        ]


def outcomes(buckets: list[list[Stored]], batch: int = 2) -> tuple[dict[str, Outcome], Model]:
    model = Model()
    worker = Worker(model, Request(("a",), batch=batch), lambda item, outcome: (item.where, outcome))
    results = list(worker.results(buckets))
    assert len(results) == sum(map(len, buckets))
    return dict(results), model


def test_every_picture_has_one_outcome() -> None:
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)).save(noise, format="PNG")
    cut = noise.getvalue()[:60]
    buckets = [
        [Stored("a", png(4, 3)), Stored("b", png(3, 4)), Stored("c", png(4, 3)), Stored("d", png(4, 3))],
        [],
        [Stored("cut", cut), Stored("gone", PictureError("gone: missing")), Stored("text", b"no picture")],
        [Stored("e", png(4, 3)), Stored("dot", png(1, 1))],
    ]
    by_name, model = outcomes(buckets)
    assert model.batches == [2, 1, 1, 1, 1]
    good = {name for name, outcome in by_name.items() if isinstance(outcome, Labelled)}
    assert good == set("abcde")
    failures = {name: outcome for name, outcome in by_name.items() if isinstance(outcome, Failure)}
    assert failures["gone"] == Failure("gone: missing")
    assert failures["cut"].size == (6, 4) and failures["cut"].sha256
    assert failures["text"].size is None and "cannot be decoded" in failures["text"].reason
    assert failures["dot"].reason == "dot: too small"


def test_a_fault_of_the_place_ends_the_run() -> None:
    buckets = [[Stored("a", png(4, 3)), Stored("b", UserError("the store does not answer"))]]
    with pytest.raises(UserError, match="the store does not answer"):
        outcomes(buckets)


def test_a_fault_in_writing_ends_the_run() -> None:
    def finish(item: Stored, outcome: Outcome) -> None:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"):
        list(Worker(Model(), Request(("a",)), finish).results([[Stored("a", png(4, 3))]]))


def test_large_files_are_read_again_and_far_pictures_not_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 10)
    monkeypatch.setattr(module, "PIXELS_AHEAD", 10)
    pictures = [Stored(str(i), png(4, 3, i)) for i in range(20)]
    worker = Worker(Model(), Request(("a",)), lambda item, outcome: item, threads=1)
    results = worker.results([pictures[:10], pictures[10:]])
    next(results)
    assert sum(len(picture.reads) == 2 for picture in pictures) <= 4
    assert len(list(results)) == 19
    assert all(len(picture.reads) == 2 for picture in pictures)
