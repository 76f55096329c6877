"""The assignment of pictures to splits: by folder, by list, or held out by name and seed."""

from cascade_core.data.own_layout import assigned

NAMES = [f"{i:03}" for i in range(40)]


def held_out(names: list[str], seed: int = 0) -> dict[str, list[str]]:
    return assigned(names, given={}, held_out={"val": 0.25, "test": 0.1}, seed=seed)


def test_every_picture_is_in_one_split() -> None:
    splits = held_out(NAMES)
    assert {split: len(names) for split, names in splits.items()} == {"train": 26, "val": 10, "test": 4}
    assert sorted(name for names in splits.values() for name in names) == NAMES


def test_held_out_pictures_depend_on_the_seed_not_the_order() -> None:
    assert held_out(NAMES) == held_out(NAMES[::-1])
    assert held_out(NAMES, seed=1) != held_out(NAMES)


def test_most_pictures_keep_their_split_when_one_is_added() -> None:
    before, after = held_out(NAMES), held_out([*NAMES, "999"])
    moved = [name for split, names in before.items() for name in names if name not in after[split]]
    assert len(moved) <= 2


def test_pictures_are_held_out_of_a_given_training_split() -> None:
    names = [*(f"old/{name}" for name in NAMES), "new/a"]
    splits = assigned(names, given={"train": "old", "test": "new"}, held_out={"val": 0.1}, seed=0)
    assert {split: len(listed) for split, listed in splits.items()} == {"train": 36, "test": 1, "val": 4}
    assert all(name.startswith("old/") for name in splits["val"])
