"""Label sets refuse inconsistent classes and tables."""

import pytest

from cascade_core.labels.label_set import LabelSet, train_id_table


@pytest.mark.parametrize(
    ("classes", "table", "message"),
    [
        ((), train_id_table(0), "has 0 classes"),
        (("cat", "cat"), train_id_table(2), r"names \['cat'\] twice"),
        (("cat", " "), train_id_table(2), "empty class name"),
        (("cat",), (0,), "has 1 entries, not 256"),
        (("cat",), train_id_table(2), r"gives train ids \[1\]; allowed are 0..0"),
    ],
)
def test_impossible_label_sets_are_refused(
    classes: tuple[str, ...], table: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSet("bad", classes, table)


def test_synonyms_are_of_all_classes_or_of_none() -> None:
    with pytest.raises(ValueError, match="has synonyms of 1 classes and 2 class names"):
        LabelSet("bad", ("cat", "dog"), train_id_table(2), synonyms=(("kitten",),))


def test_background_ids_must_be_ignored_or_of_the_last_class() -> None:
    with pytest.raises(ValueError, match=r"does not give train id 255 to all background ids \[0\]"):
        LabelSet("bad", ("cat", "dog"), train_id_table(2), background_ids=(0,))
