"""Label files: the label set they describe, the name of their protocol, and the errors for invalid ones."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cascade_core.configs.changes import with_overrides
from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import split_of
from cascade_core.labels.label_file import LabelFile, read_label_file
from cascade_core.labels.label_set import IGNORE, INVALID

PETS: dict[str, Any] = {
    "name": "pets",
    "classes": [
        "cat",
        {"name": "dog", "synonyms": ["puppy", "hound"], "colour": "orange"},
        {"name": "gold  fish", "colour": [1, 2, 3]},
    ],
    "unseen": ["dog"],
    "background": {"id": 0, "policy": "threshold", "threshold": 0.3},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "pets.yaml"
    content = {key: value for key, value in (PETS | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def test_the_path_of_a_label_file_is_a_protocol(tmp_path: Path) -> None:
    split = protocol(str(written(tmp_path)))
    assert split.classes == ("cat", "dog", "gold fish")
    assert split.unseen_names == ("dog",) and split.seen == (0, 2)
    assert split.label_set.synonyms == ((), ("puppy", "hound"), ())
    assert split.label_set.colours == ("", "#ffa500", "#010203")


def test_classes_are_numbered_after_a_background_of_zero(tmp_path: Path) -> None:
    table = protocol(str(written(tmp_path))).label_set.raw_to_train
    assert table == (IGNORE, 0, 1, 2, *[INVALID] * 251, IGNORE)


def test_classes_are_numbered_from_zero_without_background(tmp_path: Path) -> None:
    table = protocol(str(written(tmp_path, background=None))).label_set.raw_to_train
    assert table == (0, 1, 2, *[INVALID] * 252, IGNORE)


def test_ids_of_label_maps_may_be_stated(tmp_path: Path) -> None:
    classes = [{"name": "猫", "id": 255}, {"name": "dog, big", "id": 7}]
    path = written(tmp_path, classes=classes, ignore_id=9, unseen=[], background=None)
    split = protocol(str(path))
    stated = {raw: train for raw, train in enumerate(split.label_set.raw_to_train) if train != INVALID}
    assert stated == {255: 0, 7: 1, 9: IGNORE}
    assert split.classes == ("猫", "dog, big")


def test_background_is_ignored_unless_it_is_a_class(tmp_path: Path) -> None:
    split = protocol(str(written(tmp_path)))
    counted = split.with_background()
    assert split.label_set.raw_to_train[0] == IGNORE
    assert counted.classes == ("cat", "dog", "gold fish", "background")
    assert counted.label_set.raw_to_train[0] == 3
    assert counted.unseen == split.unseen and 3 in counted.seen
    assert counted.foreground().label_set.raw_to_train == split.label_set.raw_to_train
    assert counted.foreground().classes == split.classes


@pytest.mark.parametrize(
    "change",
    [
        {"unseen": []},
        {"ignore_id": 254},
        {"classes": ["cat", "dog", "gold fish"]},
        {"background": {"id": 9}},
    ],
)
def test_fields_that_affect_scores_change_the_protocols_name(tmp_path: Path, change: dict[str, Any]) -> None:
    first = protocol(str(written(tmp_path))).name
    assert first.startswith("pets-")
    assert protocol(str(written(tmp_path, **change))).name != first


def test_colours_and_background_policy_keep_the_protocols_name(tmp_path: Path) -> None:
    first = protocol(str(written(tmp_path)))
    classes = [*PETS["classes"][:2], "gold fish"]
    again = protocol(str(written(tmp_path, classes=classes, background={"id": 0})))
    assert (again.name, again.label_set.name) == (first.name, first.label_set.name)


def test_the_label_set_does_not_depend_on_unseen_classes(tmp_path: Path) -> None:
    first = protocol(str(written(tmp_path))).label_set
    assert protocol(str(written(tmp_path, unseen=["cat"]))).label_set.name == first.name
    other = written(tmp_path, unseen=[], classes=["cat", "cow", "gold fish"])
    assert protocol(str(other)).label_set.name != first.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clases": []}, "pets.yaml: clases: unknown key; known are name, classes, unseen, ignore_id, ignore_colours, background"),
        ({"classes": ["cat", {"name": "dog", "id": 300}]}, r"classes\.1\.id: .* less than or equal to 255"),
        ({"classes": ["cat", {"name": "dog", "colr": 1}]}, r"classes\.1\.colr: unknown key; known are name, id"),
        ({"classes": [{"name": "dog", "colour": "blurple"}]}, r"classes\.0\.colour: unknown color .*'blurple'"),
        ({"classes": [{"name": "dog", "colour": [1, 2]}]}, r"classes\.0\.colour: a colour is three numbers"),
        ({"classes": ["cat", {"name": "dog", "id": 1}]}, "class 'cat' has no id, but others have"),
        ({"classes": [{"name": "dog", "id": 0}]}, "id 0 stands for class 'dog' and background"),
        ({"classes": ["dog"] * 2}, "dog is named twice"),
        ({"classes": ["Puppy", *PETS["classes"]]}, "puppy is named twice"),
        ({"classes": ["dog", "background"]}, "no class can be named 'background'"),
        ({"classes": ["dog", " "]}, r"classes\.1\.name: a name is empty"),
        ({"classes": [{"name": "dog", "synonyms": [False]}]}, r"classes\.0\.synonyms\.0: a name is text.*got False"),
        ({"classes": ["cat", 1]}, r"classes\.1\.name: a name is text; put quotes around it.*got 1"),
        ({"classes": [], "unseen": []}, "classes has 0 entries; 8-bit label maps have room for 1 to 253"),
        ({"classes": None}, "classes: is missing; expected such as"),
        ({"unseen": ["cow"]}, r"unseen classes \['cow'\] of label file 'pets' .*; it has cat, dog, gold fish"),
        ({"unseen": ["cat", "dog", "gold fish"]}, "leaves no class seen"),
        ({"background": {"policy": "threshold"}}, "background: threshold=None does not go with"),
        ({"background": {"policy": "dropped", "names": ["sky"]}}, r"background: names=\['sky'\] do not go"),
        ({"name": "../pets"}, "name: String should match pattern"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_label_file(written(tmp_path, **change))


def test_one_error_lists_all_wrong_fields(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pets\.yaml:\n  - name: .*\n  - unseen: "):
        read_label_file(written(tmp_path, name=3, unseen="dog"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "is not YAML"),
        (b"- cat", "expected keys and values"),
        (b"\xff\xfe\xfa", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_label_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=f"labels.yaml.* {message}"):
        protocol(str(tmp_path / "labels.yaml"))
    with pytest.raises(ValueError, match=r"none.yml cannot be read \(No such file"):
        protocol(str(tmp_path / "none.yml"))


def test_an_override_puts_the_whole_file_into_the_configuration(tmp_path: Path) -> None:
    path = written(tmp_path)
    config = recipe("mini_cascade_clip", {"data.protocol": str(path)})
    content = read_label_file(path)
    path.unlink()
    assert config.data.own == content
    assert config.data.split == split_of(content) and config.data.protocol == content.protocol
    assert config.evaluate.background == Background(policy="threshold", threshold=0.3)
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_a_named_protocol_replaces_an_earlier_label_file(tmp_path: Path) -> None:
    config = recipe("mini_cascade_clip", {"data.protocol": str(written(tmp_path))})
    named = with_overrides(config, {"data.protocol": "mini-18-6"})
    assert named.data.own is None and named.data.split == protocol("mini-18-6")


def test_an_overridden_background_policy_wins_over_the_files(tmp_path: Path) -> None:
    overrides = {"data.protocol": str(written(tmp_path)), "evaluate.background": {"policy": "dropped"}}
    assert recipe("mini_zegclip", overrides).evaluate.background == Background()


def test_a_protocol_that_differs_from_the_files_is_refused() -> None:
    own = LabelFile.model_validate(PETS).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"protocol='mini-18-6' differs from 'pets-"):
        with_overrides(recipe("mini_zegclip"), {"data.own": own})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [cat]\nname: a\nclasses: [dog]\n", "pets.yaml is not YAML: key 'classes' stands twice"),
        ("name: a\nclasses: [{name: cat, name: dog}]\n", "key 'name' stands twice"),
    ],
)
def test_a_repeated_key_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pets.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_file(tmp_path / "pets.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 2: write the value out"),
        ("name: !!int ''\n", "leave out the tag 'tag:yaml.org,2002:int'"),
        ("name: " + "[" * 5000, "nest at most 50 levels"),
        ("name: 2001-99-99\n", "is not YAML: month must be in 1..12"),
        ("a" * 2**21, "has more than 1,048,576 bytes"),
        (f"name: {'x' * 3000}\nclasses: [a]\n", "pattern .*"),
    ],
)
def test_yaml_made_to_harm_is_refused_in_few_words(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_label_file(tmp_path / "a.yaml")
    assert len(str(caught.value)) < 1000


def test_colours_of_label_maps_stand_for_ids(tmp_path: Path) -> None:
    classes = [{"name": "cat", "map_colours": ["red", [1, 2, 3]]}, {"name": "dog", "map_colours": ["#00F"]}]
    background = {"id": 0, "map_colours": ["black"]}
    colours: dict[str, Any] = {"classes": classes, "background": background, "ignore_colours": ["white"]}
    own = read_label_file(written(tmp_path, **colours))
    ids = {"#ff0000": 1, "#010203": 1, "#0000ff": 2, "#000000": 0, "#ffffff": 255}
    assert own.map_colours == ids
    assert own.colours_of(["dog", "cat"]) == own.label_set().colours[::-1] == ("#0000ff", "#ff0000")
    assert own.protocol == read_label_file(written(tmp_path, classes=["cat", "dog"])).protocol
    assert read_label_file(written(tmp_path)).map_colours == {}
    for changes, problem in (
        ({"classes": [*classes, "fish"]}, "class 'fish' has no map_colours"),
        ({"ignore_colours": ["red"]}, "colour #ff0000 stands for class 'cat' and ignore_colours"),
        ({"ignore_id": None, "background": None}, "need an id"),
        ({"ignore_colours": [""]}, "ignore_colours"),
    ):
        with pytest.raises(ValueError, match=problem):
            LabelFile.model_validate({"name": "pets", **colours, **changes})
