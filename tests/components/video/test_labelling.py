"""Videos: a tinted copy and a row per frame."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.shipped.contents import shipped_model
from components.video.labelling import label_video
from pipelines.cli.app import app

av = pytest.importorskip("av", reason="the extra `video` is not installed")

LABELS = ["zebra", "sand", "grass"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(shipped_model(Path("mini")), device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 5 frames with odd sides, ten a second."""
    path = tmp_path_factory.mktemp("video") / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 67, 65, "bgr0"
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 256, (65, 67, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_each_frame_is_labelled_as_a_picture_is(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    files = label_video(predictor, clip, LABELS, tmp_path, batch=2)
    table = pd.read_csv(files.frames)
    assert list(table["frame"]) == [0, 1, 2, 3, 4]
    assert list(table["seconds"]) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    pixels = np.random.default_rng(3).integers(0, 256, (65, 67, 3), dtype=np.uint8)
    shares = predictor.predict(pixels, LABELS).shares()
    for name in LABELS:
        assert table[name][3] == pytest.approx(shares.get(name, 0), abs=1e-4)
    with av.open(str(files.overlay)) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].average_rate == 10
    assert len(frames) == 5
    assert frames[0].width > 67 and frames[0].width % 2 == frames[0].height % 2 == 0


def test_smoothing_keeps_every_frame(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    plain = pd.read_csv(label_video(predictor, clip, LABELS, tmp_path / "plain").frames)
    smooth = pd.read_csv(label_video(predictor, clip, LABELS, tmp_path / "smooth", smooth=3).frames)
    assert len(smooth) == 5 and not smooth[LABELS].equals(plain[LABELS])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot be read as a video"), (b"no video at all" * 99, "cannot be read as a video")],
)
def test_what_is_no_video_is_one_sentence(
    predictor: Predictor, tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        label_video(predictor, tmp_path / "clip.mp4", LABELS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_videos(clip: Path, tmp_path: Path) -> None:
    words = ["predict", str(clip), "--model", "mini", "--labels", "zebra,sand", "--threads", "1"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out"), "--smooth", "3"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'out' / 'clip_overlay.mp4'}\n"
    refused = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out"), "--smooth", "2"])
    assert refused.exit_code == 2 and "--smooth is 2; give an odd number" in refused.stderr
    refused = CliRunner().invoke(app, [*words, str(clip.parent), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 2 and "give videos and pictures in calls of their own" in refused.stderr
