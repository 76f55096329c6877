"""The part of `cascade-clip predict` that labels videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from cascade_core.runtime.targets import check_gathering_folder
from pipelines.cli.predict_work import Asked, Work, refuse

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor


def videos_of(pictures: Sequence[str], smooth: int | None, **given: object) -> list[Path]:
    """Return the videos of a call; empty if it names pictures.

    Raises:
        UserError: videos and pictures are mixed, or an option comes along that is only for the other.
    """
    from components.video.labelling import is_video

    videos = [Path(text) for text in pictures if is_video(text)]
    if not videos:
        if smooth is not None:
            raise UserError("--smooth is for videos; leave it out")
        return []
    if others := [text for text in pictures if not is_video(text)]:
        raise UserError(
            f"{videos[0]} is a video and {others[0]} is none; give videos and pictures in calls of their own"
        )
    refuse(given, "is not for videos, which have an overlay and a table of frames: leave it out")
    return videos


def work(asked: Asked, videos: Sequence[Path], out: Path, smooth: int | None) -> Work:
    """Return the work of labelling videos, which prints the path of each one's overlay.

    Raises:
        UserError: `out` is no folder for results.
    """
    from components.video.labelling import label_video

    check_gathering_folder(out)

    def run(predictor: "Predictor") -> None:
        for video in videos:
            files = label_video(
                predictor,
                video,
                asked.labels,
                out,
                batch=asked.batch,
                scales=asked.scales,
                flip=asked.flip,
                smooth=smooth or 1,
            )
            print(files.overlay)

    return run
