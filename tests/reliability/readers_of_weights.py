"""The readers of weights, checkpoints, manifests and settings."""

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch

from cascade_core.checkpoints.checkpoint import load_optimizer, load_segmentor
from cascade_core.clip.archives import read_archive
from cascade_core.clip.published import hub_folder
from cascade_core.clip.sources import clip_config
from cascade_core.clip.weights import clip_from_openai, load_clip
from cascade_core.configs.overrides import parse_overrides
from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.predictor import Predictor
from cascade_core.released.runs import read_evidence
from cascade_core.released.weights import segmentor_from_released
from cascade_core.train.optim import build_optimizer
from components.artifacts.manifest import read_step_manifest
from components.inputs.split import read_split
from components.vectors.vector_files import read_class_vectors
from tests.cascade_core.clip.families import VIT_B16, openai_weights, write_scripted
from tests.released import small_released, write_released
from tests.reliability.mutations import of_bytes, of_json, of_safetensors, of_text, of_torch_zip
from tests.reliability.reader import Reader
from tests.reliability.readers_of_data import YAML_WORDS

STORED = Path(__file__).parents[1] / "formats" / "stored"
ROOT = Path(__file__).parents[2]


def stored(folder: str) -> Callable[[Random], Mapping[str, bytes]]:
    """Return the files of a stored folder by their paths in it."""
    root = STORED / folder
    return lambda _: {
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


def _legacy(_: Random) -> Mapping[str, bytes]:
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


def _hub_config(_: Random) -> Mapping[str, bytes]:
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
    "pth": Reader(_convert, lambda _: {"w.pth": _written("released")}, {"w.pth": of_torch_zip}),
    "old_pth": Reader(_import, _legacy, {"w.pth": of_bytes}),
    "torchscript": Reader(_import, lambda _: {"w.pt": _written("scripted")}, {"w.pt": of_torch_zip}),
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
    "params_yaml": Reader(
        _settings,
        lambda _: {"params.yaml": (ROOT / "params.yaml").read_bytes()},
        {"params.yaml": of_text(*YAML_WORDS)},
    ),
    "set_option": Reader(_set_option, lambda _: {"items": _SET}, {"items": of_text(*YAML_WORDS)}),
}
