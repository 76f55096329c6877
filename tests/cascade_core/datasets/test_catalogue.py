"""The public data sets, their label sets and class splits: the published facts."""

from dataclasses import replace

import pytest

from cascade_core.data.layouts import FolderLayout, VocLayout
from cascade_core.datasets.catalogue import DATA_SETS, label_set, label_sets, layout_of, protocol, protocols
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import IGNORE, INVALID

# Counts, ids of the unseen classes and their first name, as published.
PUBLISHED = {
    "voc12-15-5": (20, (15, 16, 17, 18, 19), "pottedplant"),
    "context59-released": (59, (0, 2, 3, 7, 9, 13, 17, 19, 31, 37), "aeroplane"),
    "context59-literature": (59, (0, 2, 3, 7, 9, 13, 17, 19, 31, 37), "aeroplane"),
    "cocostuff-156-15": (171, (19, 23, 28, 29, 36, 51, 76, 88, 94, 112, 133, 136, 137, 157, 160), "cow"),
    "voc12-20": (20, (), None),
    "context59": (59, (), None),
    "context60": (60, (), None),
    "ade20k-150": (150, (), None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_protocol_has_the_published_classes_and_unseen_ids(name: str) -> None:
    split, (count, unseen, first) = protocol(name), PUBLISHED[name]
    assert split.name == name
    assert split.num_classes == count
    assert split.unseen == unseen
    assert first is None or split.classes[unseen[0]] == first


@pytest.mark.parametrize("split", protocols(), ids=lambda split: split.name)
def test_every_class_is_either_seen_or_unseen(split: ClassSplit) -> None:
    assert sorted((*split.seen, *split.unseen)) == list(range(split.num_classes))
    assert {*split.seen_names, *split.unseen_names} == set(split.classes)


def test_the_mini_split_has_18_seen_and_6_unseen_classes() -> None:
    split = protocol("mini-18-6")
    assert (len(split.seen), len(split.unseen)) == (18, 6)
    assert split.label_set.raw_to_train[:2] == (IGNORE, 0)


@pytest.mark.parametrize("name", ["mini-13-5a", "mini-13-5b"])
def test_held_out_classes_are_seen_ones_with_the_same_raw_ids(name: str) -> None:
    split, whole = protocol(name), protocol("mini-18-6")
    assert split.classes == whole.seen_names and len(split.unseen) == 5
    for raw, train in enumerate(whole.label_set.raw_to_train[:25]):
        kept = train in whole.seen
        place = split.label_set.raw_to_train[raw]
        assert place == (split.classes.index(whole.classes[train]) if kept else IGNORE)


def test_the_held_out_classes_of_two_splits_differ() -> None:
    assert not set(protocol("mini-13-5a").unseen_names) & set(protocol("mini-13-5b").unseen_names)


def test_equal_unseen_ids_of_context_name_different_classes() -> None:
    released, literature = protocol("context59-released"), protocol("context59-literature")
    assert released.unseen == literature.unseen
    assert set(released.classes) == set(literature.classes)
    assert set(released.unseen_names) & set(literature.unseen_names) == {
        "aeroplane",
        "boat",
        "cow",
        "keyboard",
    }


def test_raw_context_ids_name_one_class_in_both_orders() -> None:
    released, literature = label_set("context59"), label_set("context59-literature")
    for raw in range(1, 60):
        by_name = released.classes[released.raw_to_train[raw]]
        assert literature.classes[literature.raw_to_train[raw]] == by_name
    assert released.raw_to_train[0] == literature.raw_to_train[0] == IGNORE


@pytest.mark.parametrize("name", ["voc20", "context59", "ade20k150", "mini24", "minihard50"])
def test_background_is_ignored_and_other_ids_are_reduced_by_one(name: str) -> None:
    labels = label_set(name)
    count = labels.num_classes
    assert labels.raw_to_train[: count + 1] == (IGNORE, *range(count))
    assert set(labels.raw_to_train[count + 1 : 255]) == {INVALID}
    assert labels.raw_to_train[255] == IGNORE


def test_converted_cocostuff_maps_store_train_ids() -> None:
    table = label_set("cocostuff171").raw_to_train
    assert table == (*range(171), *[INVALID] * 84, IGNORE)


def test_context60_is_context59_plus_background_as_last_class() -> None:
    sixty, fifty_nine = label_set("context60"), label_set("context59")
    assert sixty.classes == (*fifty_nine.classes, "background")
    assert sixty.raw_to_train == (59, *fifty_nine.raw_to_train[1:])
    assert sixty.foreground().raw_to_train == fifty_nine.raw_to_train
    with pytest.raises(ValueError, match="label set 'context60' counts background already"):
        sixty.with_background()


def test_label_maps_without_background_cannot_count_it() -> None:
    with pytest.raises(
        ValueError, match="'mini24' has no raw id for background; use background policy 'dropped'"
    ):
        protocol("mini-18-6").with_background()


def test_raw_cocostuff_ids_are_ranked_over_the_gaps() -> None:
    labels = label_set("cocostuff171-raw")
    rank = 0
    for raw in range(182):
        if raw in {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}:
            assert labels.raw_to_train[raw] == INVALID
        else:
            assert labels.raw_to_train[raw] == rank
            rank += 1
    assert rank == 171
    assert labels.describe_raw_ids().startswith("0..10, 12..24, 26..27, 30..43,")


def test_an_unknown_name_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown label set 'voc'; known are voc20, context59, "):
        label_set("voc")
    with pytest.raises(ValueError, match="unknown protocol 'voc'; known are voc12-15-5, voc12-20, "):
        protocol("voc")


def test_every_label_set_and_protocol_has_its_own_name() -> None:
    assert [label_set(labels.name) for labels in label_sets()] == list(label_sets())
    assert [protocol(split.name) for split in protocols()] == list(protocols())
    assert len({dataset.name for dataset in DATA_SETS}) == len(DATA_SETS)


def test_a_label_set_has_the_layout_of_its_published_label_maps() -> None:
    assert layout_of(label_set("cocostuff171")) == FolderLayout("_labelTrainIds.png")
    assert layout_of(label_set("ade20k150")) == FolderLayout(".png")
    assert layout_of(label_set("context60")) == layout_of(label_set("context59-literature"))
    assert layout_of(label_set("voc20")) == layout_of(label_set("mini24")) == VocLayout()
    assert layout_of(replace(label_set("voc20"), name="own")) is None
