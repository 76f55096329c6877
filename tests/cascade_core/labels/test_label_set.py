"""Label sets refuse inconsistent classes and tables."""

import pytest

from cascade_core.labels.label_set import LabelSet, train_id_table


@pytest.mark.parametrize(
    ("classes", "message"),
    [((), "has 0 classes"), (("cat", "cat"), r"names \['cat'\] twice"), (("cat", " "), "empty class name")],
)
def test_impossible_class_names_are_refused(classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSet("bad", classes, train_id_table(len(classes)))


@pytest.mark.parametrize(
    ("table", "message"),
    [((0,), "has 1 entries"), (train_id_table(2), r"gives train ids \{1\} to 1 classes")],
)
def test_a_table_that_does_not_fit_the_classes_is_a_defect(table: tuple[int, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        LabelSet("bad", ("cat",), table)


def test_synonyms_are_of_all_classes_or_of_none() -> None:
    with pytest.raises(AssertionError, match="synonyms of 1 classes"):
        LabelSet("bad", ("cat", "dog"), train_id_table(2), synonyms=(("kitten",),))


def test_background_ids_must_be_ignored_or_of_the_last_class() -> None:
    with pytest.raises(AssertionError, match=r"background ids have train ids \{0\}, not 255"):
        LabelSet("bad", ("cat", "dog"), train_id_table(2), background_ids=(0,))
