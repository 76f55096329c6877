"""From official files to an index, for each public data set, on tiny files in the real formats."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.pictures import read_label_ids
from cascade_core.data.prepared import read_index
from cascade_core.datasets import catalogue
from cascade_core.datasets.context import CLASSES as CONTEXT_59
from cascade_core.datasets.context import LITERATURE_CLASSES
from cascade_core.datasets.voc12 import CLASSES as VOC_20
from cascade_core.datasets.voc12 import VOC12
from cascade_core.runtime.files import read_json, sha256
from components.steps import prepare_dataset
from tests import official_files as files
from tests.official_files import halves

TRAIN, VAL, AUG = ["2007_000032", "2007_000039"], ["2007_000033"], ["2008_000002", "2008_000003"]


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def voc(downloads: Path) -> Path:
    """VOC's tar and SBD's tgz; SBD also covers pictures of VOC's own lists, as the real one does."""
    files.voc_2012(downloads, train=TRAIN, val=VAL, others=AUG)
    files.sbd(downloads, {name: halves(7, 12) for name in (*AUG, TRAIN[0], VAL[0])})
    return downloads


def prepared(name: str, downloads: Path, **changes: Any) -> Path:
    """Prepare with --allow-subset, in folders beside the downloads, and give the folder of the index."""
    beside = downloads.parent
    arguments = {
        "sources": [downloads],
        "raw": beside / "raw",
        "out": beside / "prepared",
        "allow_subset": True,
    }
    arguments |= changes
    prepare_dataset.run(name=name, workers=2, **arguments)
    return arguments["out"]


def source(out: Path) -> dict[str, Any]:
    return read_json(out / "summary.json")["source"]


def test_training_is_vocs_list_and_the_rest_of_sbd(voc: Path) -> None:
    index = read_index(prepared("voc12", voc)).set_index("name")
    assert index.index[index["split"] == "train"].tolist() == [*TRAIN, *AUG]
    assert index.index[index["split"] == "val"].tolist() == VAL
    assert index.loc[TRAIN[0], "label"] == f"SegmentationClass/{TRAIN[0]}.png"
    assert index.loc[TRAIN[0], "classes"].tolist() == [0, 19]
    assert index.loc[AUG[0], "classes"].tolist() == [6, 11]


def test_the_summary_counts_pixels_and_names_unofficial_files(voc: Path) -> None:
    out = prepared("voc12", voc)
    train = read_json(out / "summary.json")["splits"]["train"]
    assert train["pixels"]["car"] == train["pixels"]["dog"] == 2 * 48
    assert (train["pixels"]["aeroplane"], train["pixels"]["tvmonitor"]) == (2 * 48, 2 * 40)
    assert train["pictures_with_class"]["car"] == 2 and train["pixels"]["sofa"] == 0
    summary = source(out)
    assert (summary["complete"], summary["pictures"]) == (False, {"train": 4, "val": 1})
    assert summary["official_pictures"] == {"train": 10_582, "val": 1_449}
    assert {part["official_file"] for part in summary["parts"].values()} == {"not checked"}


def test_ready_maps_take_the_place_of_sbd(voc: Path) -> None:
    (voc / "benchmark.tgz").unlink()
    ready = voc / "ready" / "SegmentationClassAug"
    ready.mkdir(parents=True)
    for name in (*AUG, *TRAIN, *VAL):
        (ready / f"{name}.png").write_bytes(files.label_map(halves(3, 0), palette=False))
    index = read_index(prepared("voc12", voc)).set_index("name")
    assert index.index[index["split"] == "train"].tolist() == [*TRAIN, *AUG]
    assert index.loc[AUG[1], "classes"].tolist() == [2]


def test_validation_alone_needs_no_sbd(voc: Path) -> None:
    (voc / "benchmark.tgz").unlink()
    out = prepared("voc12", voc, splits=("val",), protocol="voc12-20")
    assert source(out)["pictures"] == {"val": 1}


