"""The readers of weights, checkpoints, manifests and settings: files that each reads, and how to damage them.

`python -m tests.reliability.weight_readers READER CASES` prints the outcome of each kind, and every defect with the
number of its case, which gives the same bytes again.
"""

import io
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_core.checkpoints.checkpoint import load_optimizer, load_segmentor
from cascade_core.clip.archives import read_archive
from cascade_core.clip.published import hub_folder
from cascade_core.clip.sources import clip_config
from cascade_core.clip.weights import clip_from_openai, load_clip
from cascade_core.configs.overrides import parse_overrides
from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.released.runs import read_evidence
from cascade_core.released.weights import segmentor_from_released
from cascade_core.train.optim import build_optimizer
from components.artifacts import read_step_manifest
from components.inputs.split import read_split
from components.vectors.vector_files import read_class_vectors, read_vectors
from tests.cascade_core.clip.families import VIT_B16, openai_weights, write_scripted
from tests.released import small_released, write_released
from tests.reliability.mutations import Mutation, of_bytes, of_json, of_safetensors, of_yaml, of_zip, seed_of

STORED = Path(__file__).parents[1] / "formats" / "stored"
ROOT = Path(__file__).parents[2]
SECONDS, BYTES = 10, 2**30
"""The most that a case may take."""


@dataclass(frozen=True)
class Reader:
    """What reads a folder, the folder's good files, and how each of those that are damaged is damaged."""

    read: Callable[[Path], object]
    files: Callable[[], Mapping[str, bytes]]
    damages: Mapping[str, Mutation]


@dataclass
class Outcome:
    """What came of many cases."""

    cases: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


