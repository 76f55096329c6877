"""One worker that keeps its device busy: threads read and decode files ahead of the model, and encode behind it.

Only the model runs in the calling thread. Decoding, hashing and encoding release the interpreter lock for most of
their time. The pixels in memory are bounded, whatever the number of pictures.

Where other processes decode, `decoded` is their half of the work, and `Worker.finished` the model's.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from cascade_core.bulk.outcomes import Failure, Labelled, OpenedFile, Outcome, PictureError, Source
from cascade_core.bulk.shards import batches_of
from cascade_core.data.pictures import decode_image, upright_size
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.runtime.cores import usable_cores

BATCH_PIXELS = 2**22
"""A batch of pictures has at most this many pixels, unless one picture has more."""
PIXELS_AHEAD = 2**24
"""The most pixels of pictures that are decoded ahead, and of those that wait for their encoding, unless one batch has more."""
KEPT_BYTES = 2**21
"""Files of at most this many bytes are read once; others are read again for decoding, so that a bucket's files fit into memory."""
MOST_THREADS = 16

P = TypeVar("P", bound=Source)
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What the model does with each picture: class names, views, and how many pictures of one size share a batch."""

    labels: tuple[str, ...]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    batch: int = 1


@dataclass
class _Batch(Generic[P]):
    """Pictures of one size with their files, and their pixels as they are decoded.

    The first batch of a bucket also carries the bucket's unreadable files; it may have no other picture.
    """

    pictures: list[P]
    files: list[OpenedFile]
    failures: list[tuple[P, Failure]]
    pixels: list[Future[np.ndarray | Failure]] = field(default_factory=list)

    @property
    def num_pixels(self) -> int:
        return sum(file.size[0] * file.size[1] for file in self.files)


@dataclass(frozen=True)
class Decoded(Generic[P]):
    """A batch of pictures of one size, ready for the model: each with its file and pixels; and those that failed before."""

    readable: list[tuple[P, OpenedFile, np.ndarray]]
    failures: list[tuple[P, Failure]]


def decoded(pictures: Sequence[P], batch: int) -> Iterator[Decoded[P]]:
    """Read and decode a bucket of pictures, and yield the batches that a `Worker` forms of it, in its order.

    Raises:
        Exception: the first of any `read` but `PictureError`.
    """
    for item in _batches(pictures, [_opened(picture) for picture in pictures], batch):
        pixels = [_decoded(*pair) for pair in zip(item.pictures, item.files, strict=True)]
        yield _sorted_out(item, pixels)


class Worker(Generic[P, R]):
    """Labels buckets of pictures with one model.

    `finish` makes the result of a picture's outcome, such as its files or a row of a table, in one of several threads.
    """

    def __init__(
        self,
        predictor: Predictor,
        request: Request,
        finish: Callable[[P, Outcome], R],
        *,
        threads: int | None = None,
    ) -> None:
        self.predictor, self.request, self.finish = predictor, request, finish
        self.threads = threads or min(usable_cores(), MOST_THREADS)

    def results(self, buckets: Iterable[Sequence[P]]) -> Iterator[R]:
        """Yield the result of every picture, bucket by bucket; within one, in the order of the model's work.

        Raises:
            Exception: the first of any `read` (but `PictureError`) or `finish`; the threads end before it is raised.
        """
        readers = ThreadPoolExecutor(self.threads, thread_name_prefix="read")
        try:
            yield from self.finished(
                _sorted_out(batch, [future.result() for future in batch.pixels])
                for batch in self._decoded_ahead(self._opened_ahead(buckets, readers), readers)
            )
        finally:
            readers.shutdown(cancel_futures=True)

    def finished(self, batches: Iterable[Decoded[P]]) -> Iterator[R]:
        """Yield the result of every picture of decoded batches, in order.

        Raises:
            Exception: the first of any `finish`; the threads end before it is raised.
        """
        writers = ThreadPoolExecutor(self.threads, thread_name_prefix="write")
        writing: deque[tuple[int, Future[R]]] = deque()
        try:
            for batch in batches:
                for picture, outcome in self._outcomes(batch):
                    num_pixels = outcome.pixels[..., 0].size if isinstance(outcome, Labelled) else 0
                    writing.append((num_pixels, writers.submit(self.finish, picture, outcome)))
                while writing and (writing[0][1].done() or sum(pair[0] for pair in writing) > PIXELS_AHEAD):
                    yield writing.popleft()[1].result()
            while writing:
                yield writing.popleft()[1].result()
        finally:
            writers.shutdown(cancel_futures=True)

    def _opened_ahead(
        self, buckets: Iterable[Sequence[P]], readers: ThreadPoolExecutor
    ) -> Iterator[_Batch[P]]:
        """Yield the batches of each bucket; the files of the bucket after it are being opened."""
        opening = (
            (pictures, [readers.submit(_opened, picture) for picture in pictures]) for pictures in buckets
        )
        for pictures, futures in _one_ahead(opening):
            files = [future.result() for future in futures]
            futures.clear()
            yield from _batches(pictures, files, self.request.batch)

    def _decoded_ahead(
        self, batches: Iterator[_Batch[P]], readers: ThreadPoolExecutor
    ) -> Iterator[_Batch[P]]:
        """Yield the batches; at least two after each are being decoded, and as many as occupy the threads."""
        ahead: deque[_Batch[P]] = deque()
        for batch in batches:
            batch.pixels = [
                readers.submit(_decoded, *pair) for pair in zip(batch.pictures, batch.files, strict=True)
            ]
            ahead.append(batch)
            while len(ahead) > 2 and (
                sum(len(item.pictures) for item in ahead) > 2 * self.threads
                or sum(item.num_pixels for item in ahead) > PIXELS_AHEAD
            ):
                yield ahead.popleft()
        yield from ahead

    def _outcomes(self, batch: Decoded[P]) -> Iterator[tuple[P, Outcome]]:
        yield from batch.failures
        readable, request = batch.readable, self.request
        if not readable:
            return
        try:
            predictions = self.predictor.predict_equal(
                [pixels for *_, pixels in readable], request.labels, scales=request.scales, flip=request.flip
            )
        except UserError as error:
            for picture, file, _ in readable:
                yield picture, Failure(f"{picture.where}: {error}", file.size, file.sha256)
            return
        for (picture, file, pixels), prediction in zip(readable, predictions, strict=True):
            yield picture, Labelled(pixels, file.sha256, prediction)


def _batches(pictures: Sequence[P], files: Sequence[OpenedFile | Failure], batch: int) -> Iterator[_Batch[P]]:
    """Yield the batches of a bucket; the first one carries the bucket's unreadable files."""
    failures = [
        (picture, file) for picture, file in zip(pictures, files, strict=True) if isinstance(file, Failure)
    ]
    sizes = [None if isinstance(file, Failure) else file.size for file in files]
    for positions in list(batches_of(sizes, batch, most_pixels=BATCH_PIXELS)) or [[]]:
        opened = [file for i in positions if isinstance(file := files[i], OpenedFile)]
        yield _Batch([pictures[i] for i in positions], opened, failures)
        failures = []