def test_unpacked_folders_give_the_same_index_as_archives(voc: Path, tmp_path: Path) -> None:
    before = sha256(prepared("voc12", voc) / "index.parquet")
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(voc / "VOCtrainval_11-May-2012.tar", unpacked, filter="data")
    sources, untouched = [unpacked, voc / "benchmark.tgz"], sha256(unpacked)
    out = prepared("voc12", voc, sources=sources, raw=tmp_path / "raw2", out=tmp_path / "prepared2")
    assert sha256(out / "index.parquet") == before
    assert sha256(unpacked) == untouched


def test_of_two_years_of_voc_side_by_side_the_right_one_is_taken(voc: Path, tmp_path: Path) -> None:
    before = sha256(prepared("voc12", voc) / "index.parquet")
    years = tmp_path / "years"
    shutil.unpack_archive(voc / "VOCtrainval_11-May-2012.tar", years, filter="data")
    shutil.copytree(years / "VOCdevkit" / "VOC2012", years / "VOCdevkit" / "VOC2010")
    lists = years / "VOCdevkit" / "VOC2010" / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_bytes(files.lines(TRAIN[:1]))
    sources = [years, voc / "benchmark.tgz"]
    out = prepared("voc12", voc, sources=sources, raw=tmp_path / "raw2", out=tmp_path / "prepared2")
    assert sha256(out / "index.parquet") == before


def test_a_second_call_needs_no_archives(voc: Path) -> None:
    before = sha256(prepared("voc12", voc) / "index.parquet")
    root = voc.parent / "raw" / "VOCdevkit" / "VOC2012"
    kept = (root / "SegmentationClassAug" / f"{AUG[0]}.png").stat().st_mtime_ns
    (root / "SegmentationClassAug" / f"{AUG[1]}.png").unlink()
    shutil.rmtree(voc)
    assert sha256(prepared("voc12", voc, sources=[]) / "index.parquet") == before
    assert (root / "SegmentationClassAug" / f"{AUG[0]}.png").stat().st_mtime_ns == kept


def test_one_message_lists_all_missing_files(downloads: Path) -> None:
    with pytest.raises(ValueError, match="2 of 2 parts are missing") as raised:
        prepared("voc12", downloads)
    message = str(raised.value)
    for fact in (
        "Challenge 2012",
        "1,999,639,040 bytes",
        "md5 6cd6e144",
        "benchmark.tgz",
        "SegmentationClassAug",
    ):
        assert fact in message


def test_a_file_of_another_size_is_no_official_file(voc: Path) -> None:
    with pytest.raises(ValueError, match=r"May-2012\.tar has [\d,]+ bytes, the official .* 1,999,639,040"):
        prepared("voc12", voc, allow_subset=False)
    assert not (voc.parent / "raw").exists()


def test_a_file_of_another_checksum_is_no_official_file(voc: Path) -> None:
    (voc / "VOCtrainval_11-May-2012.tar").unlink()
    prepared_voc = voc / "VOCdevkit" / "VOC2012"
    shutil.copytree(_unpacked_voc(voc.parent), prepared_voc)
    with pytest.raises(
        ValueError, match=r"benchmark\.tgz has the md5 [0-9a-f]{32}, the official .* 82b4d87ceb2e"
    ):
        prepared("voc12", voc, allow_subset=False)


def _unpacked_voc(folder: Path) -> Path:
    archive = files.voc_2012(folder, train=TRAIN, val=VAL, others=AUG)
    shutil.unpack_archive(archive, folder / "voc", filter="data")
    return folder / "voc" / "VOCdevkit" / "VOC2012"


def test_unofficial_numbers_of_pictures_need_allow_subset(voc: Path, tmp_path: Path) -> None:
    (tmp_path / "sbd").mkdir()
    shutil.unpack_archive(voc / "benchmark.tgz", tmp_path / "sbd", filter="data")
    sources = [_unpacked_voc(tmp_path), tmp_path / "sbd"]
    with pytest.raises(ValueError, match=r"train has 4 pictures, officially 10,582; val has 1 .* 1,449"):
        prepared("voc12", voc, sources=sources, allow_subset=False)


