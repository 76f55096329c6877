"""Decoding: every kind of photograph becomes upright RGB, every label map train ids."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.pictures import (
    decode_image,
    decode_label_ids,
    read_image,
    read_label_map,
    upright_size,
)
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
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png_of({b"IHDR": header, b"IDAT": b"", b"IEND": b""})


def png_of(chunks: dict[bytes, bytes]) -> bytes:
    packed = (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.filterwarnings("ignore:.*exceeds limit")
def test_a_picture_too_large_for_memory_is_refused() -> None:
    for decode in (decode_image, decode_label_ids, upright_size):
        for side, reason in ((11_000, "11000 x 11000"), (20_000, "400000000 pixels")):
            with pytest.raises(
                ValueError, match=rf"a\.png: has more than 107,374,182 pixels .*{reason}.* scale"
            ):
                decode(png_claiming(side, side), "a.png")


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Image.fromarray(np.full((2, 2), 300, dtype=np.uint16)), "has 16 bits a pixel and ids up to 300"),
        (Image.new("RGB", (2, 2)), "one id a pixel .* this file is 'RGB'"),
        (Image.new("RGBA", (2, 2)), "one id a pixel .* this file is 'RGBA'"),
        (Image.new("LA", (2, 2)), "one id a pixel .* this file is 'LA'"),
    ],
)
def test_a_label_map_without_8_bit_ids_is_refused(picture: Image.Image, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.png: .*{reason}"):
        decode_label_ids(png(picture), "a.png")


@pytest.mark.parametrize(
    ("bits", "palette"),
    [*((bits, False) for bits in (1, 2, 4, 8, 16)), *((bits, True) for bits in (1, 2, 4, 8))],
)
def test_ids_of_every_depth_are_read_as_stored(bits: int, palette: bool) -> None:
    ids = [number % min(2**bits, 256) for number in range(16)]
    numbers = np.array(ids, dtype=">u2" if bits == 16 else np.uint8).view(np.uint8).reshape(16, -1)
    row = np.packbits(np.unpackbits(numbers, axis=1)[:, -bits:]).tobytes()
    palette_chunk = {b"PLTE": bytes(range(256)) * 3} if palette else {}
    header = struct.pack(">IIBBBBB", 16, 1, bits, 3 if palette else 0, 0, 0, 0)
    chunks = {b"IHDR": header, **palette_chunk, b"IDAT": zlib.compress(b"\0" + row), b"IEND": b""}
    assert decode_label_ids(png_of(chunks), "a.png").tolist() == [ids]


def test_a_label_map_that_is_no_png_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be decoded as a label map .it is none of PNG"):
        decode_label_ids(jpeg(Image.new("L", (2, 2))), "a.png")


def test_a_program_for_ghostscript_is_no_picture(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n"
    (tmp_path / "a.jpg").write_bytes(eps)
    for reader in (read_image, lambda path: upright_size(path, str(path))):
        with pytest.raises(ValueError, match="none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"):
            reader(tmp_path / "a.jpg")


def test_no_reader_opens_pictures_of_other_formats() -> None:
    root = Path(__file__).parents[3]
    for package in ("cascade_core", "components", "pipelines", "cascade_clip"):
        for path in (root / package).rglob("*.py"):
            for call in re.findall(r"Image\.open\(.*", path.read_text(encoding="utf-8")):
                assert "formats=" in call, f"{path}: {call}"


@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_a_png_says_its_upright_size_as_it_is_decoded(orientation: int | None) -> None:
    stream, exif = BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (6, 4)).save(stream, format="PNG", exif=exif)
    height, width = decode_image(stream.getvalue(), "a.png").shape[:2]
    assert upright_size(stream.getvalue(), "a.png") == (width, height)
    assert (width, height) == ((4, 6) if orientation == 6 else (6, 4))
