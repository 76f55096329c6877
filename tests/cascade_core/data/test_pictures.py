"""Decoding: every kind of photograph becomes upright RGB, every label map train ids."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.pictures import decode_image, decode_label_ids, read_image, read_label_map
from cascade_core.labels.label_set import LabelSet

RAMP = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (16, 1, 3))


def jpeg(picture: Image.Image, **options: object) -> bytes:
    content = BytesIO()
    picture.save(content, "JPEG", quality=95, **options)
    return content.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_grey_and_cmyk_photographs_become_rgb(mode: str) -> None:
    image = decode_image(jpeg(Image.fromarray(RAMP).convert(mode)), "a.jpg")
    assert image.shape == (16, 32, 3)
    assert np.abs(image.astype(int) - RAMP).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(orientation: int) -> None:
    stored_from_upright = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = Image.fromarray(RAMP)
    if orientation in stored_from_upright:
        picture = picture.transpose(stored_from_upright[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(jpeg(picture, exif=exif), "a.jpg")
    assert np.abs(image.astype(int) - RAMP).max() <= 3


def test_transparency_is_dropped() -> None:
    content = BytesIO()
    Image.fromarray(RAMP).convert("RGBA").save(content, "PNG")
    assert np.array_equal(decode_image(content.getvalue(), "a.png"), RAMP)


def test_sixteen_bit_pictures_are_refused_instead_of_whitened() -> None:
    content = BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(content, "PNG")
    with pytest.raises(ValueError, match=r"a.png: pixels of mode 'I;16' have more than 8 bits"):
        decode_image(content.getvalue(), "a.png")


@pytest.mark.parametrize("kept", [1, 200, -30])
def test_a_truncated_photograph_is_refused(kept: int) -> None:
    with pytest.raises(ValueError, match=r"a.jpg: cannot be decoded as a picture"):
        decode_image(jpeg(Image.fromarray(RAMP))[:kept], "a.jpg")


def test_raw_ids_of_label_maps_become_train_ids(voc: Path, animals: LabelSet) -> None:
    labels = read_label_map(voc / "SegmentationClass" / "2007_000001.png", animals)
    assert labels[0, 0] == 255  # background
    assert labels[20].tolist() == [0] * 20 + [255] + [1] * 19


def test_grey_and_palette_label_maps_read_alike(tmp_path: Path, animals: LabelSet) -> None:
    raw = np.array([[0, 1], [3, 255]], dtype=np.uint8)
    Image.fromarray(raw).save(tmp_path / "grey.png")
    assert read_label_map(tmp_path / "grey.png", animals).tolist() == [[255, 0], [2, 255]]


def test_a_missing_file_is_named(tmp_path: Path, animals: LabelSet) -> None:
    with pytest.raises(ValueError, match=r"absent.jpg: cannot be read"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ValueError, match=r"absent.png: cannot be read"):
        read_label_map(tmp_path / "absent.png", animals)


def png(picture: Image.Image) -> bytes:
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000)])
def test_tiny_and_very_long_pictures_keep_their_size(size: tuple[int, int], animals: LabelSet) -> None:
    assert decode_image(jpeg(Image.new("RGB", size)), "a.jpg").shape == (size[1], size[0], 3)
    assert decode_label_ids(png(Image.new("L", size)), "a.png").shape == (size[1], size[0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_a_photograph_of_any_common_mode_becomes_rgb(mode: str) -> None:
    image = decode_image(png(Image.new("RGB", (4, 3), "white").convert(mode)), "a.png")
    assert image.shape == (3, 4, 3) and (image == 255).all()


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG without pixels whose header claims a size."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": b"", b"IEND": b""}
    packed = (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_picture_too_large_for_memory_is_refused() -> None:
    for decode in (decode_image, decode_label_ids):
        with pytest.raises(ValueError, match=r"a\.png: has more than 178,956,970 pixels .* scale it down"):
            decode(png_claiming(20_000, 20_000), "a.png")


@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        (Image.fromarray(np.full((2, 2), 300, dtype=np.uint16)), "I;16"),
        (Image.new("RGB", (2, 2)), "RGB"),
        (Image.new("RGBA", (2, 2)), "RGBA"),
        (Image.new("LA", (2, 2)), "LA"),
        (Image.new("1", (2, 2)), "1"),
    ],
)
def test_a_label_map_that_holds_no_8_bit_ids_is_refused(picture: Image.Image, mode: str) -> None:
    with pytest.raises(
        ValueError, match=f"a.png: a label map holds one 8-bit id a pixel .* this file is '{mode}'"
    ):
        decode_label_ids(png(picture), "a.png")
