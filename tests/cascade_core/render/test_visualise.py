"""Pictures of label maps."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_core.batches.transforms import normalise, to_picture
from cascade_core.datasets.catalogue import protocol
from cascade_core.render.colours import IGNORED_COLOUR, NUM_COLOURS, palette
from cascade_core.render.visualise import (
    FONT_SIZE,
    LINE,
    MARGIN,
    MOST_LINES,
    _present,
    coloured,
    label_png,
    overlay,
    panel,
)

NAMES = ("cat", "dog", "cow")


def scene(side: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return a grey picture: cat above, cow below, a band of ignored pixels at the left."""
    labels = np.zeros((side, side), dtype=np.uint8)
    labels[side // 2 :], labels[:, :10] = 2, 255
    return np.full((side, side, 3), 90, dtype=np.uint8), labels


def colours_of(picture: Image.Image) -> set[tuple[int, int, int]]:
    return {tuple(map(int, colour)) for colour in np.unique(np.asarray(picture).reshape(-1, 3), axis=0)}


def test_colours_of_many_classes_are_distinct_and_not_grey() -> None:
    colours = palette(171).astype(int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1)
    assert distances[~np.eye(171, dtype=bool)].min() >= 40
    assert np.abs(colours - IGNORED_COLOUR).sum(axis=1).min() >= 40


def test_colours_do_not_depend_on_the_number_of_classes() -> None:
    assert np.array_equal(palette(24), palette(171)[:24])
    assert palette(0).shape == (0, 3)


def test_custom_colours_take_precedence_and_stay_distinct() -> None:
    usual = palette(6)
    custom = ["", "#{:02x}{:02x}{:02x}".format(*usual[0]), "", "gold", "", ""]
    colours = palette(6, custom)
    assert colours[1].tolist() == usual[0].tolist() and colours[3].tolist() == [255, 215, 0]
    assert np.array_equal(colours[[2, 4]], usual[[2, 4]])
    assert len(np.unique(colours, axis=0)) == 6
    shades = np.abs(colours[:, None].astype(int) - colours[[1, 3]]).sum(axis=-1)
    assert (shades[[0, 2, 4, 5]] > 70).all()
    assert np.array_equal(palette(2, ("", "", "red")), palette(2))


def test_background_is_black_and_classes_keep_their_colours() -> None:
    custom = protocol("context60").label_set.colours
    assert palette(60, custom)[59].tolist() == [0, 0, 0]
    assert np.array_equal(palette(60, custom)[:6], palette(59)[:6])


def test_the_legend_shows_custom_colours() -> None:
    image = overlay(*scene(), NAMES, colours=("#123456", "", ""))
    cat, _, cow = (tuple(map(int, colour)) for colour in palette(3))
    assert {(0x12, 0x34, 0x56), cow} <= colours_of(image) and cat not in colours_of(image)


def test_ignored_pixels_are_grey_and_classes_have_their_colour() -> None:
    picture = coloured(np.array([[0, 2, 255]]), 3)
    assert picture[0].tolist() == [palette(3)[0].tolist(), palette(3)[2].tolist(), list(IGNORED_COLOUR)]


def test_a_label_png_holds_ids_and_shows_colours() -> None:
    _, labels = scene()
    content = BytesIO()
    label_png(labels, 3).save(content, "PNG")
    with Image.open(content) as stored:
        assert stored.mode == "P"
        assert np.array_equal(np.asarray(stored), labels)
        assert np.array_equal(np.asarray(stored.convert("RGB")), coloured(labels, 3))


def test_an_overlay_tints_classes_and_leaves_ignored_pixels() -> None:
    picture, labels = scene()
    image = np.asarray(overlay(picture, labels, NAMES))
    assert image[10, 5].tolist() == [90, 90, 90]
    expected = 0.45 * picture[0, 0] + 0.55 * palette(3)[0]
    assert np.abs(image[10, 100] - expected).max() <= 1


def test_the_legend_shows_the_classes_present_and_no_others() -> None:
    picture, labels = scene()
    image = overlay(picture, labels, NAMES)
    legend = image.crop((300 + MARGIN, 0, image.width, image.height))
    cat, dog, cow = (tuple(map(int, colour)) for colour in palette(3))
    assert {cat, cow} <= colours_of(legend)
    assert dog not in colours_of(legend)


def test_a_long_legend_goes_on_in_another_column() -> None:
    labels = np.arange(40, dtype=np.uint8).repeat(10)[:, None].repeat(400, axis=1)
    names = [f"class {i}" for i in range(40)]
    image = overlay(np.zeros((400, 400, 3), dtype=np.uint8), labels, names)
    assert {tuple(map(int, colour)) for colour in palette(40)} <= colours_of(
        image.crop((408, 0, image.width, 400))
    )
    assert 400 // LINE < 40 and FONT_SIZE < LINE


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    picture, labels = scene(64)
    assert overlay(picture, labels, NAMES).height == 256


def test_a_panel_has_a_titled_tile_for_each_label_map() -> None:
    picture, labels = scene()
    image = panel(picture, {"truth": labels, "zegclip": labels, "cascade_clip": labels}, NAMES)
    assert image.height == 300 + LINE
    assert image.width > 4 * 300 + 4 * MARGIN
    tiles = np.asarray(image)[LINE:]
    assert np.array_equal(tiles[:, :300], picture)
    assert np.array_equal(tiles[:, 308:608], tiles[:, 616:916])


def test_normalising_is_undone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    assert np.array_equal(to_picture(normalise(picture, mean, std), mean=mean, std=std), picture)
    assert to_picture(torch.full((3, 1, 1), 1e3), mean=mean, std=std).max() == 255


def test_labels_that_do_not_fit_are_refused() -> None:
    picture, labels = scene()
    with pytest.raises(ValueError, match="differ in size"):
        overlay(picture, labels[1:], NAMES)
    with pytest.raises(ValueError, match=r"label ids \[2\] are neither 0..1 nor 255"):
        overlay(picture, labels, NAMES[:2])
    with pytest.raises(ValueError, match=r"label ids \[2\] are neither 0..1 nor 255"):
        label_png(labels, 2)
    with pytest.raises(ValueError, match="65536 classes do not fit in 16-bit label maps"):
        label_png(labels, 2**16)


def test_more_than_255_classes_give_a_16_bit_png() -> None:
    labels = np.array([[255, 4000], [0, 65535]], dtype=np.uint16)
    content = BytesIO()
    label_png(labels, 4001).save(content, "PNG")
    with Image.open(content) as stored:
        assert np.array_equal(np.asarray(stored), labels)
    image = coloured(labels, 4001)
    assert np.array_equal(image[0, 0], palette(256)[255])
    assert image[1, 1].tolist() == list(IGNORED_COLOUR)


def test_colours_repeat_after_1024() -> None:
    assert np.array_equal(palette(3000)[NUM_COLOURS : NUM_COLOURS + 5], palette(5))
    assert len(np.unique(palette(NUM_COLOURS), axis=0)) == NUM_COLOURS


def test_a_long_flat_picture_is_shrunk_with_a_readable_legend() -> None:
    labels = (np.arange(20_000) // 2_000)[None].repeat(10, axis=0)
    image = overlay(np.zeros((10, 20_000, 3), dtype=np.uint8), labels, [f"class {i}" for i in range(10)])
    assert 4096 < image.width < 4500
    assert image.height >= 10 * LINE


def test_a_legend_names_the_largest_classes_and_counts_the_rest() -> None:
    labels = np.arange(400).repeat(400).reshape(400, 400)
    names = [f"class {i}" for i in range(400)]
    assert _present([labels], 400) == (list(range(MOST_LINES)), 400 - MOST_LINES)
    assert overlay(np.zeros((400, 400, 3), dtype=np.uint8), labels, names).width < 1200
