"""The preflight: what it lets through, and the mix-up of Context's two orders in each form that it can take."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import ClipModel, load_text_tower, save_clip
from cascade_core.data.prepared import read_index
from cascade_core.datasets.context import CLASSES as CONTEXT_59
from cascade_core.datasets.context import LITERATURE_CLASSES
from cascade_core.runtime.files import read_json, write_json
from components.bodies import before_training
from components.inputs.preflight import preflight
from components.steps import prepare_custom, prepare_dataset, splits, text_vectors, train
from tests import official_files as files
from tests.tiny import TINY_CLIP

TEMPLATES = ("a photo of a {}",)
CAT, DOG = (1 + CONTEXT_59.index(name) for name in ("cat", "dog"))
MAPS = {"train": {"2008_000002": files.halves(CAT, 59)}, "val": {"2008_000009": files.halves(1, DOG)}}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP that knows Context's words, and distinguishes them no better than random weights do."""
    folder = tmp_path_factory.mktemp("clip") / "clip"
    words = ["a", "photo", "of", *CONTEXT_59]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_clip(folder, ClipModel(TINY_CLIP.model_copy(update={"vocab_size": len(words) + 3})), words=words)
    return folder


@pytest.fixture(scope="module")
def released_vectors(clip: Path) -> Path:
    """Ready vectors in the alphabetical order of the released code, as a float16 file like the authors'."""
    tower, tokenizer = load_text_tower(clip)
    rows = class_vectors(tower, tokenizer, CONTEXT_59, TEMPLATES)
    np.save(clip.parent / "context-59.npy", rows.numpy().astype(np.float16))
    return clip.parent / "context-59.npy"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Context prepared and split for each of its two orders."""
    folder = tmp_path_factory.mktemp("context")
    (folder / "downloads").mkdir()
    files.context(folder / "downloads", MAPS, {})
    for order in ("released", "literature"):
        prepare_dataset.run(
            name="context",
            sources=[folder / "downloads"],
            raw=folder / "raw",
            protocol=f"context59-{order}",
            allow_subset=True,
            out=folder / f"prepared-{order}",
        )
        splits.run(
            prepared=folder / f"prepared-{order}",
            protocol=f"context59-{order}",
            out=folder / f"splits-{order}",
        )
    return {path.name: path for path in folder.iterdir()}


def steps(data: dict[str, Path], order: str, text: Path) -> dict[str, Path]:
    return {"prepared": data[f"prepared-{order}"], "splits": data[f"splits-{order}"], "text": text}


@pytest.mark.parametrize("order", ["released", "literature"])
def test_each_order_passes_with_vectors_of_its_own(
    order: str, data: dict[str, Path], clip: Path, released_vectors: Path, tmp_path: Path
) -> None:
    text_vectors.run(protocol=f"context59-{order}", templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    report = preflight(
        **steps(data, order, tmp_path / "text"), clip=clip, stored=released_vectors, stored_order="context59"
    )
    assert report.protocol == f"context59-{order}"
    assert sum("each of 59 is nearest to its own name" in sentence for sentence in report.passed) == 2


def test_clip_reveals_vectors_in_the_order_of_another_label_set(
    data: dict[str, Path], clip: Path, released_vectors: Path, tmp_path: Path
) -> None:
    """Count, width and length are right, and the step that takes them cannot know better."""
    text = tmp_path / "text"
    text_vectors.run(protocol="context59-literature", templates=TEMPLATES, vectors=released_vectors, out=text)
    assert read_json(text / "names.json") == list(LITERATURE_CLASSES)
    preflight(**steps(data, "literature", text))
    with pytest.raises(
        ValueError, match="of 59 vectors belong to other names.* order of label set context59;"
    ):
        preflight(**steps(data, "literature", text), clip=clip)


def test_stored_vectors_reveal_the_order_of_another_label_set(
    data: dict[str, Path], released_vectors: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text_vectors.run(protocol="context59-literature", templates=TEMPLATES, vectors=released_vectors, out=text)
    with pytest.raises(ValueError, match="of 59 vectors belong to other names"):
        preflight(**steps(data, "literature", text), stored=released_vectors, stored_order="context59")


def test_training_refuses_vectors_in_another_order(
    data: dict[str, Path], clip: Path, released_vectors: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text_vectors.run(protocol="context59-literature", templates=TEMPLATES, vectors=released_vectors, out=text)
    with pytest.raises(ValueError, match="of 59 vectors belong to other names"):
        train.run(
            **steps(data, "literature", text),
            clip=clip,
            recipe="cascade_context59",
            overrides={"data.protocol": "context59-literature"},
            seed=0,
            out=tmp_path / "train",
        )
    assert not (tmp_path / "train").exists()


def test_label_maps_prepared_for_the_other_order_are_found_out(
    data: dict[str, Path], clip: Path, tmp_path: Path
) -> None:
    text_vectors.run(protocol="context59-literature", templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    mixed = steps(data, "literature", tmp_path / "text") | {"prepared": data["prepared-released"]}
    with pytest.raises(
        ValueError, match=r"label_set is 'context59', the protocol needs 'context59-literature'"
    ):
        preflight(**mixed)


def test_the_literatures_indices_on_released_names_are_found_out(
    data: dict[str, Path], clip: Path, tmp_path: Path
) -> None:
    text_vectors.run(protocol="context59-literature", templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    content = read_json(data["splits-literature"] / "split.json")
    indices = [LITERATURE_CLASSES.index(name) for name in content["unseen"]]
    (tmp_path / "splits").mkdir()
    write_json(
        tmp_path / "splits" / "split.json", content | {"unseen": [CONTEXT_59[index] for index in indices]}
    )
    mixed = steps(data, "literature", tmp_path / "text") | {"splits": tmp_path / "splits"}
    with pytest.raises(
        ValueError, match=r"unseen: 10 names differ from the 10 of protocol 'context59-literature'"
    ):
        preflight(**mixed)


def test_absent_classes_and_a_partial_data_set_are_noted(
    data: dict[str, Path], clip: Path, tmp_path: Path
) -> None:
    text_vectors.run(protocol="context59-released", templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    notes = preflight(**steps(data, "released", tmp_path / "text")).notes
    assert notes[0].startswith("order of text vectors: not checked")
    assert any("no pixel in split 'val' of 9 unseen classes: bed, bedclothes" in note for note in notes)
    assert notes[-1].startswith("data: a part of context only, 1 of 4,996 train, 1 of 5,104 val")


def test_data_prepared_by_an_earlier_version_pass_with_a_note(
    data: dict[str, Path], clip: Path, tmp_path: Path
) -> None:
    text_vectors.run(protocol="context59-released", templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    folders = steps(data, "released", tmp_path / "text")
    older = folders["prepared"].with_name("older")  # beside it, for it points to its pictures relatively
    shutil.copytree(folders["prepared"], older)
    summary = read_json(older / "summary.json")
    for counts in summary["splits"].values():
        del counts["pixels"]
    write_json(older / "summary.json", summary)
    index = read_index(older).drop(columns="pixels")
    index.to_parquet(older / "index.parquet", index=False)
    notes = preflight(**(folders | {"prepared": older})).notes
    assert [note for note in notes if note.startswith("label maps")] == [
        f"label maps: {older} was prepared without counting pixels; run the prepare step again"
    ]


def test_stored_vectors_of_other_classes_are_refused(
    data: dict[str, Path], clip: Path, tmp_path: Path
) -> None:
    text_vectors.run(protocol="context59-released", templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    np.save(tmp_path / "mini.npy", np.eye(24, 16, dtype=np.float32) + np.eye(24, 16, -16, dtype=np.float32))
    with pytest.raises(ValueError, match="share a vector"):
        preflight(
            **steps(data, "released", tmp_path / "text"), stored=tmp_path / "mini.npy", stored_order="mini24"
        )


def test_the_steps_before_training_are_checked_together(
    data: dict[str, Path], clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before_training.run(
        raw=data["raw"],
        clip=clip,
        protocol="context59",
        image_sets={"val": "val"},
        templates=TEMPLATES,
        prepared=tmp_path / "prepared",
        split=tmp_path / "splits",
        text=tmp_path / "text",
    )
    assert "preflight: text vectors: 59 different unit vectors, 16 wide" in caplog.messages


@pytest.fixture
def own(tmp_path: Path, clip: Path) -> dict[str, Path]:
    """The steps of a label file with a synonym and names for background, on one picture."""
    for name, content in (
        ("images/a.jpg", files.photograph()),
        ("maps/a.png", files.label_map(files.halves(1, 0))),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    labels = tmp_path / "pets.yaml"
    labels.write_text(
        "name: pets\nclasses: [{name: cat, synonyms: [sheep]}, dog]\n"
        "background: {id: 0, policy: prompts, names: [sky, wall]}\n"
    )
    prepare_custom.run(
        labels=labels,
        images=tmp_path / "images",
        maps=tmp_path / "maps",
        splits={"train": _listed(tmp_path, "a")},
        out=tmp_path / "prepared",
    )
    splits.run(prepared=tmp_path / "prepared", protocol=str(labels), out=tmp_path / "splits")
    text_vectors.run(protocol=str(labels), templates=TEMPLATES, clip=clip, out=tmp_path / "text")
    return {name: tmp_path / name for name in ("prepared", "splits", "text")}


def _listed(folder: Path, *names: str) -> str:
    (folder / "list.txt").write_bytes(files.lines(names))
    return str(folder / "list.txt")


def test_synonyms_and_background_names_are_compared(own: dict[str, Path], clip: Path) -> None:
    passed = preflight(**own, clip=clip).passed
    assert (
        f"order of text vectors: each of 2 is nearest to its own name by the text tower of {clip} (cosine at least 1.000"
        in "".join(passed)
    )
    assert "background vectors: 2 different unit vectors, of sky, wall" in passed
    assert passed[-1].startswith("order of background vectors: each of 2")


def test_stored_vectors_of_a_label_file_are_in_its_own_order(own: dict[str, Path], tmp_path: Path) -> None:
    vectors = load_file(own["text"] / "class_vectors.safetensors")["class_vectors"]
    np.save(tmp_path / "stored.npy", vectors.numpy())
    assert "each of 2 is nearest to its own name" in "".join(
        preflight(**own, stored=tmp_path / "stored.npy").passed
    )
    np.save(tmp_path / "stored.npy", vectors.numpy()[::-1])
    with pytest.raises(ValueError, match="2 of 2 vectors belong to other names"):
        preflight(**own, stored=tmp_path / "stored.npy")


def test_missing_vectors_of_background_names_are_reported(own: dict[str, Path]) -> None:
    (own["text"] / "background_names.json").unlink()
    with pytest.raises(ValueError, match="for background are of no name"):
        preflight(**own)


def test_context_with_background_needs_vectors_of_59_names(
    data: dict[str, Path], released_vectors: Path, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("prepared", "splits", "text")}
    prepare_dataset.run(
        name="context",
        sources=[],
        raw=data["raw"],
        protocol="context60",
        allow_subset=True,
        out=folders["prepared"],
    )
    splits.run(prepared=folders["prepared"], protocol="context60", out=folders["splits"])
    text_vectors.run(protocol="context60", templates=TEMPLATES, vectors=released_vectors, out=folders["text"])
    report = preflight(**folders, stored=released_vectors)
    assert "each of 59 is nearest to its own name" in "".join(report.passed)
    assert report.notes[-1].startswith(
        "background: a class of protocol 'context60'; evaluate it with --background"
    )