def test_the_official_numbers_make_a_complete_set(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbd").mkdir()
    shutil.unpack_archive(voc / "benchmark.tgz", tmp_path / "sbd", filter="data")
    assert VOC12.release is not None
    small = replace(VOC12, release=replace(VOC12.release, counts={"train": 4, "val": 1}))
    monkeypatch.setattr(catalogue, "DATA_SETS", (small,))
    sources = [_unpacked_voc(tmp_path), tmp_path / "sbd"]
    assert source(prepared("voc12", voc, sources=sources, allow_subset=False))["complete"] is True


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"404 not found", r"2008_000002\.mat: no annotation of SBD"),
        (files.sbd_mat(halves(7, 12))[:-30], r"2008_000002\.mat: no annotation of SBD"),
        (files.sbd_mat(halves(7, 99)), r"2008_000002\.mat: ids \[99\] are none of 0\.\.20 and 255"),
        (files.sbd_mat(halves(7, 12) / 2), r"2008_000002\.mat: GTcls.Segmentation is float64"),
    ],
)
def test_a_broken_mat_is_named(voc: Path, content: bytes, message: str) -> None:
    root = "benchmark_RELEASE/dataset"
    members = {f"{root}/train.txt": b"2008_000002\n", f"{root}/val.txt": b"2008_000003\n"}
    members |= {
        f"{root}/cls/2008_000002.mat": content,
        f"{root}/cls/2008_000003.mat": files.sbd_mat(halves(1, 2)),
    }
    files.write_tar(voc / "benchmark.tgz", members)
    with pytest.raises(ValueError, match=f"(?s)1 of 2 label maps.*{message}"):
        prepared("voc12", voc)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "voc13"}, "unknown data set 'voc13'; known are voc12, context"),
        ({"name": "mini"}, "data set 'mini' has no official files; run "),
        ({"protocol": "ade20k-150"}, "protocol 'ade20k-150' is not one of data set 'voc12'"),
        ({"sources": [Path("nowhere")]}, "--from nowhere: no such folder or file"),
        ({"sources": [Path(__file__)]}, r"test_prepare_dataset\.py is neither a folder nor an archive"),
        ({"splits": ("test",)}, "--split test: public data sets have splits train and val"),
    ],
)
def test_wrong_arguments_are_told_before_any_work(
    downloads: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(changes.pop("name", "voc12"), downloads, **changes)


def test_a_raw_folder_belongs_to_one_data_set(voc: Path, downloads: Path) -> None:
    prepared("voc12", voc)
    with pytest.raises(ValueError, match=r"sources\.json is not of data set 'ade20k'"):
        prepared("ade20k", downloads)


CAT, DOG, TABLE = (1 + CONTEXT_59.index(name) for name in ("cat", "dog", "table"))
CONTEXT_MAPS = {
    "train": {"2008_000002": halves(CAT, 59), "2008_000003": halves(TABLE, 0)},
    "val": {"2008_000009": halves(1, DOG)},
}
VOC_MAPS = {
    "2008_000002": halves(1 + VOC_20.index("cat"), 0),
    "2008_000003": halves(1 + VOC_20.index("diningtable"), 255),
}


def test_context_annotations_become_maps_numbered_alphabetically(downloads: Path) -> None:
    files.context(downloads, CONTEXT_MAPS, VOC_MAPS)
    out = prepared("context", downloads)
    root = downloads.parent / "raw" / "VOCdevkit" / "VOC2010"
    for named in CONTEXT_MAPS.values():
        for name, ids in named.items():
            assert np.array_equal(read_label_ids(root / "SegmentationClassContext" / f"{name}.png"), ids)
    assert source(out)["class_order"] == "100% of VOC's pixels agree in 2 pictures"
    assert source(out)["category_ids"] == "categories of trainval_merged.json"
    assert read_json(out / "summary.json")["protocol"] == "context59-released"


def test_both_orders_of_context_read_the_same_maps_each_by_name(downloads: Path, tmp_path: Path) -> None:
    files.context(downloads, CONTEXT_MAPS, VOC_MAPS)
    released = prepared("context", downloads)
    literature = prepared("context", downloads, protocol="context59-literature", out=tmp_path / "literature")
    pixels = [read_json(out / "summary.json")["splits"]["val"]["pixels"] for out in (released, literature)]
    assert pixels[0] == pixels[1]
    assert list(pixels[0]) == list(CONTEXT_59) and list(pixels[1]) == list(LITERATURE_CLASSES)


def test_without_named_categories_published_ids_are_used(downloads: Path) -> None:
    files.context(downloads, CONTEXT_MAPS, {})
    content = files.context_json(CONTEXT_MAPS, categories=False)
    (downloads / "trainval_merged.json").write_text(json.dumps(content))
    summary = source(prepared("context", downloads))
    assert summary["category_ids"] == "mmsegmentation's converter"
    assert summary["class_order"].startswith("unverified")


def test_ready_maps_in_the_literatures_order_are_found_out(downloads: Path) -> None:
    files.context(downloads, CONTEXT_MAPS, VOC_MAPS)
    (downloads / "trainval_merged.json").unlink()
    ready = downloads / "ready"
    order = {0: 0} | {i: 1 + LITERATURE_CLASSES.index(name) for i, name in enumerate(CONTEXT_59, 1)}
    for split, named in CONTEXT_MAPS.items():
        lists = ready / "ImageSets" / "SegmentationContext"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_bytes(files.lines(list(named)))
        for name, ids in named.items():
            path = ready / "SegmentationClassContext" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(files.label_map(np.vectorize(order.get)(ids)))
    with pytest.raises(
        ValueError, match=r"100% of VOC's pixels .* VOC's classes first, 0% if alphabetically"
    ):
        prepared("context", downloads)


def without_images(content: dict[str, Any]) -> None:
    del content["images"]


def numbers_for_images(content: dict[str, Any]) -> None:
    content["images"] = [1, 2, 3]


def without_phase(content: dict[str, Any]) -> None:
    del content["images"][1]["phase"]


def damaged_mask(content: dict[str, Any]) -> None:
    content["annos_segmentation"][0]["segmentation"]["counts"] = "9"


def unknown_category(content: dict[str, Any]) -> None:
    content["annos_segmentation"][0]["category_id"] = 7


def height_of_none(content: dict[str, Any]) -> None:
    content["images"][0]["height"] = None


def list_for_category(content: dict[str, Any]) -> None:
    content["annos_segmentation"][0]["category_id"] = [1]


def numbers_for_categories(content: dict[str, Any]) -> None:
    content["categories"] = [1]


def other_categories(content: dict[str, Any]) -> None:
    content["categories"] = [{"category_id": 3, "name": "aeroplane"}]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_images, r"trainval_merged\.json has no list of mappings 'images'"),
        (numbers_for_images, r"has no list of mappings 'images'"),
        (without_phase, r"images\[1\] lacks phase"),
        (damaged_mask, r"annotation 0 of 2008_000002\.jpg: runs of its mask add up to"),
        (unknown_category, r"annotation 0 of 2008_000002\.jpg: category 7 is none of the 59"),
        (height_of_none, r"images\[0\]\.height is None, no int; expected the annotations of the Detail API"),
        (list_for_category, r"annos_segmentation\[0\]\.category_id is \[1\], no int"),
        (numbers_for_categories, "has no list of mappings 'categories'"),
        (other_categories, r"categories give \{'aeroplane': 3\}, expected \{'aeroplane': 2\}"),
    ],
)
def test_annotations_of_another_kind_are_named(
    downloads: Path, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    files.context(downloads, CONTEXT_MAPS, VOC_MAPS)
    content = files.context_json(CONTEXT_MAPS)
    spoil(content)
    (downloads / "trainval_merged.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        prepared("context", downloads)


@pytest.mark.parametrize("content", [b'{"images": [', b"", b"\x89PNG\xff\xfe"])
def test_annotations_that_do_not_parse_are_named(downloads: Path, content: bytes) -> None:
    files.context(downloads, CONTEXT_MAPS, VOC_MAPS)
    (downloads / "trainval_merged.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"trainval_merged\.json is not JSON"):
        prepared("context", downloads)


COCO_MAPS = {
    "train": {"000000000009": halves(0, 181), "000000000025": halves(10, 12)},
    "val": {"000000000139": halves(255, 91)},
}


def test_raw_ids_of_coco_stuff_become_train_ids(downloads: Path) -> None:
    files.cocostuff(downloads, COCO_MAPS)
    index = read_index(prepared("cocostuff", downloads)).set_index("name")
    assert index["classes"].map(list).to_dict() == {
        "000000000009": [0, 170],
        "000000000025": [10, 11],
        "000000000139": [80],
    }
    assert index.loc["000000000139", "label"] == "annotations/val2017/000000000139_labelTrainIds.png"


def test_an_id_that_no_class_of_coco_stuff_has_is_named(downloads: Path) -> None:
    files.cocostuff(downloads, {"train": {"000000000009": halves(0, 11)}, "val": COCO_MAPS["val"]})
    with pytest.raises(ValueError, match=r"000000000009\.png: label ids \[11\] are not in label set"):
        prepared("cocostuff", downloads)


def test_a_folder_of_photographs_is_not_taken_for_one_of_maps(downloads: Path, tmp_path: Path) -> None:
    files.cocostuff(downloads, COCO_MAPS)
    for name in ("train2017", "val2017"):
        shutil.unpack_archive(downloads / f"{name}.zip", tmp_path / "coco" / "images")
    with pytest.raises(ValueError, match=r"(?s)1 of 3 parts are missing.*stuffthingmaps_trainval2017\.zip"):
        prepared("cocostuff", downloads, sources=[tmp_path / "coco"])
    shutil.unpack_archive(downloads / "stuffthingmaps_trainval2017.zip", tmp_path / "coco" / "annotations")
    out = prepared("cocostuff", downloads, sources=[tmp_path / "coco"])
    assert source(out)["pictures"] == {"train": 2, "val": 1}


def test_ade20k_needs_no_conversion(downloads: Path) -> None:
    files.ade20k(
        downloads,
        {
            "training": {"ADE_train_00000001": halves(1, 150)},
            "validation": {"ADE_val_00000001": halves(0, 13)},
        },
    )
    index = read_index(prepared("ade20k", downloads)).set_index("name")
    assert index["classes"].map(list).to_dict() == {"ADE_train_00000001": [0, 149], "ADE_val_00000001": [12]}


def test_names_with_commas_and_other_scripts_are_kept(downloads: Path) -> None:
    names = ["sheep,cow", "犬と猫", "Größe"]
    maps = {"training": {"a": halves(1, 2)}, "validation": {name: halves(1, 2) for name in names}}
    files.ade20k(downloads, maps)
    index = read_index(prepared("ade20k", downloads, splits=("val",)))
    assert sorted(index["name"]) == sorted(names)


def test_a_label_map_of_16_bits_or_colours_is_named(downloads: Path) -> None:
    maps = {"training": {"a": halves(1, 2)}, "validation": {"b": halves(1, 2), "c": halves(3, 4)}}
    files.ade20k(downloads, maps)
    out = prepared("ade20k", downloads)
    labels = downloads.parent / "raw" / "ADEChallengeData2016" / "annotations" / "validation"
    before = sha256(out)
    for name, picture in (
        ("b", Image.fromarray(halves(1, 2).astype(np.uint16) * 300)),
        ("c", Image.new("RGB", (files.WIDTH, files.HEIGHT))),
    ):
        (labels / f"{name}.png").unlink()
        picture.save(labels / f"{name}.png")
    with pytest.raises(
        ValueError, match=r"(?s)b\.png: has 16 bits a pixel and ids up to 600.*c\.png: a label map .*'RGB'"
    ):
        prepared("ade20k", downloads)
    assert sha256(out) == before
