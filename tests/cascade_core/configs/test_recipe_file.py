"""A recipe of one's own: a YAML file with a parent."""

from pathlib import Path

import pytest

from cascade_core.configs.recipes import recipe, recipe_names, recipe_summaries
from cascade_core.errors import UserError


def _write(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_a_recipe_file_is_its_parent_with_changes(tmp_path: Path) -> None:
    name = _write(tmp_path, "short.yaml", "parent: mini_zegclip\ntrain: {iterations: 50}\noptim:\n")
    own = recipe(name, {"train.batch_size": 4}, seed=3)
    changes = {"train.iterations": 50, "train.batch_size": 4}
    assert own == recipe("mini_zegclip", changes, seed=3).model_copy(update={"recipe": "short"})


def test_a_recipe_file_may_have_a_file_as_parent(tmp_path: Path) -> None:
    _write(tmp_path, "base.yaml", "parent: zegclip_voc12\ntrain: {iterations: 50, batch_size: 2}\n")
    own = recipe(_write(tmp_path, "own.yml", "parent: base.yaml\nclip: ViT-L-14\ntrain.iterations: 7\n"))
    assert (own.recipe, own.train.iterations, own.train.batch_size) == ("own", 7, 2)
    assert own.model.clip.name == "ViT-L-14"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {iterations: 50}", "own.yaml: parent is None; name the recipe that it changes"),
        ("parent: nope", "own.yaml: unknown recipe 'nope'; known are mini_zegclip, "),
        ("parent: mini_zegclip\ntrain: {steps: 5}", "own.yaml: unknown override 'train.steps': TrainConfig has iter"),
        ("parent: mini_zegclip\nseed: 5", "own.yaml: override 'seed': seed is stated by --seed"),
        ("parent: own.yaml", "more than 16 recipe files in a row"),
        ("- parent", "hold .*expected sections"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(_write(tmp_path, "own.yaml", text))


def test_every_recipe_has_a_sentence() -> None:
    assert list(recipe_summaries()) == list(recipe_names())
    assert all(len(sentence) > 10 for sentence in recipe_summaries().values())
