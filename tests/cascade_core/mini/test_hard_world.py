"""The benchmark mini-hard: its classes, its label maps, its twin of drawings, and the start of its CLIP."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cascade_core.clip.weights import new_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.labels.label_set import IGNORE
from cascade_core.mini.captions import FRAMES, caption
from cascade_core.mini.hard_world import DRAWN_WORLD, HARD_WORLD
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.rendering import DRAWING
from cascade_core.mini.stages import HARD_STAGES, TWIN_SHARE
from cascade_core.mini.voc_layout import raw_ids, scene, write_benchmark
from cascade_core.mini.warm_start import start_from
from cascade_core.mini.world import ImageSet
from cascade_core.runtime.files import sha256

SMALL = {"train": ImageSet(1, 2), "val": ImageSet(1, 3)}


def test_mini_hard_has_50_different_classes_and_4_backdrops():
    looks = list(HARD_WORLD.appearance.values())
    assert (len(HARD_WORLD.classes), len(HARD_WORLD.backdrop_ids)) == (50, 4)
    assert len(set(looks)) == len(looks) and {look.palette for look in looks} == set(HARD_WORLD.palettes)
    attributes = {word for look in looks for word in (look.pattern, look.outline, *look.palette.split("_"))}
    assert not attributes & set(HARD_WORLD.classes)


@pytest.mark.parametrize("attribute", ["palette", "pattern", "outline"])
def test_seen_classes_have_the_parts_of_the_unseen_ones(attribute):
    looks = {name: getattr(HARD_WORLD.appearance[name], attribute) for name in HARD_WORLD.classes}
    seen = {look for name, look in looks.items() if name not in HARD_WORLD.unseen}
    assert {looks[name] for name in HARD_WORLD.unseen} <= seen and len(HARD_WORLD.unseen) == 12


def test_captions_of_the_fullest_scene_fit_the_context():
    longest = max(FRAMES, key=lambda frame: len(frame.split()))
    names = [*HARD_WORLD.things[: HARD_WORLD.max_things], "grass", "wall"]
    words = len(longest.split()) - 1 + len(caption(HARD_WORLD, np.random.default_rng(0), names).split())
    assert words <= HARD_WORLD.clip.context_length + 2
    assert HARD_WORLD.tokenizer([f"a close up of {' and '.join(f'a {name}' for name in names)}"]).shape == (
        1,
        32,
    )
    assert HARD_WORLD.tokenizer.vocab_size == HARD_WORLD.clip.vocab_size


def test_scenes_have_background_void_and_thin_things():
    raw = np.stack(
        [raw_ids(HARD_WORLD, scene("val", index, seed=0, world=HARD_WORLD)[1]) for index in range(8)]
    )
    present = set(np.unique(raw))
    thin = {
        index + 1
        for index, name in enumerate(HARD_WORLD.classes)
        if HARD_WORLD.appearance[name].outline in HARD_WORLD.thin
    }
    assert raw.shape[1:] == (128, 128) and {0, 255} <= present and thin & present
    assert present <= {0, 255, *range(1, 51)}
    assert 0.1 < (raw == 0).mean() < 0.6 and 0.02 < (raw == 255).mean() < 0.15


def test_void_lies_within_a_pixel_of_the_rims_of_things():
    labels = scene("train", 1, seed=0, world=HARD_WORLD)[1][40:64, 40:70]
    raw = raw_ids(HARD_WORLD, labels)
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            near = labels[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].ravel().tolist()
            own = int(labels[row, column])
            rim = any(other != own and ({other, own} & set(HARD_WORLD.thing_ids.tolist())) for other in near)
            plain = own + 1 if own < len(HARD_WORLD.classes) else 0
            assert raw[row, column] == (255 if rim else plain)


def test_only_mini_hard_has_further_candidates_for_strict():
    for world, holds in ((HARD_WORLD, True), (MINI_WORLD, False)):
        raw = raw_ids(world, scene("train", 0, seed=0, world=world)[1])
        table = np.array([IGNORE, *range(len(world.classes)), *[IGNORE] * (255 - len(world.classes))])
        assert (table[raw] == IGNORE).any() == holds


def test_the_twin_draws_the_same_labels_with_other_pixels():
    as_drawing = replace(HARD_WORLD, rendering=DRAWING)
    photograph, labels = scene("val", 0, seed=3, world=HARD_WORLD)
    drawing, same_labels = scene("val", 0, seed=3, world=as_drawing)
    assert np.array_equal(labels, same_labels)
    assert np.abs(photograph.astype(float) - drawing).mean() > 15
    assert DRAWN_WORLD.materials == HARD_WORLD.materials and "train" not in DRAWN_WORLD.image_sets


def test_a_batch_of_pretraining_holds_drawings():
    stage = HARD_STAGES[0]
    alone = replace(stage, twin=None)
    of_twin = round(TWIN_SHARE * 20)
    pictures, texts = stage.draw(np.random.default_rng(0), 20)
    photographs, _ = alone.draw(np.random.default_rng(0), 20 - of_twin)
    assert len(texts) == len(pictures.images) == 20 and of_twin == 4
    assert np.array_equal(pictures.images[:-of_twin], photographs.images)


def test_a_benchmark_with_another_hash_is_refused_whole(tmp_path):
    small = replace(HARD_WORLD, image_sets=SMALL, hashes={})
    stated = sha256(write_benchmark(tmp_path / "first", world=small, seed=5))
    right, wrong = (replace(small, hashes={5: digest}) for digest in (stated, "0" * 64))
    write_benchmark(tmp_path / "again", world=right, seed=5)
    write_benchmark(tmp_path / "other", world=wrong, seed=6)
    with pytest.raises(ValueError, match=f"have SHA-256 {stated[:12]}..., not 000000000000... as stated"):
        write_benchmark(tmp_path / "refused", world=wrong, seed=5)
    assert not (tmp_path / "refused").exists()


def test_a_clip_starts_with_the_words_and_weights_that_it_shares():
    clip, earlier = new_clip(HARD_WORLD.clip, seed=0), new_clip(MINI_CLIP, seed=1)
    before = clip.text.token_embedding.weight.detach().clone()
    start_from(clip, HARD_WORLD, earlier, MINI_WORLD.tokenizer)
    zebra, whale = (HARD_WORLD.tokenizer([name])[0, 1] for name in ("zebra", "whale"))
    own, given = clip.text.token_embedding.weight, earlier.text.token_embedding.weight
    assert torch.equal(own[zebra], given[MINI_WORLD.tokenizer(["zebra"])[0, 1]])
    assert torch.equal(own[-1], given[-1]) and torch.equal(own[whale], before[whale])
    assert torch.equal(clip.visual.proj, earlier.visual.proj)
    assert torch.equal(clip.visual.positional_embedding[0], earlier.visual.positional_embedding[0])
    assert clip.visual.positional_embedding.shape == (65, 64)


def test_a_clip_of_another_kind_is_no_start():
    clip = new_clip(HARD_WORLD.clip, seed=0)
    narrow = new_clip(MINI_CLIP.model_copy(update={"width": 32}), seed=0)
    with pytest.raises(ValueError, match="has width=32, that of world 'hard' 64"):
        start_from(clip, HARD_WORLD, narrow, MINI_WORLD.tokenizer)
    with pytest.raises(ValueError, match="into byte pairs"):
        start_from(
            clip,
            HARD_WORLD,
            new_clip(MINI_CLIP, seed=0),
            lambda texts: torch.zeros(len(texts), 77, dtype=torch.long),
        )
