"""Decoders of JPEG files for training input, compared with the present one: `python -m benchmarks.decoding`.

Images per second of CPU time on one core, as in `benchmarks/loader.py`, with each decoder in the place of the present
one (Pillow), whether the pixels are equal, and milliseconds per picture. simplejpeg is measured where it is installed.

Decoding at a reduced scale (Pillow's `draft`) applies if a picture is resized to less than half. The benchmark prints how
often the published augmentation does that, for a photograph of 640 x 480 and one of 4000 x 3000, the milliseconds saved
where it does, and how far the resized pictures are apart, in levels of 0..255: the published pipeline resizes the whole
picture without antialiasing, reduced decoding averages pixels.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from benchmarks import loader
from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from cascade_core.batches import samples
from cascade_core.batches.resizing import ImageArray, resize_image
from cascade_core.batches.transforms import random_size
from cascade_core.configs.config import DataConfig
from cascade_core.configs.recipes import recipe
from cascade_core.data.pictures import decode_image

DRAWS = 1000
SIZES = ((480, 640), (3000, 4000))
"""Heights and widths of the pictures for reduced decoding."""

Decode = Callable[[bytes], ImageArray]


def decoders() -> dict[str, Decode]:
    """Return the decoders that are installed; all decode exactly (no fast transform, no fast upsampling)."""
    ways: dict[str, Decode] = {"ours (Pillow)": lambda content: decode_image(content, "a picture")}
    if find_spec("torchvision"):
        from torchvision.io import ImageReadMode, decode_jpeg

        def by_torchvision(content: bytes) -> ImageArray:
            planes = decode_jpeg(
                torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB
            )
            return planes.permute(1, 2, 0).numpy()

        ways["torchvision"] = by_torchvision
    if find_spec("simplejpeg"):
        import simplejpeg

        ways["simplejpeg"] = simplejpeg.decode_jpeg
    return ways


def milliseconds(ways: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median milliseconds of CPU time of each way, in turns."""
    times: list[list[float]] = [[] for _ in ways]
    for round_ in range(rounds + 1):
        for way, taken in zip(ways, times, strict=True):
            began = time.process_time()
            way()
            if round_:
                taken.append(1e3 * (time.process_time() - began))
    return [statistics.median(taken) for taken in times]


def compared_decoders(folder: Path, rounds: int) -> list[str]:
    """Compare the decoders alone and inside the training input."""
    ways, make_samples = decoders(), loader.make(folder)[0]
    files = [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]
    alone, inside = [], []
    for decode in ways.values():

        def read(path: Path, decode: Decode = decode) -> ImageArray:
            return decode(path.read_bytes())

        def one_round(read: Callable[[Path], ImageArray] = read) -> None:
            with mock.patch.object(samples, "read_image", read):
                make_samples(0)

        alone.append(lambda decode=decode: [decode(content) for content in files])
        inside.append(one_round)
    times = zip(milliseconds(alone, rounds), milliseconds(inside, rounds), strict=True)
    expected = [ways["ours (Pillow)"](content) for content in files]
    lines = []
    for (name, decode), (decoding, sampling) in zip(ways.items(), times, strict=True):
        equal = sum(
            np.array_equal(decode(content), pixels) for content, pixels in zip(files, expected, strict=True)
        )
        lines.append(
            f"{name}: {len(files) * 1e3 / sampling:.0f} images/s, {decoding / len(files):.2f} ms a picture, "
            f"{equal} of {len(files)} equal to ours"
        )
    return lines


def reduced(content: bytes, size: tuple[int, int]) -> ImageArray:
    """Decode at the smallest scale (1/2, 1/4, 1/8) that is at least `size`."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.draft("RGB", (size[1], size[0]))
        return np.array(picture)


def reducible(size: tuple[int, int], data: DataConfig) -> list[tuple[int, int]]:
    """Return those of `DRAWS` sizes of the augmentation that are at most half of the picture's."""
    assert data.resize_range is not None
    rng = np.random.default_rng(0)
    sizes = [random_size(size, data.crop_size, data.resize_range, rng=rng) for _ in range(DRAWS)]
    return [one for one in sizes if 2 * max(one) <= max(size)]


def reduced_decoding(size: tuple[int, int], rounds: int) -> str:
    """Compare reduced with whole decoding for a picture of one size."""
    data = recipe("cascade_cocostuff", {}, seed=0).data
    small_sizes = reducible(size, data)
    line = f"{size[1]} x {size[0]}: {len(small_sizes)} of {DRAWS} draws are resized to half or less"
    if not small_sizes:
        return line
    content = photograph(size)
    middle = sorted(small_sizes)[len(small_sizes) // 2]
    whole, small = decode_image(content, "a picture"), reduced(content, middle)
    times = milliseconds(
        [lambda: decode_image(content, "a picture"), lambda: reduced(content, middle)], rounds
    )
    apart = np.abs(resize_image(whole, middle).astype(int) - resize_image(small, middle))
    return (
        f"{line}; the middle one, {middle[1]} x {middle[0]}: decoding {times[1]:.0f} ms / {times[0]:.0f} ms, resized "
        f"pictures {apart.mean():.1f} levels apart on average, {np.percentile(apart, 99):.0f} at the 99th percentile"
    )


def photograph(size: tuple[int, int]) -> bytes:
    """Draw a smooth picture with fine texture, and return its JPEG."""
    rng = np.random.default_rng(0)
    smooth = resize_image(rng.integers(40, 216, (12, 16, 3), dtype=np.uint8), size).astype(np.int16)
    levels = (smooth + rng.normal(0, 9, (*size, 1)).astype(np.int16)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "jpeg", quality=90)
    return file.getvalue()


def main() -> None:
    options = parsed(parser_of(__doc__, rounds=5))
    torch.set_num_threads(1)
    print(surroundings())
    with tempfile.TemporaryDirectory() as folder:
        for line in compared_decoders(Path(folder), options.rounds):
            print(line, flush=True)
    for size in SIZES:
        print(reduced_decoding(size, options.rounds), flush=True)
    print(load())


if __name__ == "__main__":
    main()
