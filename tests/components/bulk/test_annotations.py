"""What `predict --gather --format` writes of shards: in little memory, by names relative to one folder, or not at all."""

import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from cascade_core.bulk.shards import Shard
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.bulk import gather, shard
from components.bulk.annotations import Names
from components.exchange.formats import format_named
from components.exchange.labelled import About, LabelledPicture
from components.exchange.names import FormatName
from components.steps import prepare_custom
from tests.components.bulk.listed import LABELS, PICTURES

STREAMED = [FormatName.JSON, FormatName.COCO, FormatName.LABEL_STUDIO, FormatName.CVAT]


@pytest.fixture
def labelled(predictor: Predictor, pictures: list[str], tmp_path: Path) -> Path:
    """Two finished shards."""
    for index in range(2):
        shard.run(
            predictor=predictor,
            pictures=pictures,
            labels=LABELS,
            out=str(tmp_path / "out"),
            shard=Shard(index, 2),
            batch=2,
        )
    return tmp_path / "out"


@pytest.mark.parametrize("name", STREAMED[1:])
def test_shards_come_back_through_prepare_custom(labelled: Path, tmp_path: Path, name: FormatName) -> None:
    form = format_named(name)
    assert form is not None
    gathered = gather.run(str(labelled), form)
    photos = tmp_path / "photos"
    assert (gathered.failed, gathered.names_below) == (1, str(photos))
    labels = tmp_path / "labels.yaml"
    labels.write_text(f"name: found\nclasses: {LABELS}\n".replace("'", ""))
    (photos / "09.png").unlink()  # no picture, and not in the file
    prepare_custom.run(
        labels=labels, images=photos, annotations={"train": labelled / form.file}, out=tmp_path / "prepared"
    )
    rows = parquet.read_table(labelled / gather.TABLE).to_pylist()
    assert len(rows) == PICTURES
    for row in (row for row in rows if not row["error"]):
        tar, _, member = row["label_map"].partition("#")
        with tarfile.open(labelled / tar) as archive:
            expected = np.array(Image.open(archive.extractfile(member)))
        path = tmp_path / "prepared/label_maps/train" / Path(row["picture"]).name
        np.testing.assert_array_equal(np.array(Image.open(path)), expected)


@pytest.mark.parametrize("name", STREAMED)
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path, name: FormatName) -> None:
    form, label_map = format_named(name), np.zeros((2, 2), np.uint8)
    assert form is not None

    def peak(number: int) -> int:
        pictures = (LabelledPicture(f"{i:01000}.png", label_map, {0: 0.5}) for i in range(number))
        tracemalloc.start()
        form.save(tmp_path, pictures, About(("cat",), "a model"))
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is imported and cached by the first call
    assert peak(1_000) < peak(100) + 250_000  # the names of 900 pictures take 900,000 bytes


def test_names_are_relative_to_the_innermost_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    for addresses, folder, names in (
        (["a/b/x.png", "a/c/y.png"], f"{here}/a", ["b/x.png", "c/y.png"]),
        (["ab/x.png", "a/y.png"], here, ["ab/x.png", "a/y.png"]),
        (["x.png", f"{here}/../y.png"], str(tmp_path.parent), [f"{tmp_path.name}/x.png", "y.png"]),
        (["/d/t.tar#k/x.png", "/d/t.tar#y.png"], "/d/t", ["k/x.png", "y.png"]),
        (["/d/t.tar#x.png", "/d/u.tar#x.png"], "/d", ["t/x.png", "u/x.png"]),
        (["s3://b/k/x.png", "s3://b/y.png"], "s3://b", ["k/x.png", "y.png"]),
        (["/x.png"], "/", ["x.png"]),
    ):
        named = Names.of_all(iter(addresses))
        assert (named.folder, [named.of(address) for address in addresses]) == (folder, names)
    for strangers in (["/a/x.png", "s3://b/x.png"], ["s3://b/x.png", "s3://c/x.png"], ["s3://b/x.png", "/x"]):
        with pytest.raises(UserError, match=f"no folder has both {strangers[0]} and {strangers[1]}"):
            Names.of_all(iter(strangers))
    with pytest.raises(UserError, match=r"'a\\nb.png' has letters that no text file can hold"):
        Names.of_all(iter(["a\nb.png"]))


def test_a_damaged_tar_or_another_file_writes_nothing(labelled: Path) -> None:
    form = format_named(FormatName.JSON)
    assert form is not None
    tar = labelled / "label_maps/000001.tar"
    content = tar.read_bytes()
    for damaged in (content[:600], b"", content.replace(b"PNG", b"GIF")):
        tar.write_bytes(damaged)
        with pytest.raises(
            UserError, match=r"000001.tar#0\d+.png is missing or damaged .* remove label_maps"
        ):
            gather.run(str(labelled), form)
    tar.unlink()
    with pytest.raises(UserError, match=r"000001.tar#0\d+.png is missing"):
        gather.run(str(labelled), form)
    tar.write_bytes(content)
    (labelled / form.file).write_text("mine")
    with pytest.raises(UserError, match="this command did not write it"):
        gather.run(str(labelled), form)
    assert not (labelled / gather.TABLE).exists() and not (labelled / gather.SUMMARY).exists()
    (labelled / form.file).unlink()
    gather.run(str(labelled), form)
    assert len((labelled / form.file).read_text().splitlines()) == PICTURES - 1
