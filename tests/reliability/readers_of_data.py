"""The readers of data: pictures, label maps, archives, annotations, label files, lists, vectors and indexes."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

from cascade_core.data.picture_names import FORMATS
from cascade_core.data.pictures import read_image, read_label_ids, upright_size
from cascade_core.data.polygons import CocoFile, draw, read_coco
from cascade_core.data.prepared import read_index
from cascade_core.data.sources.archives import unpack
from cascade_core.data.sources.plan import read_names
from cascade_core.datasets import context
from cascade_core.datasets.sbd import read_mat
from cascade_core.labels.label_file import read_label_file
from components.contract.shared import names_by_commas
from components.inputs.labels_given import labels_given
from components.vectors.vector_files import read_names as read_class_names
from components.vectors.vector_files import read_vectors
from tests.reliability.mutations import of_bytes, of_json, of_picture, of_tar, of_text, with_words
from tests.reliability.reader import Reader, of_file

LABELS = """name: pets
classes: [cat, {name: dog, synonyms: [puppy], colour: "#ff8000"}, fish]
unseen: [fish]
ignore_id: 255
background: {id: 0, policy: threshold, threshold: 0.3}
"""
YAML_WORDS = (
    "&a ", "*a", "!!int ''", "!!bool x", "!!binary '*'", "!!timestamp x", "<<: *a", "2001-99-99", "[" * 3000, "? ", "|", ">",
    "\t", "0x", "%YAML 1.2", "---", "\u2028", "{a: 1, a: 2}", "!!python/object/apply:os.system [id]", "classes: 3",
    "1" * 5000, ".inf", "'", '"', "\\ud800", '"\\ud800"', "-", ": ", "\0", "hsl(0,0%,0%)", "e\u0301", "\u00e9", "null", "id: 300",
)  # fmt: skip
TEXT_WORDS = (
    '"',
    ",",
    '"a, b"',
    "\r",
    "\n",
    "\0",
    "\ud800",
    "a" * 200_000,
    " ",
    "zebra",
    "e\u0301",
    "|",
    "../",
    "\ufeff",
)
COCO: dict[str, Any] = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 20, "height": 10} for i in range(2)],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5]]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 2,
            "segmentation": {"size": [10, 20], "counts": [10, 20, 170]},
        },
        {"id": 3, "image_id": 1, "category_id": 2, "segmentation": {"size": [10, 20], "counts": ":0"}},
    ],
}
ANNOTATIONS: dict[str, Any] = {
    "images": [{"image_id": i, "file_name": f"{i}.jpg", "phase": "train", "height": 4, "width": 3} for i in range(2)],
    "categories": [{"name": name, "category_id": i} for name, i in zip(context.CLASSES, context.RAW_IDS, strict=True)],
    "annos_segmentation": [
        {"id": 1, "image_id": 0, "category_id": 2, "segmentation": {"size": [4, 3], "counts": [2, 4, 6]}}
    ],
}  # fmt: skip


def _pixels(random: Random) -> np.ndarray:
    return np.frombuffer(random.randbytes(20 * 10 * 3), dtype=np.uint8).reshape(10, 20, 3)


def _picture(random: Random) -> bytes:
    name, content = random.choice(list(FORMATS)), io.BytesIO()
    mode = random.choice(
        {"JPEG": ("RGB", "L", "CMYK"), "PPM": ("RGB", "L")}.get(name, ("RGB", "L", "P", "1"))
    )
    exif = Image.Exif()
    exif[0x0112] = random.randint(0, 9)
    options: dict[str, Any] = {"progressive": random.random() < 0.5} if name == "JPEG" else {}
    options |= {"compression": random.choice((None, "tiff_lzw", "packbits"))} if name == "TIFF" else {}
    options |= {"exif": exif} if name in ("JPEG", "PNG", "WEBP") else {}
    Image.fromarray(_pixels(random)).convert(mode).save(content, name, **options)
    return content.getvalue()


def _label_map(random: Random) -> bytes:
    content, bits = io.BytesIO(), random.choice((1, 2, 4, 8))
    Image.fromarray(_pixels(random)[..., 0] >> 8 - bits).convert("P").save(content, "PNG", bits=bits)
    return content.getvalue()


def _archive(random: Random, kind: str) -> bytes:
    content, files = io.BytesIO(), {f"root/f{i}.txt": random.randbytes(30) * 4 for i in range(3)}
    names = [
        *files,
        *random.sample(("../out.txt", "/tmp/out.txt", "root/f0.txt", "root/f1.txt/x", "root/" + "x" * 90), 1),
    ]
    if random.random() < 0.7:
        names = list(files)
    if kind == "zip":
        with zipfile.ZipFile(
            content, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        ) as archive:
            for name in dict.fromkeys(names):
                archive.writestr(name, files.get(name, b"x"))
        return content.getvalue()
    form = random.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=content, mode=f"w:{kind}", format=form) as tar:  # type: ignore[call-overload]
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(files.get(name, b"x"))
            info.pax_headers = (
                {"comment": "x", "size": random.choice(("-512", "9" * 20, "x"))}
                if random.random() < 0.1
                else {}
            )
            tar.addfile(info, io.BytesIO(files.get(name, b"x")))
    return content.getvalue()


def _array(random: Random) -> bytes:
    content = io.BytesIO()
    rows = np.eye(4, 6).astype(random.choice(("<f2", "<f4", ">f8", "<i4", "<c8", "U3")))
    np.save(content, rows)
    return content.getvalue()


def _index(random: Random) -> bytes:
    content, number = io.BytesIO(), random.randint(1, 4)
    columns: dict[str, Any] = {name: [name] * number for name in ("name", "split", "image", "label")}
    columns |= {
        "width": [3] * number,
        "height": [2] * number,
        "classes": [[0, 1]] * number,
        "pixels": [[4, 2]] * number,
    }
    columns |= {"image_sha256": ["a" * 64] * number, "label_sha256": ["b" * 64] * number}
    pd.DataFrame(columns).to_parquet(
        content, index=False, compression=random.choice(("snappy", "gzip", "zstd", None))
    )
    return content.getvalue()


def _mat(random: Random) -> bytes:
    content = io.BytesIO()
    ids = np.frombuffer(random.randbytes(20), dtype=np.uint8).reshape(4, 5) % 21
    savemat(content, {"GTcls": {"Segmentation": ids}}, do_compression=random.random() < 0.3)
    return content.getvalue()


def draw_objects(coco: CocoFile) -> None:
    """Draw the objects of small pictures."""
    objects = coco.by_image()
    ids = {category.id: 1 for category in coco.categories}
    for image in coco.images:
        if (
            image.width * image.height < 10**6
        ):  # `prepare` compares the size with the picture before it draws.
            draw(image, [one for one in objects[image.id] if one.category_id in ids], ids, elsewhere=0)


def _draw_context(path: Path) -> None:
    for job in context.plan(path.parent, ("train",)).jobs:
        job.make()


def _unpack(path: Path) -> None:
    unpack(path, path.parent / "out", lambda member: PurePosixPath("into") / member)


def _text(content: str) -> Callable[[Random], bytes]:
    return lambda _: content.encode()


def _document(content: Any) -> Callable[[Random], bytes]:
    return _text(json.dumps(content))


CLASSES = ("a", "b", "c", "d")
_of_list, _of_yaml = of_text(*TEXT_WORDS), of_text(*YAML_WORDS)
_of_zip = with_words(b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"\xff" * 8)
_of_array = with_words(b"(" * 500, b"9" * 12, b"|O", b"'descr'", b"-1,", b"\x93NUMPY\x03\x00")
READERS: dict[str, Reader] = {
    "picture": of_file("a.jpg", lambda path: (upright_size(path, "a.jpg"), read_image(path)), _picture, of_picture),
    "label_map": of_file("a.png", read_label_ids, _label_map, of_picture),
    "zip": of_file("a.zip", _unpack, partial(_archive, kind="zip"), _of_zip),
    "tar": of_file("a.tar", _unpack, partial(_archive, kind=""), of_tar),
    "tgz": of_file("a.tgz", _unpack, partial(_archive, kind="gz"), of_bytes),
    "coco": of_file("a.json", lambda path: draw_objects(read_coco(path)), _document(COCO), of_json),
    "mat": of_file("a.mat", lambda path: read_mat(path, 20), _mat, of_bytes),
    "context": of_file("trainval_merged.json", _draw_context, _document(ANNOTATIONS), of_json),
    "label_file": of_file("a.yaml", lambda path: read_label_file(path).label_set(), _text(LABELS), _of_yaml),
    "labels_option": of_file(
        "a.bin",
        lambda path: labels_given(names_by_commas(path.read_text("utf-8", "surrogateescape")), None),
        _text('zebra, "salt, pepper", sea'),
        _of_list,
    ),
    "labels_file": of_file("a.txt", lambda path: labels_given(None, path), _text("zebra\nsea\n"), _of_list),
    "names": of_file("a.txt", read_class_names, _text("zebra|horse\nsea\n"), _of_list),
    "image_list": of_file("a.txt", read_names, _text("a\nb.jpg\nc/d\n"), _of_list),
    "npy": of_file("a.npy", lambda path: read_vectors(path, CLASSES), _array, _of_array),
    "parquet": of_file("index.parquet", lambda path: read_index(path.parent), _index, of_bytes),
}  # fmt: skip