def stored(folder: str, **names: str) -> Callable[[], Mapping[str, bytes]]:
    """Return the files of a stored folder by their paths in it."""
    root = STORED / folder
    return lambda: {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def _saved(content: Any, **options: Any) -> bytes:
    with io.BytesIO() as stream:
        torch.save(content, stream, **options)
        return stream.getvalue()


@cache
def _clip_weights() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return openai_weights(VIT_B16)


def _legacy() -> Mapping[str, bytes]:
    content = {"state_dict": _clip_weights(), "meta": {"iter": 3, "CLASSES": ("cat", "dog")}}
    return {"w.pth": _saved(content, _use_new_zipfile_serialization=False)}


@cache
def _written(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.pt"
        if kind == "scripted":
            write_scripted(path, _clip_weights())
        else:
            few = small_released("zeg_voc", num_fed=15, text=False)
            write_released(path, few, meta={"CLASSES": ("cat",), "iter": 7, "config": "self_training=True"})
        return path.read_bytes()


def _import(folder: Path) -> object:
    archive = read_archive(next(folder.iterdir()))
    config = clip_config(archive.weights, name="some", activation="gelu")
    return clip_from_openai(archive.weights, config)


def _convert(folder: Path) -> object:
    archive = read_archive(folder / "w.pth")
    read_evidence(archive.weights, archive.meta)
    return segmentor_from_released(archive.weights)


@cache
def _trained() -> Any:
    segmentor, manifest = load_segmentor(STORED / ".interrupted.unfinished" / "resume")
    return segmentor, manifest.config.optim


def _resume(folder: Path) -> object:
    segmentor, optim = _trained()
    return load_optimizer(build_optimizer(segmentor, optim), folder)


def _npy() -> Mapping[str, bytes]:
    stream = io.BytesIO()
    np.save(stream, np.eye(3, 8, dtype=np.float16))
    return {"v.npy": stream.getvalue()}


def _hub_config() -> Mapping[str, bytes]:
    content = {
        "model_cfg": {
            "embed_dim": 512,
            "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16, "head_width": 64},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]},
    }
    return {"open_clip_config.json": json.dumps(content).encode(), "open_clip_model.safetensors": b""}


def _settings(folder: Path) -> object:
    return recipe("mini_zegclip", parse_overrides([], folder / "params.yaml"))


def _set_option(folder: Path) -> object:
    items = (folder / "items").read_bytes().decode(errors="surrogateescape").split("\n")
    return recipe("mini_cascade_clip", parse_overrides(items))


_SET = b'train.iterations=20\nmodel.groups=[[1, 2], [4]]\noptim.prompt_lr=0.001\ndata.templates=["a {}"]\nevaluate.short_side=64'
_WEIGHTS = {"model.safetensors": of_safetensors}
READERS: dict[str, Reader] = {
    "checkpoint_manifest": Reader(load_segmentor, stored("train/final"), {"manifest.json": of_json}),
    "checkpoint_weights": Reader(load_segmentor, stored("train/final"), _WEIGHTS),
    "optimizer": Reader(
        _resume, stored(".interrupted.unfinished/resume"), {"optimizer.safetensors": of_safetensors}
    ),
    "pth": Reader(_convert, lambda: {"w.pth": _written("released")}, {"w.pth": of_zip}),
    "old_pth": Reader(_import, _legacy, {"w.pth": of_bytes}),
    "torchscript": Reader(_import, lambda: {"w.pt": _written("scripted")}, {"w.pt": of_zip}),
    "clip_folder": Reader(
        load_clip, stored("clip"), {**_WEIGHTS, "config.json": of_json, "vocabulary.json": of_json}
    ),
    "hub_config": Reader(hub_folder, _hub_config, {"open_clip_config.json": of_json}),
    "model_folder": Reader(
        lambda folder: Predictor.load(folder, device="cpu"),
        stored("model_folder"),
        {
            "checkpoint/manifest.json": of_json,
            "checkpoint/model.safetensors": of_safetensors,
            "text_tower/config.json": of_json,
            "text_tower/model.safetensors": of_safetensors,
        },
    ),
    "registered_folder": Reader(
        lambda folder: Predictor.load(folder, device="cpu"),
        stored("registered/model"),
        {"artifacts/checkpoint/manifest.json": of_json, "artifacts/text_tower/vocabulary.json": of_json},
    ),
    "step_manifest": Reader(read_step_manifest, stored("splits"), {"manifest.json": of_json}),
    "split_json": Reader(read_split, stored("splits"), {"split.json": of_json}),
    "text_vectors": Reader(
        lambda folder: read_class_vectors(folder, protocol("mini-18-6")),
        stored("text"),
        {"names.json": of_json, "class_vectors.safetensors": of_safetensors},
    ),
    "npy_vectors": Reader(
        lambda folder: read_vectors(folder / "v.npy", ("cat", "dog", "cow")), _npy, {"v.npy": of_bytes}
    ),
    "params_yaml": Reader(
        _settings, lambda: {"params.yaml": (ROOT / "params.yaml").read_bytes()}, {"params.yaml": of_yaml}
    ),
    "set_option": Reader(_set_option, lambda: {"items": _SET}, {"items": of_yaml}),
}

_watched: list[tuple[Path, list[str]]] = []
_WRITES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "subprocess.Popen",
    "os.system",
}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what the code under test writes or starts, outside the folder that it was given."""
    if not _watched:
        return
    folder, seen = _watched[-1]
    writing = (
        event == "open"
        and isinstance(arguments[2], int)
        and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if (writing or event in _WRITES) and not str(arguments[0]).startswith(str(folder)):
        seen.append(f"{event} {arguments[0]!r}")


sys.addaudithook(_watch)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Yield the list of writes outside a folder during the block."""
    _watched.append((folder, []))
    try:
        yield _watched[-1][1]
    finally:
        _watched.pop()


def fuzz(name: str, cases: int, *, start: int = 0) -> Outcome:
    """Read damaged files, each of which has to end in a value or a `UserError` within the limits."""
    reader, outcome = READERS[name], Outcome()
    good = dict(reader.files())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "given"
        _write(folder, good)
        reader.read(folder)  # What is imported late is imported, and the good files are good.
        for number in range(start, start + cases):
            rng = random.Random(seed_of(name, number))
            damaged = rng.choice(sorted(reader.damages))
            _write(folder, {**good, damaged: reader.damages[damaged](good[damaged], rng)})
            kind, defect = _case(reader, folder)
            outcome.cases += 1
            outcome.kinds[kind] += 1
            if defect:
                outcome.defects.append(f"{name} {number}, {damaged}: {defect}")
    return outcome


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _case(reader: Reader, folder: Path) -> tuple[str, str]:
    """Read once; return the kind of the outcome, and the defect if there is one."""
    # Of the processor, since other work on the machine is no fault of a reader's.
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    defect, kind = "", "value"
    with watched(folder) as written:
        try:
            reader.read(folder)
        except UserError as error:
            kind = "sentence"
            str(error).encode()  # any terminal takes it
            if len(str(error)) > 4000:
                defect = f"a message of {len(str(error))} letters: {str(error)[:200]}"
        except Exception:
            kind, defect = "trace", traceback.format_exc()[-1500:]
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
    if (took := time.process_time() - began) > SECONDS:
        defect = f"took {took:.0f} s; {defect}"
    if grown > BYTES:
        defect = f"took {grown:,} bytes; {defect}"
    if written:
        defect = f"wrote outside its folder: {written[:3]}; {defect}"
    return kind, defect


def main(name: str, cases: int, start: int = 0) -> None:
    """Fuzz a reader in a process of its own, with the limits of memory set for the case that one is missed."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (24 * BYTES, 24 * BYTES))
    began = time.monotonic()
    outcome = fuzz(name, cases, start=start)
    print(json.dumps({"reader": name, "seconds": round(time.monotonic() - began), **vars(outcome)}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
