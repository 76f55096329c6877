"""The synthetic world and its captions."""

import numpy as np
import pytest

from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.datasets.mini import CLASSES, HELD_OUT, SEEN, TEMPLATES, UNSEEN
from cascade_core.mini.captions import caption, names_in_view
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.paint import render
from cascade_core.mini.textures import pattern
from cascade_core.mini.vocabulary import APPEARANCE, PALETTES, STUFFS, THINGS, WORDS
from cascade_core.mini.world import NOTHING, join

SCENE_SIZE, SMALLEST_SHARE = MINI_WORLD.scene_size, MINI_WORLD.smallest_share


def test_every_class_is_a_different_combination():
    looks = [(look.palette, look.pattern) for look in APPEARANCE.values()]
    assert len(set(looks)) == len(CLASSES) == len(THINGS) + len(STUFFS) == 24
    assert {look.palette for look in APPEARANCE.values()} == set(PALETTES)


@pytest.mark.parametrize("attribute", ["palette", "pattern", "outline"])
def test_attributes_of_unseen_classes_occur_among_seen_classes(attribute):
    seen = {getattr(APPEARANCE[name], attribute) for name in CLASSES if name not in UNSEEN}
    assert {getattr(APPEARANCE[name], attribute) for name in UNSEEN} <= seen
    assert set(UNSEEN) <= set(CLASSES) and len(set(UNSEEN)) == 6


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_looks_occur_in_other_seen_classes(name):
    trained = [APPEARANCE[one] for one in SEEN if one not in HELD_OUT[name]]
    for look in map(APPEARANCE.__getitem__, HELD_OUT[name]):
        assert any(look.palette == one.palette for one in trained)
        assert any(look.pattern == one.pattern for one in trained)


def test_class_names_spell_out_no_attribute():
    attributes = {word for look in APPEARANCE.values() for word in (look.pattern, *look.palette.split("_"))}
    assert not attributes & set(CLASSES)


def test_the_generator_alone_decides_every_pixel():
    first, again, other = (
        render(rng, MINI_WORLD.plan_scenes(rng, 6), size=SCENE_SIZE)
        for rng in map(np.random.default_rng, (4, 4, 5))
    )
    assert np.array_equal(first.images, again.images) and np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, other.images)


def test_every_pixel_shows_a_class_that_was_planned():
    rng = np.random.default_rng(0)
    plan = MINI_WORLD.plan_scenes(rng, 60)
    pictures = render(rng, plan, size=SCENE_SIZE)
    for row, labels in enumerate(pictures.labels):
        planned = {*plan.stuffs[row], *plan.things[row]} - {NOTHING}
        visible = set(np.unique(labels).tolist())
        assert visible <= planned
        assert {index for index in planned if CLASSES[index] in THINGS} <= visible
        assert 1 <= sum(CLASSES[index] in THINGS for index in planned) <= 3
        assert 1 <= sum(CLASSES[index] in STUFFS for index in planned) <= 2


def test_every_class_covers_a_fair_share_of_200_scenes():
    rng = np.random.default_rng(1)
    labels = render(rng, MINI_WORLD.plan_scenes(rng, 200), size=SCENE_SIZE).labels
    shares = np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size
    assert shares.min() > 0.008 and shares.max() < 0.15


def test_a_picture_shows_the_colours_of_its_palette():
    rng = np.random.default_rng(2)
    plan = MINI_WORLD.plan_close_ups(rng, 240)
    pictures = render(rng, plan, size=40)
    for index, name in enumerate(CLASSES):
        rows = [row for row, labels in enumerate(pictures.labels) if (labels == index).all()]
        assert rows, f"no close-up of {name} in 240"
        mean = pictures.images[rows].mean(axis=(0, 1, 2))
        figure, ground = np.array(PALETTES[APPEARANCE[name].palette], float)
        mixed = min(
            np.abs(mean - ground - share * (figure - ground)).max() for share in np.linspace(0, 1, 21)
        )
        assert mixed < 30, f"{name} has mean colour {mean}"


def test_close_ups_have_one_class_and_single_things_one_stuff():
    rng = np.random.default_rng(3)
    assert all(
        len(np.unique(labels)) == 1
        for labels in render(rng, MINI_WORLD.plan_close_ups(rng, 40), size=40).labels
    )
    objects = MINI_WORLD.plan_objects(rng, 40)
    for labels, things in zip(render(rng, objects, size=40).labels, objects.things, strict=True):
        assert things[0] in labels and len(np.unique(labels)) <= 2


def test_joined_plans_keep_their_order():
    rng = np.random.default_rng(0)
    crops, objects = MINI_WORLD.plan_crops(rng, 3), MINI_WORLD.plan_objects(rng, 2)
    joined = join([crops, objects])
    assert len(joined) == 5
    assert np.array_equal(joined.things[3:], objects.things) and np.array_equal(
        joined.window[:3], crops.window
    )


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match="no pattern 'tartan'"):
        pattern("tartan", *np.zeros((2, 1, 2, 2), np.float32), np.zeros((4, 1, 1, 1), np.float32))


def test_names_in_view_cover_enough_of_the_picture():
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[0, :5] = CLASSES.index("sand")
    labels[0, 0, : round(100 * SMALLEST_SHARE) - 1] = CLASSES.index("tiger")
    labels[1] = CLASSES.index("lava")
    assert names_in_view(MINI_WORLD, labels) == [["zebra", "sand"], ["lava"]]


def test_captions_name_things_before_stuffs():
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = caption(MINI_WORLD, rng, ["sand", "zebra", "taxi", "lava"]).split()
        named = [word for word in words if word in CLASSES]
        assert set(named[:2]) == {"zebra", "taxi"} and set(named[2:]) == {"sand", "lava"}


def test_captions_fit_the_vocabulary_and_the_context():
    rng = np.random.default_rng(5)
    plan = join([MINI_WORLD.plan_scenes(rng, 200), MINI_WORLD.plan_close_ups(rng, 200)])
    texts = [
        caption(MINI_WORLD, rng, names)
        for names in names_in_view(MINI_WORLD, render(rng, plan, size=40).labels)
    ]
    texts += [caption(MINI_WORLD, rng, ["zebra", "taxi", "onion", "sand", "lava"]) for _ in range(200)]
    tokens = MINI_WORLD.tokenizer(texts)
    assert tokens.shape == (600, MINI_CLIP.context_length)
    assert {word for text in texts for word in text.split()} == set(WORDS)
    assert {text.split()[0] for text in texts} >= {"a", "an", "here", "there", "this"}


def test_a_caption_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one class name"):
        caption(MINI_WORLD, np.random.default_rng(0), [])


def test_the_end_token_has_the_highest_id_and_follows_the_words():
    tokenizer = MINI_WORLD.tokenizer
    tokens = tokenizer([template.format("zebra") for template in TEMPLATES])
    assert tokenizer.vocab_size == MINI_CLIP.vocab_size == 49 and int(tokens.max()) == 48
    ends = [1 + len(template.split()) for template in TEMPLATES]
    assert tokens.argmax(dim=-1).tolist() == ends
    assert all((row[end + 1 :] == 0).all() for row, end in zip(tokens, ends, strict=True))
