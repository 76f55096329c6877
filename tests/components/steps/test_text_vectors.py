"""The text-vectors step: from a CLIP or from a file, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cascade_core.clip.text import class_vectors, template_vectors, text_tokens
from cascade_core.clip.weights import load_clip
from cascade_core.configs.templates import TemplateSet
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.artifacts.manifest import read_step_manifest
from components.steps import text_vectors
from components.vectors import vector_files
from tests.tiny import write_tiny_clip

MINI = protocol("mini-18-6")
TEMPLATES = ("a photo of a {}",)
UNIT = np.full((23, 4), 0.5)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_tiny_clip(tmp_path / "clip")
    return tmp_path / "clip"


def _given(folder: Path, rows: np.ndarray) -> Path:
    np.save(folder / "vectors.npy", rows)
    return folder / "vectors.npy"


def test_vectors_are_those_of_the_text_tower(clip: Path, tmp_path: Path) -> None:
    text_vectors.run(protocol=MINI.name, templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    model, tokenizer = load_clip(clip)
    read = vector_files.read_class_vectors(tmp_path / "text", MINI)
    torch.testing.assert_close(read, class_vectors(model.text, tokenizer, MINI.classes, TEMPLATES))
    manifest = read_step_manifest(tmp_path / "text")
    assert manifest.parameters == {"protocol": MINI.name, "templates": list(TEMPLATES)}
    assert set(manifest.inputs) == {"clip"}


def test_random_vectors_need_no_clip_and_stay_the_same(tmp_path: Path) -> None:
    for out in ("one", "two"):
        text_vectors.run(
            protocol=MINI.name,
            recipe="mini_zegclip",
            random_clip=True,
            background=("sky",),
            out=tmp_path / out,
        )
    one, two = (vector_files.read_class_vectors(tmp_path / out, MINI) for out in ("one", "two"))
    assert torch.equal(one, two)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(24))
    assert (one @ one.T).triu(1).max() < 0.9
    assert vector_files.background_names(tmp_path / "one") == ("sky",)
    assert read_step_manifest(tmp_path / "one").parameters["random_clip"] is True


def test_random_vectors_are_as_wide_as_a_recipes_clip(clip: Path, tmp_path: Path) -> None:
    sources = {"protocol": MINI.name, "random_clip": True, "out": tmp_path / "text"}
    with pytest.raises(ValueError, match="give --recipe"):
        text_vectors.run(templates=TEMPLATES, **sources)
    with pytest.raises(ValueError, match="from --random-clip: give exactly one"):
        text_vectors.run(recipe="mini_zegclip", clip=clip, **sources)


def test_given_vectors_become_float32_and_stay_as_they_are(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(24, 5))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    text_vectors.run(
        protocol=MINI.name, templates=TEMPLATES, vectors=_given(tmp_path, rows), out=tmp_path / "text"
    )
    read = vector_files.read_class_vectors(tmp_path / "text", MINI)
    assert torch.equal(read, torch.from_numpy(rows.astype(np.float32)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((23, 4)), r"shape \(23, 4\), expected a row of float numbers for each of the 24 classes"),
        (np.ones(24), r"shape \(24,\), expected"),
        (np.vstack([UNIT, np.zeros((1, 4))]), "vectors of pool are not finite and of unit length"),
        (np.vstack([np.full((1, 4), np.nan), UNIT]), "vectors of zebra are not finite and of unit length"),
    ],
)
def test_given_vectors_that_do_not_fit_are_refused(tmp_path: Path, rows: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_vectors.run(
            protocol=MINI.name, templates=TEMPLATES, vectors=_given(tmp_path, rows), out=tmp_path / "text"
        )
    assert not (tmp_path / "text").exists()


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vectors.npy").write_bytes(b"PK no array")
    with pytest.raises(ValueError, match=r"vectors\.npy cannot be read as \.npy"):
        text_vectors.run(
            protocol=MINI.name, templates=TEMPLATES, vectors=tmp_path / "vectors.npy", out=tmp_path / "text"
        )


def test_missing_clip_weights_are_named_with_the_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clip/config\.json is missing.*dvc pull"):
        text_vectors.run(
            protocol=MINI.name, templates=TEMPLATES, clip=tmp_path / "clip", out=tmp_path / "text"
        )


def test_one_source_is_asked_for(clip: Path, tmp_path: Path) -> None:
    for sources in ({}, {"clip": clip, "vectors": clip}):
        with pytest.raises(ValueError, match="give exactly one"):
            text_vectors.run(protocol=MINI.name, templates=TEMPLATES, out=tmp_path / "text", **sources)


def test_vectors_of_other_classes_are_refused_on_reading(clip: Path, tmp_path: Path) -> None:
    text_vectors.run(protocol=MINI.name, templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    with pytest.raises(ValueError, match=r"names\.json: 24 names differ from the 20 classes of 'voc12-15-5'"):
        vector_files.read_class_vectors(tmp_path / "text", protocol("voc12-15-5"))
    write_json(tmp_path / "text" / "names.json", list(reversed(MINI.classes)))
    with pytest.raises(ValueError, match="number or order"):
        vector_files.read_class_vectors(tmp_path / "text", MINI)


def test_broken_vectors_are_refused_on_reading(clip: Path, tmp_path: Path) -> None:
    text_vectors.run(protocol=MINI.name, templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    (tmp_path / "text" / "class_vectors.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(ValueError, match=r"class_vectors\.safetensors cannot be read as safetensors"):
        vector_files.read_class_vectors(tmp_path / "text", MINI)


def test_synonyms_are_averaged_and_recorded(clip: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text("name: cats\nclasses: [{name: zebra, synonyms: [tiger]}, grass]\nunseen: [grass]\n")
    text_vectors.run(protocol=str(labels), templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    model, tokenizer = load_clip(clip)
    synonyms: list[list[str]] = [["tiger"], []]
    expected = class_vectors(model.text, tokenizer, ["zebra", "grass"], TEMPLATES, synonyms=synonyms)
    read = vector_files.read_class_vectors(tmp_path / "text", protocol(str(labels)))
    assert torch.equal(read, expected)
    assert read_step_manifest(tmp_path / "text").parameters["synonyms"] == synonyms


def test_every_synonym_keeps_a_vector(clip: Path, tmp_path: Path) -> None:
    labels, text = tmp_path / "labels.yaml", tmp_path / "text"
    labels.write_text("name: cats\nclasses: [grass, {name: zebra, synonyms: [tiger]}]\nunseen: [grass]\n")
    split = protocol(str(labels))
    text_vectors.run(protocol=str(labels), templates=TEMPLATES, clip=clip, out=text)
    model, tokenizer = load_clip(clip)
    expected = class_vectors(model.text, tokenizer, ["grass", "zebra", "tiger"], TEMPLATES).split([1, 2])
    groups = vector_files.read_name_vectors(text, split)
    assert all(torch.equal(one, other) for one, other in zip(groups, expected, strict=True))
    write_json(text / "names_by_class.json", [["grass"], ["zebra", "lion"]])
    with pytest.raises(ValueError, match=r"names_by_class\.json: the names differ from those of the classes"):
        vector_files.read_name_vectors(text, split)
    # As the step wrote folders before it kept synonyms.
    (text / "names_by_class.json").unlink()
    assert len(vector_files.read_class_vectors(text, split)) == 2
    with pytest.raises(ValueError, match=r"not the vector of each.*run the text-vectors step again"):
        vector_files.read_name_vectors(text, split)


def test_without_synonyms_each_class_has_one_vector(clip: Path, tmp_path: Path) -> None:
    text_vectors.run(protocol=MINI.name, templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    assert not (tmp_path / "text" / "names_by_class.json").exists()
    groups = vector_files.read_name_vectors(tmp_path / "text", MINI)
    assert torch.equal(torch.cat(groups), vector_files.read_class_vectors(tmp_path / "text", MINI))
    assert {len(group) for group in groups} == {1}


def test_vectors_of_any_names_are_written_with_them(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("grass\n\n zebra | tiger |taxi\nsand, lava\n")
    names, synonyms = vector_files.read_names(tmp_path / "names.txt")
    assert (names, synonyms) == (["grass", "zebra", "sand, lava"], [[], ["tiger", "taxi"], []])
    made = text_vectors.run(
        names=tmp_path / "names.txt", templates=TEMPLATES, clip=clip, out=tmp_path / "text"
    )
    assert (made.num_classes, made.embed_dim) == (3, 16)
    assert read_json(tmp_path / "text" / "names.json") == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "has no class name"),
        (b"cat\ndog |\n", "line 2: an empty name"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (None, "cannot be read \\(No such file"),
    ],
)
def test_a_file_of_names_that_is_none_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        vector_files.read_names(tmp_path / "names.txt")


def test_names_that_come_twice_are_refused(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("zebra\nZebra\n")
    with pytest.raises(ValueError, match="names zebra come more than once"):
        text_vectors.run(names=tmp_path / "names.txt", templates=TEMPLATES, clip=clip, out=tmp_path / "text")


def test_the_step_takes_one_source_of_names_and_one_of_templates(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("zebra | tiger\ngrass\n")
    names = {"names": tmp_path / "names.txt", "clip": clip, "out": tmp_path / "text"}
    text_vectors.run(**names, templates=["a photo of a {}", "the {}"])
    assert read_step_manifest(tmp_path / "text").parameters == {
        "templates": ["a photo of a {}", "the {}"],
        "synonyms": [["tiger"], []],
    }
    single = {"template_set": TemplateSet.single}
    for arguments, message in (
        (names, "prompt templates come from"),
        ({**names, **single, "recipe": "mini_zegclip"}, "prompt templates come from"),
        (single, "class names come from"),
        ({**names, **single, "protocol": "mini-18-6"}, "class names come from"),
        ({**names, **single, "vectors": tmp_path / "x.npy"}, "give exactly one"),
    ):
        with pytest.raises(ValueError, match=message):
            text_vectors.run(**{"out": tmp_path / "text", **arguments})


def test_a_recipe_that_reads_templates_keeps_their_vectors(clip: Path, tmp_path: Path) -> None:
    for recipe in ("mini_zegclip", "mini_otseg"):
        text_vectors.run(
            protocol=MINI.name, recipe=recipe, clip=clip, background=["picture"], out=tmp_path / recipe
        )
    mean, kept = tmp_path / "mini_zegclip", tmp_path / "mini_otseg"
    rows = vector_files.read_class_vectors(kept, MINI, form="templates")
    assert rows.shape == (24, 3, 16)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(24, 3))
    assert torch.equal(
        vector_files.read_class_vectors(kept, MINI), vector_files.read_class_vectors(mean, MINI)
    )
    assert torch.equal(vector_files.read_class_vectors(kept, MINI), F.normalize(rows.mean(dim=1), dim=-1))
    assert vector_files.read_background_vectors(kept, ["picture"], form="templates").shape == (1, 3, 16)
    assert read_step_manifest(kept).parameters["by_template"] is True
    with pytest.raises(
        UserError, match="the mean over the prompt templates but not the vector of each.*--by-template"
    ):
        vector_files.read_class_vectors(mean, MINI, form="templates")


def test_synonyms_have_the_vectors_of_every_template(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("zebra | tiger\ngrass\n")
    templates = ("a photo of a {}", "the {}")
    text_vectors.run(
        names=tmp_path / "names.txt", templates=templates, clip=clip, by_template=True, out=tmp_path / "text"
    )
    model, tokenizer = load_clip(clip)
    single = template_vectors(model.text, tokenizer, ["zebra", "tiger", "grass"], templates)
    rows = vector_files.read_class_vectors(tmp_path / "text", None, form="templates")
    torch.testing.assert_close(rows[0], F.normalize(single[:2].mean(dim=0), dim=-1))
    torch.testing.assert_close(rows[1], single[2])


def test_a_file_may_hold_the_vectors_of_every_template(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(24, 3, 8))
    file = _given(tmp_path, rows / np.linalg.norm(rows, axis=-1, keepdims=True))
    text_vectors.run(protocol=MINI.name, recipe="mini_otseg", vectors=file, out=tmp_path / "text")
    assert vector_files.read_class_vectors(tmp_path / "text", MINI, form="templates").shape == (24, 3, 8)
    assert vector_files.read_class_vectors(tmp_path / "text", MINI).shape == (24, 8)
    with pytest.raises(UserError, match="vectors of 3 templates, but 1 templates are named"):
        text_vectors.run(protocol=MINI.name, templates=TEMPLATES, vectors=file, out=tmp_path / "other")
    flat = _given(tmp_path, np.eye(24, 24))
    with pytest.raises(UserError, match=r"shape \(24, 24\), expected \[24, 3, width\]"):
        text_vectors.run(protocol=MINI.name, recipe="mini_otseg", vectors=flat, out=tmp_path / "other")


def test_random_vectors_of_templates_are_those_of_the_texts(tmp_path: Path) -> None:
    text_vectors.run(protocol=MINI.name, recipe="mini_otseg", random_clip=True, out=tmp_path / "text")
    rows = vector_files.read_class_vectors(tmp_path / "text", MINI, form="templates")
    assert rows.shape == (24, 3, 64) and len(torch.unique(rows.flatten(0, 1), dim=0)) == 72


def test_a_recipe_that_trains_the_text_tower_keeps_tokens(clip: Path, tmp_path: Path) -> None:
    text_vectors.run(
        protocol=MINI.name, recipe="mini_cat_seg", clip=clip, background=["picture"], out=tmp_path / "a"
    )
    _, tokenizer = load_clip(clip)
    templates = read_step_manifest(tmp_path / "a").parameters["templates"]
    tokens = vector_files.read_class_vectors(tmp_path / "a", MINI, form="tokens")
    assert torch.equal(tokens, text_tokens(tokenizer, MINI.classes, templates).float())
    assert vector_files.read_background_vectors(tmp_path / "a", ["picture"], form="tokens").shape == (
        1,
        3,
        20,
    )
    text_vectors.run(protocol=MINI.name, recipe="mini_zegclip", clip=clip, out=tmp_path / "b")
    assert torch.equal(
        vector_files.read_class_vectors(tmp_path / "a", MINI),
        vector_files.read_class_vectors(tmp_path / "b", MINI),
    )
    with pytest.raises(UserError, match="but not the tokens of the texts, which this model reads"):
        vector_files.read_class_vectors(tmp_path / "b", MINI, form="tokens")


def test_the_tokens_of_a_class_are_its_first_names(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("zebra | tiger\ngrass\n")
    text_vectors.run(
        names=tmp_path / "names.txt", templates=TEMPLATES, clip=clip, by_template=True, out=tmp_path / "text"
    )
    _, tokenizer = load_clip(clip)
    tokens = vector_files.read_class_vectors(tmp_path / "text", None, form="tokens")
    assert torch.equal(tokens, text_tokens(tokenizer, ["zebra", "grass"], TEMPLATES).float())