def _sorted_out(batch: _Batch[P], pixels: Sequence[np.ndarray | Failure]) -> Decoded[P]:
    readable, failures = list[tuple[P, OpenedFile, np.ndarray]](), list(batch.failures)
    for picture, file, item in zip(batch.pictures, batch.files, pixels, strict=True):
        if isinstance(item, Failure):
            failures.append((picture, item))
        else:
            readable.append((picture, replace(file, content=None), item))
    return Decoded(readable, failures)


def _opened(picture: Source) -> OpenedFile | Failure:
    try:
        content = picture.read()
    except PictureError as error:
        return Failure(str(error))
    digest = hashlib.sha256(content).hexdigest()
    try:
        size = upright_size(content, picture.where)
    except UserError as error:
        return Failure(str(error), None, digest)
    return OpenedFile(digest, size, content if len(content) <= KEPT_BYTES else None)


def _decoded(picture: Source, file: OpenedFile) -> np.ndarray | Failure:
    content = file.content
    if content is None:
        try:
            content = picture.read()
        except PictureError as error:
            return Failure(str(error), file.size, file.sha256)
    try:
        pixels = decode_image(content, picture.where)
    except UserError as error:
        return Failure(str(error), file.size, file.sha256)
    if (pixels.shape[1], pixels.shape[0]) != file.size:
        return Failure(f"{picture.where}: the file changed while it was read; predict again", None, None)
    return pixels


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, each after the next one was made."""
    before: list[T] = []
    for item in items:
        yield from before
        before = [item]
    yield from before
