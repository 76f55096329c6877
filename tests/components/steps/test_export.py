"""Exported graphs give torch's probabilities for any batch, vocabulary and size."""

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.config import EvalConfig, LastBlock, RunConfig
from cascade_core.inference import export as core
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.label_file import LabelFile
from cascade_core.mini.vocabulary import WORDS
from cascade_core.model.build import build_segmentor
from cascade_core.predictor import Predictor, eval_settings
from cascade_core.runtime.files import read_json
from components.steps import export
from tests.score_maps import score_maps
from tests.tiny import TINY_CLIP, tiny_config, write_tiny_checkpoint

LABELS = ["zebra", "tiger", "sand"]
METHODS: dict[str, dict[str, Any]] = {
    "zegclip": {"fusion": "none", "groups": ()},
    "cascade_clip": {"fusion": "cascade", "groups": ((0,),)},
    "naclip": {
        "fusion": "none",
        "groups": (),
        "trunk": "frozen",
        "decoder": "cosine",
        "position_resize": "bicubic",
        "mask_size": "input",
        "last_block": LastBlock(attention="kk_neighbours", residual=False, feedforward=False),
    },
}


def config(method: str) -> RunConfig:
    """Two blocks and two decoder layers, as tracing takes its time for each; grass is background."""
    base = tiny_config()
    clip = TINY_CLIP.model_copy(update={"layers": 2})
    model = base.model.model_copy(update={"clip": clip, "decoder_layers": 2, **METHODS[method]})
    evaluate = eval_settings(base.evaluate, background=Background(policy="prompts", names=("grass",)))
    return base.model_copy(update={"model": model, "method": method, "evaluate": evaluate})


@pytest.fixture(autouse=True)
def _shapes_may_be_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the checks of annotations: while a graph is traced, a height is a symbol and no int."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CLIP folder, and a checkpoint of each method."""
    root = tmp_path_factory.mktemp("export")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clip = ClipModel(config("zegclip").model.clip)
    save_clip(root / "clip", clip, words=list(WORDS))
    for method in METHODS:
        write_tiny_checkpoint(root / method, clip, config(method))
    return {"clip": root / "clip", **{method: root / method for method in METHODS}}


@pytest.mark.parametrize(
    "method",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("zegclip", "naclip")), "cascade_clip"],
)
def test_one_onnx_file_serves_any_batch_vocabulary_and_size(
    method: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    done = export.run(
        model=str(checkpoints[method]), clip=checkpoints["clip"], out=tmp_path / "out", labels=LABELS
    )
    assert done.difference is not None and done.difference <= core.TOLERANCE
    run, facts = core.load_onnx(done.file), read_json(tmp_path / "out" / export.FACTS_FILE)
    predictor = Predictor.load(checkpoints[method], checkpoints["clip"], device="cpu")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (
        predictor.manifest.config.data.mean, predictor.manifest.config.data.std))  # fmt: skip
    generator = torch.Generator().manual_seed(7)
    for batch, height, width, classes in ((1, 32, 32, 5), (2, 32, 32, 1), (3, 64, 64, 40), (1, 40, 71, 3)):
        levels = torch.rand(batch, 3, height, width, generator=generator) * 255
        vectors = F.normalize(torch.randn(classes, 16, generator=generator), dim=-1)
        asked = Vocabulary(predictor.segmentor, vectors, "focal_dice")
        expected = score_maps(asked, (levels - mean) / std, evaluate=EvalConfig(mode="whole")).numpy()
        assert np.abs(run(levels.numpy(), vectors.numpy()) - expected).max() <= 1e-4

    # What lies beside the graph suffices to label a picture as this code does.
    picture = np.random.default_rng(1).integers(0, 256, (40, 71, 3), dtype=np.uint8)
    vectors = np.load(tmp_path / "out" / export.VECTORS_FILE)
    (probabilities,) = run(picture.transpose(2, 0, 1)[None].astype(np.float32), vectors)
    scores = probabilities - np.array(facts["penalties"], dtype=np.float32)[:, None, None]
    assert (scores.argmax(axis=0) == predictor.predict(picture, LABELS).label_map).mean() > 0.999
    assert facts["labels"] == [*LABELS, "grass"]
    assert facts["penalties"] == pytest.approx([0.1, 0.0, 0.0, 0.0])


def test_the_facts_say_which_label_a_vector_is_of(checkpoints: dict[str, Path]) -> None:
    predictor = Predictor.load(checkpoints["zegclip"], checkpoints["clip"], device="cpu")
    assert "label_of_vector" not in export._facts(predictor, LABELS)
    zebra = {"name": "zebra", "synonyms": ["taxi"]}
    own = LabelFile.model_validate({"name": "own", "classes": [zebra, "tiger"]})
    config = predictor.manifest.config
    data = config.data.model_copy(update={"own": own, "protocol": own.protocol})
    predictor.manifest = predictor.manifest.model_copy(
        update={"config": config.model_copy(update={"data": data})}
    )
    predictor.evaluate = eval_settings(predictor.evaluate, synonyms="maximum")
    facts = export._facts(predictor, ["tiger", "zebra"])
    # The last one is the checkpoint's name for background.
    assert facts["labels"] == ["tiger", "zebra", "grass"]
    assert facts["label_of_vector"] == [0, 1, 1, 2] and len(facts["penalties"]) == 4


@pytest.mark.slow
def test_a_torch_graph_is_loaded_without_this_code(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    done = export.run(
        model=str(checkpoints["zegclip"]), clip=checkpoints["clip"], out=tmp_path / "out", kind="torch"
    )
    graph = torch.export.load(done.file).module()
    probabilities = graph(torch.rand(2, 3, 48, 32) * 255, F.normalize(torch.randn(9, 16), dim=-1))
    assert probabilities.shape == (2, 9, 48, 32)
    assert probabilities.numpy().min() >= 0 and probabilities.max() <= 1  # no gradient is kept


def test_a_folder_brings_the_text_tower_along(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    done = export.run(
        model=str(checkpoints["zegclip"]), clip=checkpoints["clip"], out=tmp_path / "out", kind="folder"
    )
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    assert Predictor.load(done.file, device="cpu").predict(picture, LABELS).label_map.shape == (32, 32)


def test_a_graph_that_differs_is_refused() -> None:
    run = config("zegclip")
    module = core.Exportable(build_segmentor(run.model, ClipModel(run.model.clip).visual, seed=0), run)
    assert not any(parameter.requires_grad for parameter in module.parameters())

    def off(images: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return (
                module(torch.from_numpy(images), torch.from_numpy(vectors)).numpy() + 0.25
            )  # far from float32's rounding of it

    with pytest.raises(ValueError, match=r"differs from torch by 0\.25 on"):
        core.check_graph(off, module)


def test_what_cannot_be_exported_is_told_before_any_work(tmp_path: Path) -> None:
    for options, message in (
        ({"kind": "tflite"}, "'tflite' is unknown; give one of onnx, torch, folder"),
        ({"kind": "folder", "labels": LABELS}, "--labels needs --format onnx or torch"),
        ({}, "is not a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            export.run(**{"model": str(tmp_path / "gone"), "clip": None, "out": tmp_path / "out", **options})
    with pytest.raises(ValueError, match=r"needs no_such_package.*cascade-clip-workflow\[export\]"):
        core.require_packages("onnx", "no_such_package")
