"""Which picture goes into which split: by folder, by list, or held out by names and a seed."""

from cascade_core.data.own_layout import assigned

NAMES = [f"{i:03}" for i in range(40)]


def held_out(names: list[str], seed: int = 0) -> dict[str, list[str]]:
    return assigned(names, given={}, held_out={"val": 0.25, "test": 0.1}, seed=seed)


def test_held_out_pictures_are_shared_out_without_rest() -> None:
    splits = held_out(NAMES)
    assert {split: len(names) for split, names in splits.items()} == {"train": 26, "val": 10, "test": 4}
    assert sorted(name for names in splits.values() for name in names) == NAMES


def test_the_seed_and_not_the_order_of_pictures_decides() -> None:
    assert held_out(NAMES) == held_out(NAMES[::-1])
    assert held_out(NAMES, seed=1) != held_out(NAMES)


def test_most_pictures_stay_in_their_split_when_one_comes_along() -> None:
    before, after = held_out(NAMES), held_out([*NAMES, "999"])
    moved = [name for split, names in before.items() for name in names if name not in after[split]]
    assert len(moved) <= 2


def test_pictures_are_held_out_of_the_training_split_where_one_is_given() -> None:
    names = [*(f"old/{name}" for name in NAMES), "new/a"]
    splits = assigned(names, given={"train": "old", "test": "new"}, held_out={"val": 0.1}, seed=0)
    assert {split: len(listed) for split, listed in splits.items()} == {"train": 36, "test": 1, "val": 4}
    assert all(name.startswith("old/") for name in splits["val"])
