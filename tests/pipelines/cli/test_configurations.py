"""`cascade-clip recipes` and `protocols`: lists, whole configurations, and what is unknown."""

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from cascade_core.configs.config import RunConfig
from cascade_core.configs.model import ModelConfig
from cascade_core.configs.recipes import recipe, recipe_names
from cascade_core.datasets.catalogue import protocol, protocols
from pipelines.cli.app import app


def _printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_lists_name_everything() -> None:
    assert [row["recipe"] for row in json.loads(_printed("recipes", "--json"))] == list(recipe_names())
    names = [row["protocol"] for row in json.loads(_printed("protocols", "--json"))]
    assert names == [split.name for split in protocols()]
    assert "voc12-15-5" in _printed("protocols") and "zegclip_cocostuff" in _printed("recipes")


def test_a_recipe_is_printed_whole_with_overrides() -> None:
    printed = yaml.safe_load(_printed("recipes", "mini_zegclip", "--set", "train.iterations=20"))
    config = recipe("mini_zegclip", {"train.iterations": 20})
    assert RunConfig.model_validate(printed) == config
    assert printed.keys() == RunConfig.model_fields.keys()
    # Files leave these out at their published values; people find them here.
    assert printed["model"].keys() == ModelConfig.model_fields.keys() > config.model_dump()["model"].keys()


def test_a_protocol_is_printed_with_its_classes(tmp_path: Path) -> None:
    printed = yaml.safe_load(_printed("protocols", "voc12-15-5"))
    assert printed["unseen"] == list(protocol("voc12-15-5").unseen_names)
    assert len(printed["seen"]) == 15
    labels = tmp_path / "pets.yaml"
    labels.write_text("name: pets\nclasses: [cat, {name: dog, synonyms: [puppy]}]\nunseen: [dog]\n")
    printed = yaml.safe_load(_printed("protocols", str(labels)))
    assert (printed["seen"], printed["unseen"], printed["synonyms"]) == (["cat"], ["dog"], {"dog": ["puppy"]})


def test_overrides_without_a_recipe_are_refused() -> None:
    done = CliRunner().invoke(app, ["recipes", "--set", "train.iterations=20"])
    assert done.exit_code == 2 and "name it: cascade-clip recipes NAME" in done.stderr
