"""Small files that ask for much: each reader refuses them in a sentence, within seconds and without the memory."""

import io
import json
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.clip.archives import read_archive
from cascade_core.clip.pickles import interpreted
from cascade_core.clip.sources import clip_config
from cascade_core.clip.weights import clip_from_openai, load_clip, save_clip
from cascade_core.configs.overrides import parse_overrides
from cascade_core.errors import UserError
from cascade_core.labels.label_file import read_label_file
from cascade_core.runtime.files import read_json, write_json
from components.inputs.split import read_split
from components.vectors.vector_files import read_vectors
from tests.cascade_core.clip.families import VIT_B16, openai_weights
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

SECONDS, BYTES = 10, 2**28


@pytest.fixture(autouse=True)
def little_time_and_memory() -> Iterator[None]:
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) < BYTES


def _zip(path: Path, pickled: bytes, values: bytes = bytes(400), *, deflated: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled, zipfile.ZIP_STORED)
        archive.writestr("archive/data/0", values)
    return path


def _inert(state: bytes) -> bytes:
    return b"c__torch__.m\nM\n)\x81" + state + b"b"


def test_a_torchscript_of_aliases_is_refused(tmp_path: Path) -> None:
    level = _inert(b"}")
    for depth in range(40):
        put = b"r" + struct.pack("<I", depth)
        level = _inert(b"}(X\x01\0\0\0a" + level + put + b"X\x01\0\0\0bj" + struct.pack("<I", depth) + b"u")
    path = _zip(tmp_path / "w.pt", b"\x80\x02" + level + b".")
    assert path.stat().st_size < 4000
    with pytest.raises(UserError, match="more than 100,000 objects"):
        read_archive(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}r\xff\xff\xff\xff.", "no weights"),  # the memo's number
        (b"\x80\x02" + b")" + 60 * b"q\0h\0\x86" + b"}h\0K\x01s.", "."),  # a key whose hash takes hours
        (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R.", "names builtins.bytearray"),
        (b"\x80\x02" + b"(" * 100_000 + b".", "."),
        (b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "holds a list"),
        (b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.", "names os.system"),
    ],
    ids=["memo", "hash", "bytearray", "marks", "nesting", "code"],
)
def test_a_pickle_bomb_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_archive(_zip(tmp_path / "w.pt", content))


@pytest.mark.parametrize("old_format", [False, True])
def test_a_tensor_that_repeats_one_value_is_refused(old_format: bool, tmp_path: Path) -> None:
    weights = {"state_dict": {"a": torch.ones(1).expand(400_000, 300_000), "b": torch.ones(3)}}
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=not old_format)
    assert (tmp_path / "w.pth").stat().st_size < 3000
    with pytest.raises(UserError, match="asks for 480,000,000,012 bytes of weights"):
        read_archive(tmp_path / "w.pth")


def test_an_old_file_that_announces_much_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(100)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content, count = (tmp_path / "w.pth").read_bytes(), b"cpuq\x06Kd"
    assert content.count(count) == 1
    huge = count[:-2] + b"\x8a\x06" + (10**11).to_bytes(6, "little")
    (tmp_path / "w.pth").write_bytes(content.replace(count, huge))
    with pytest.raises(UserError, match="100,000,000,000 values, more than the file"):
        read_archive(tmp_path / "w.pth")


def test_a_zip_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    with io.BytesIO() as stream:
        torch.save({"a": torch.ones(100)}, stream)
        with zipfile.ZipFile(stream) as saved:
            pickled = next(saved.read(name) for name in saved.namelist() if name.endswith("data.pkl"))
    with pytest.raises(UserError, match="compressed"):
        read_archive(_zip(tmp_path / "w.pt", pickled, bytes(50_000_000), deflated=True))
    path = _zip(tmp_path / "p.pt", b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + bytes(50_000_000))
    with pytest.raises(UserError, match="pickle is longer than"):
        read_archive(path)


def test_a_file_of_few_weights_makes_no_large_model(tmp_path: Path) -> None:
    weights = openai_weights(VIT_B16)
    wide = 2**18
    shapes = {
        "visual.conv1.weight": (wide, 3, 1, 1),
        "visual.positional_embedding": (5, wide),
        "visual.proj": (wide, 4),
    }
    weights |= {key: torch.zeros(shape) for key, shape in shapes.items()}
    with pytest.raises(
        UserError, match=r"does not fit CLIP 'wide'.* has shape \(64,\), expected \(262144,\)"
    ):
        clip_from_openai(weights, clip_config(weights, name="wide", activation="gelu"))
    weights["visual.transformer.resblocks.99999999.ln_1.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match="layers: Input should be less than or equal to 256"):
        clip_config(weights, name="deep", activation="gelu")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("clip", "layers", 20_000), ("clip", "width", 2**17), ("clip", "image_size", 4096), ("clip", "heads", 3),
        ("model", "decoder_layers", 250), ("model", "num_prompts", 60_000), ("model", "feedforward_ratio", 256),
        ("model", "image_size", 4096),
    ],
)  # fmt: skip
def test_a_manifest_that_asks_for_much_is_refused(part: str, key: str, value: int, tmp_path: Path) -> None:
    folder = tmp_path / "final"
    write_tiny_checkpoint(folder, write_tiny_clip(tmp_path / "clip"), tiny_config())
    content = read_json(folder / "manifest.json")
    model = content["config"]["model"]
    (model if part == "model" else model["clip"])[key] = value
    write_json(folder / "manifest.json", content)
    with pytest.raises(UserError, match=rf"{key}|does not fit its manifest"):
        load_segmentor(folder)


