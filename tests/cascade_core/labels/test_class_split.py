"""Seen and unseen classes follow from the names of the unseen ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_core.datasets.catalogue import protocol
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, train_id_table


def tiny(*names: str) -> LabelSet:
    return LabelSet("tiny", names, train_id_table(len(names)))


def test_a_supervised_split_sees_every_class() -> None:
    split = protocol("voc12-15-5").supervised()
    assert split.seen == tuple(range(20)) and split.unseen == ()
    assert split.name == "voc12-15-5-supervised"


@given(st.sets(st.sampled_from("abcdefg"), max_size=6))
def test_seen_is_whatever_is_not_named_unseen(unseen: set[str]) -> None:
    split = ClassSplit("any", tiny(*"abcdefg"), tuple(sorted(unseen)))
    assert {split.classes[i] for i in split.unseen} == unseen
    assert {split.classes[i] for i in split.seen} == set("abcdefg") - unseen


@pytest.mark.parametrize(
    ("unseen", "message"),
    [
        (("cat", "unicorn"), r"unseen classes \['unicorn'\] .* not in label set 'tiny'; it has cat, dog"),
        (("cat", "cat"), "names an unseen class twice"),
        (("cat", "dog"), "leaves no class seen"),
    ],
)
def test_impossible_splits_are_refused(unseen: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassSplit("split", tiny("cat", "dog"), unseen)
