"""Label a video: an overlay video with a legend, and a table with a row per frame."""

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from cascade_core.errors import UserError
from cascade_core.inference.prediction import checked_labels
from cascade_core.inference.views import Picture
from cascade_core.inference.votes import Frame, smoothed
from cascade_core.predictor import Predictor
from cascade_core.render.visualise import legend, tinted
from cascade_core.runtime.extras import install_command
from cascade_core.runtime.files import new_file
from components.progress import progress
from components.vectors.encoding import encoded

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg")
"""Endings of the files that `predict` takes for videos."""
TINT = 0.55
CODEC = "libx264"
"""H.264, which every browser plays."""
QUALITY = "20"
"""The constant rate factor; 0 loses nothing, 51 is worst."""


@dataclass(frozen=True)
class VideoFiles:
    """What labelling a video writes."""

    overlay: Path
    frames: Path


@dataclass(frozen=True)
class _Shot:
    """A frame of the video, upright."""

    number: int
    seconds: float
    pixels: Picture


def is_video(path: str) -> bool:
    """Return whether `predict` takes this argument for a video, by its ending."""
    return path.lower().endswith(SUFFIXES)


def label_video(
    predictor: Predictor,
    path: Path,
    labels: Sequence[str],
    out: Path,
    *,
    batch: int = 1,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    smooth: int = 1,
) -> VideoFiles:
    """Label each frame of a video, `batch` of them together, and write the results into the folder `out`.

    With `smooth` above 1, an odd number, the labels of so many frames around each one vote (`inference/votes.py`).

    Raises:
        UserError: PyAV is not installed, the file is missing or no video, it is damaged, labels are invalid, or `smooth`
            is even or below 1.
    """
    if smooth < 1 or smooth % 2 == 0:
        raise UserError(f"--smooth is {smooth}; give an odd number of frames, such as 5")
    names = checked_labels(labels)
    files = VideoFiles(out / f"{path.stem}_overlay.mp4", out / f"{path.stem}_frames.csv")
    with _opened(path) as (container, stream):
        encoded(predictor, names)
        all_names = predictor.map_labels(names)
        colours = predictor.colours_of(names)
        shots = deque[_Shot]()

        def labelled() -> Iterator[Frame]:
            for group in _batches(_shots(path, container, stream), batch):
                predictions = predictor.predict_equal(
                    [shot.pixels for shot in group], names, scales=scales, flip=flip
                )
                for shot, prediction in zip(group, predictions, strict=True):
                    shots.append(shot)
                    yield Frame(prediction.label_map, prediction.confidence)

        with (
            new_file(files.overlay) as video,
            new_file(files.frames) as table,
            table.open("w", newline="", encoding="utf-8") as text,
            _Writer(video, stream.average_rate or 25) as writer,
            progress(f"predict {path.name}", stream.frames or None) as bar,
        ):
            rows = csv.writer(text)
            rows.writerow(["frame", "seconds", "confidence", *all_names])
            for frame in smoothed(labelled(), smooth):
                shot = shots.popleft()
                rows.writerow(_row(shot, frame, len(all_names)))
                picture = tinted(shot.pixels, frame.labels, len(all_names), TINT, colours)
                writer.add(picture, all_names, colours)
                bar.advance(shot.number + 1)
            if writer.size is None:
                raise UserError(f"{path} has no frame that can be decoded; fetch or export it again")
    return files


def _row(shot: _Shot, frame: Frame, num_classes: int) -> list[Any]:
    shares = np.bincount(frame.labels.ravel(), minlength=num_classes) / frame.labels.size
    confidence = float(frame.confidence.mean(dtype=np.float64))
    return [shot.number, f"{shot.seconds:.3f}", f"{confidence:.4f}", *(f"{share:.4f}" for share in shares)]


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    if find_spec("av") is None:
        raise UserError(f"videos need PyAV, which this environment lacks: {install_command('video')}")
    import av

    if not path.is_file():
        raise UserError(f"{path} is no file; give a video: {', '.join(SUFFIXES)}")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise UserError(
            f"{path} cannot be read as a video ({error.strerror}); give one that ffmpeg reads"
        ) from error
    with container:
        if not container.streams.video:
            raise UserError(f"{path} holds no pictures, only {', '.join(s.type for s in container.streams)}")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _shots(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator[_Shot]:
    import av

    number = 0
    try:
        for frame in container.decode(stream):
            pixels = frame.to_ndarray(format="rgb24")
            turns = round(frame.rotation / 90) % 4  # counterclockwise, as the camera noted it
            yield _Shot(number, float(frame.time or 0), np.ascontiguousarray(np.rot90(pixels, turns)))
            number += 1
    except av.FFmpegError as error:
        raise UserError(
            f"{path} is damaged after {number} frames ({error.strerror}); fetch or export it again"
        ) from error


def _batches(shots: Iterator[_Shot], batch: int) -> Iterator[list[_Shot]]:
    """Cut frames into batches; frames whose size changes within the video begin a new one."""
    held: list[_Shot] = []
    for shot in shots:
        if held and (len(held) == batch or held[0].pixels.shape != shot.pixels.shape):
            yield held
            held = []
        held.append(shot)
    if held:
        yield held


class _Writer:
    """Writes tinted frames beside one legend of all classes; frames of another size are fitted to the first one's."""

    def __init__(self, path: Path, rate: Any) -> None:
        self.path, self.rate = path, rate
        self.size: tuple[int, int] | None = None

    def __enter__(self) -> "_Writer":
        import av

        self.container: OutputContainer = av.open(str(self.path), mode="w", format="mp4")
        return self

    def __exit__(self, *_: object) -> None:
        if self.size is not None:
            self.container.mux(self.stream.encode())
        self.container.close()

    def add(self, picture: Picture, names: Sequence[str], colours: Sequence[str]) -> None:
        """Write one frame."""
        import av

        if self.size is None:
            self.size = (picture.shape[1], picture.shape[0])
            self.legend = legend(names, colours, height=picture.shape[0])
            # H.264 halves the sides of its colour planes, so they must be even.
            width = (self.size[0] + self.legend.width + 1) // 2 * 2
            height = (max(self.size[1], self.legend.height) + 1) // 2 * 2
            self.sheet = Image.new("RGB", (width, height), "white")
            self.sheet.paste(self.legend, (self.size[0], 0))
            stream = self.container.add_stream(CODEC, rate=self.rate, options={"crf": QUALITY})
            self.stream = cast("VideoStream", stream)
            self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        tile = Image.fromarray(picture)
        self.sheet.paste(tile if tile.size == self.size else tile.resize(self.size))
        self.container.mux(self.stream.encode(av.VideoFrame.from_image(self.sheet)))