@pytest.mark.parametrize(
    "content", ["[" * 5000 + "]" * 5000, '{"a":' * 300 + "1" + "}" * 300, "1" * 5000, "[" * 100_000]
)
def test_json_that_is_deep_or_odd_is_refused(content: str, tmp_path: Path) -> None:
    for name in ("manifest.json", "split.json"):
        (tmp_path / name).write_text(content)
    for read in (load_manifest, read_split):
        with pytest.raises(UserError, match=r"nested more than 50|is not JSON"):
            read(tmp_path)


def _aliases(levels: int, head: str = "") -> str:
    lines = [f"{head}a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{head}a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [_aliases(9), "a: &a [*a]\n", "[" * 3000, "a: " + "{b: " * 2000, "- " * 3000 + "x\n", "&a {<<: *a}\n"],
    ids=["aliases", "endless", "brackets", "braces", "dashes", "merge"],
)
def test_yaml_bombs_are_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    for read in (lambda: parse_overrides([], file), lambda: read_label_file(file)):
        with pytest.raises(UserError, match=r"not YAML|only plain YAML is read") as raised:
            read()
        assert len(str(raised.value)) < 1000
    with pytest.raises(UserError) as raised:
        parse_overrides([f"data.templates={text}"])
    assert len(str(raised.value)) < 1000


def test_large_values_are_shown_in_few_words(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(
        _aliases(4).replace("\n", "\n  ").replace("a0:", "overrides:\n  - a0:", 1).rstrip() + "\n"
    )
    for text in ("overrides: [" + "x, " * 10_000 + "]", "x " * 100_000, "overrides: 0x" + "f" * 50_000):
        file.write_text(text)
        with pytest.raises(UserError) as raised:
            parse_overrides([], file)
        assert len(str(raised.value)) < 1000


def test_vectors_whose_header_asks_for_much_are_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 60000000000), }"
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(80))
    objects = np.array([{"a": 1}, 2], dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "z.npz", a=np.eye(2))
    for name in ("v.npy", "o.npy", "z.npz"):
        with pytest.raises(UserError, match=r"cannot be read as \.npy"):
            read_vectors(tmp_path / name, ("a", "b"))
    np.save(tmp_path / "c.npy", np.eye(2, dtype=np.complex64))
    with pytest.raises(UserError, match="numbers of type complex64"):
        read_vectors(tmp_path / "c.npy", ("a", "b"))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    clip = write_tiny_clip(tmp_path / "clip")
    with torch.no_grad():
        clip.visual.proj[0, 0] = float("nan")
    save_clip(tmp_path / "nan", clip)
    with pytest.raises(UserError, match=r"weights hold values that are no numbers \(visual\.proj\)"):
        load_clip(tmp_path / "nan")
    write_tiny_checkpoint(tmp_path / "final", clip, tiny_config())
    with pytest.raises(UserError, match=r"no numbers \(trunk\.visual\.proj\)"):
        load_segmentor(tmp_path / "final")
    weights = openai_weights(VIT_B16)
    weights["visual.proj"] = weights["visual.proj"] * float("inf")
    with pytest.raises(UserError, match=r"no numbers \(visual\.proj\)"):
        clip_from_openai(weights, clip_config(weights, name="x", activation="gelu"))


def test_settings_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "final"
    write_tiny_checkpoint(folder, write_tiny_clip(tmp_path / "clip"), tiny_config())
    content = json.loads((folder / "manifest.json").read_text())
    content["config"]["loss"]["focal_weight"] = float("nan")
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="focal_weight: Input should be a finite number"):
        load_manifest(folder)


def test_pickles_of_plain_values_read_as_python_reads_them(tmp_path: Path) -> None:
    plain = {"iter": 7, "CLASSES": ("cat", "dög"), "lr": [0.5, None, True, -(2**40)], "deep": {"a": {1: []}}}
    for protocol in (2, 4):
        content = pickle.dumps({"state_dict": {}, "meta": plain}, protocol=protocol)
        assert interpreted(io.BytesIO(content)) == pickle.loads(content)
