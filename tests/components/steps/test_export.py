"""Exported graphs give torch's logits, probabilities and labels for any batch, vocabulary and size."""

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.config import EvalConfig, RunConfig
from cascade_core.configs.model import LastBlock
from cascade_core.engines import check
from cascade_core.engines.formats import GRAPH_FILES, require_packages, write_onnx, write_openvino
from cascade_core.engines.graph import Exportable, Outputs, exported_program
from cascade_core.engines.int8 import quantise
from cascade_core.engines.running import load_graph, load_onnx, load_openvino
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.label_file import LabelFile
from cascade_core.mini.vocabulary import WORDS
from cascade_core.predictor import Predictor, eval_settings
from cascade_core.runtime.files import read_json
from components.exported import facts as exported_facts
from components.exported.calibration import calibration_inputs, calibration_pictures_in
from components.exported.facts import facts_of
from components.steps import export
from tests.score_maps import score_maps
from tests.tiny import TINY_CLIP, tiny_config, write_tiny_checkpoint

LABELS = ["zebra", "tiger", "sand"]
METHODS: dict[str, dict[str, Any]] = {
    "zegclip": {"fusion": "none", "groups": ()},
    "cascade_clip": {"fusion": "cascade", "groups": ((0,),)},
    "one_decoder": {
        "fusion": "cascade",
        "groups": ((0,),),
        "aggregation": "attention",
        "decoders": "shared",
        "query_projections": "shared",
        "prompt_depth": 1,
        "picture_cosine": 1.0,
        "patch_cosine": -1.5,
    },
    "otseg": {"fusion": "none", "groups": (), "decoder": "optimal_transport", "text": "templates"},
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


@pytest.fixture(scope="module")
def onnx(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Cascade-CLIP's ONNX graph."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jaxtyping.config, "jaxtyping_disable", True)
        export.run(model=str(checkpoints["cascade_clip"]), clip=checkpoints["clip"], out=out, labels=LABELS)
    return out


@pytest.fixture
def module(checkpoints: dict[str, Path]) -> Exportable:
    """Cascade-CLIP's module in torch."""
    predictor = Predictor.load(checkpoints["cascade_clip"], checkpoints["clip"], device="cpu")
    return Exportable(predictor.segmentor, predictor.manifest.config)


def assert_is_evaluations(file: Path, checkpoint: Path, clip: Path) -> None:
    """Compare an ONNX file's probabilities and labels with evaluation's, for sizes that no check used."""
    run, predictor = load_onnx(file), Predictor.load(checkpoint, clip, device="cpu")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (
        predictor.manifest.config.data.mean, predictor.manifest.config.data.std))  # fmt: skip
    generator = torch.Generator().manual_seed(7)
    for batch, height, width, classes in ((1, 32, 32, 5), (2, 32, 32, 1), (3, 64, 64, 40), (1, 40, 71, 3)):
        levels = torch.rand(batch, 3, height, width, generator=generator) * 255
        vectors = F.normalize(
            torch.randn(predictor.manifest.config.vectors_shape(classes), generator=generator), dim=-1
        )
        asked = Vocabulary(predictor.segmentor, vectors, "sigmoid", seen=(0,), seen_penalty=0.1)
        images = (levels - mean) / std
        expected = score_maps(asked, images, evaluate=EvalConfig(mode="whole")).numpy()
        penalties = asked.penalties.numpy()
        outputs = run(levels.numpy(), vectors.numpy(), penalties)
        scores = outputs.probabilities - penalties[:, None, None]
        assert np.abs(scores - expected).max() <= 1e-4
        # Another label than torch's is a tie.
        chosen = np.take_along_axis(expected, outputs.labels[:, None], axis=1)[:, 0]
        assert (chosen >= expected.max(axis=1) - 2e-4).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["zegclip", "one_decoder", "naclip", "otseg"])
def test_the_graph_of_every_method_is_evaluations(
    method: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    done = export.run(model=str(checkpoints[method]), clip=checkpoints["clip"], out=tmp_path / "out")
    assert done.differences is not None and done.differences.probabilities <= check.TOLERANCE
    assert_is_evaluations(done.file, checkpoints[method], checkpoints["clip"])


@pytest.mark.slow  # the iterations of the plans become one long graph
def test_a_graph_of_otseg_runs_in_every_format(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra openvino")
    predictor = Predictor.load(checkpoints["otseg"], checkpoints["clip"], device="cpu")
    module = Exportable(predictor.segmentor, predictor.manifest.config)
    inputs = list(check.examples(module))
    program, onnx, int8 = exported_program(module), tmp_path / "model.onnx", tmp_path / "int8.onnx"
    torch.export.save(program, tmp_path / "model.pt2")
    write_onnx(program, onnx)
    write_openvino(onnx, tmp_path / "model.xml")
    for kind, file in GRAPH_FILES.items():
        check.check_graph(load_graph(kind, tmp_path / file), module)
    quantise(onnx, int8, inputs)
    write_openvino(int8, tmp_path / "int8.xml")
    for run in (load_onnx(int8, threads=1), load_openvino(tmp_path / "int8.xml", threads=1)):
        assert 1e-4 < check.differences(run, module, inputs).probabilities < 0.1


def test_one_onnx_file_serves_any_batch_vocabulary_and_size(checkpoints: dict[str, Path], onnx: Path) -> None:
    assert_is_evaluations(onnx / "model.onnx", checkpoints["cascade_clip"], checkpoints["clip"])


def test_what_lies_beside_a_graph_suffices_to_label_a_picture(
    checkpoints: dict[str, Path], onnx: Path
) -> None:
    predictor = Predictor.load(checkpoints["cascade_clip"], checkpoints["clip"], device="cpu")
    facts = read_json(onnx / exported_facts.FACTS_FILE)
    picture = np.random.default_rng(1).integers(0, 256, (40, 71, 3), dtype=np.uint8)
    vectors = np.load(onnx / exported_facts.VECTORS_FILE)
    penalties = np.array(facts["penalties"], dtype=np.float32)
    levels = picture.transpose(2, 0, 1)[None].astype(np.float32)
    (labels,) = load_onnx(onnx / "model.onnx")(levels, vectors, penalties).labels
    assert (labels == predictor.predict(picture, LABELS).label_map).mean() > 0.999
    assert facts["labels"] == [*LABELS, "grass"]
    assert facts["penalties"] == pytest.approx([0.1, 0.0, 0.0, 0.0])
    assert (facts["format"], facts["precision"], facts["calibration_pictures"]) == ("onnx", "float32", 0)
    assert facts["differences_to_torch"]["labels_equal"] > 0.99


def test_openvino_computes_the_same_and_bf16_nearly_the_same(
    onnx: Path, module: Exportable, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra openvino")
    write_openvino(onnx / "model.onnx", tmp_path / "model.xml")
    assert check.check_graph(load_graph("openvino", tmp_path / "model.xml"), module).labels_equal > 0.99
    rounded = load_graph("openvino", tmp_path / "model.xml", precision="bf16", threads=1)
    assert check.differences(rounded, module, check.examples(module)).probabilities < 0.1
    inputs = next(check.examples(module))
    probabilities = rounded(*inputs).probabilities
    as_bf16 = torch.from_numpy(probabilities).bfloat16().float().numpy()
    assert (as_bf16 != probabilities).mean() > 0.5  # upsampled in float32


def test_an_int8_graph_runs_in_onnxruntime_and_openvino(
    onnx: Path, module: Exportable, tmp_path: Path
) -> None:
    inputs = list(check.examples(module))
    quantise(onnx / "model.onnx", tmp_path / "int8.onnx", inputs)
    run = load_onnx(tmp_path / "int8.onnx", threads=1)
    difference = check.differences(run, module, inputs)
    assert 1e-4 < difference.probabilities < 0.1 and difference.labels_equal > 0.5
    assert (tmp_path / "int8.onnx").stat().st_size < (onnx / "model.onnx").stat().st_size
    with pytest.raises(ValueError, match="differs from torch by"):
        check.check_graph(run, module)
    pytest.importorskip("openvino", reason="needs openvino, of the extra openvino")
    there = check.differences(load_openvino(tmp_path / "int8.onnx", threads=1), module, inputs)
    assert 1e-4 < there.probabilities < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_the_step_calibrates_on_a_folder_of_pictures(
    kind: export.Format, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra openvino")
    done = export.run(
        model=str(checkpoints["zegclip"]),
        clip=checkpoints["clip"],
        out=tmp_path / "out",
        kind=kind,
        calibrate=Path("examples"),
        calibration_pictures=2,
    )
    facts = read_json(tmp_path / "out" / exported_facts.FACTS_FILE)
    assert (facts["format"], facts["precision"], facts["calibration_pictures"]) == (kind, "int8", 2)
    assert done.differences is not None and facts["differences_to_torch"] == done.differences._asdict()
    inputs = (
        np.zeros((1, 3, 32, 32), dtype=np.float32),
        np.eye(16, dtype=np.float32),
        np.zeros(16, dtype=np.float32),
    )
    assert load_graph(kind, done.file)(*inputs).labels.shape == (1, 32, 32)


def test_the_facts_say_which_label_a_vector_is_of(checkpoints: dict[str, Path]) -> None:
    predictor = Predictor.load(checkpoints["zegclip"], checkpoints["clip"], device="cpu")
    assert "label_of_vector" not in facts_of(predictor, LABELS)
    zebra = {"name": "zebra", "synonyms": ["taxi"]}
    own = LabelFile.model_validate({"name": "own", "classes": [zebra, "tiger"]})
    config = predictor.manifest.config
    data = config.data.model_copy(update={"own": own, "protocol": own.protocol})
    predictor.manifest = predictor.manifest.model_copy(
        update={"config": config.model_copy(update={"data": data})}
    )
    predictor.evaluate = eval_settings(predictor.evaluate, synonyms="maximum")
    facts = facts_of(predictor, ["tiger", "zebra"])
    # The last one is the checkpoint's name for background.
    assert facts["labels"] == ["tiger", "zebra", "grass"]
    assert facts["label_of_vector"] == [0, 1, 1, 2] and len(facts["penalties"]) == 4


@pytest.mark.slow
def test_a_torch_graph_is_loaded_without_this_code(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    done = export.run(
        model=str(checkpoints["zegclip"]), clip=checkpoints["clip"], out=tmp_path / "out", kind="torch"
    )
    graph = torch.export.load(done.file).module()
    vectors = F.normalize(torch.randn(9, 16), dim=-1)
    logits, probabilities, labels = graph(torch.rand(2, 3, 48, 32) * 255, vectors, torch.zeros(9))
    assert logits.shape == (2, 9, 6, 4) and labels.shape == (2, 48, 32)
    assert probabilities.shape == (2, 9, 48, 32)
    assert probabilities.numpy().min() >= 0 and probabilities.max() <= 1  # no gradient is kept


def test_a_folder_brings_the_text_tower_along(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    done = export.run(
        model=str(checkpoints["zegclip"]), clip=checkpoints["clip"], out=tmp_path / "out", kind="folder"
    )
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    assert Predictor.load(done.file, device="cpu").predict(picture, LABELS).label_map.shape == (32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": 0.25}, r"differs from torch by 0\.25 \(probabilities\), more than 0\.0001, on"),
        ({"logits": 0.5}, r"differs from torch by 0\.5\d* \(logits\)"),
        ({"labels": 1}, r"differs from torch by [\d,]+ labels that are no ties"),
        ({"logits": np.nan}, r"differs from torch by inf \(logits\)"),
    ],
)
def test_a_graph_that_differs_is_refused(change: dict[str, float], message: str, module: Exportable) -> None:
    assert not any(parameter.requires_grad for parameter in module.parameters())

    def off(*inputs: np.ndarray) -> Outputs:
        outputs = module.outputs(*inputs)
        return outputs._replace(**{name: getattr(outputs, name) + value for name, value in change.items()})

    assert check.check_graph(module.outputs, module) == (0, 0, 1)
    with pytest.raises(ValueError, match=message):
        check.check_graph(off, module)


def test_another_label_counts_only_where_the_scores_are_no_tie() -> None:
    probabilities = np.array([[[[0.5, 0.5]], [[0.5, 0.4]]]], dtype=np.float32)
    expected = Outputs(probabilities, probabilities, np.zeros((1, 1, 2), dtype=np.int64))
    labels = np.ones((1, 1, 2), dtype=np.int64)
    assert check._wrong_labels(labels, expected, np.zeros(2)) == 1
    assert check._wrong_labels(labels, expected, np.array([0.2, 0.0])) == 0
    assert check._wrong_labels(labels + 1, expected, np.zeros(2)) == 2  # there is no third class


def test_calibration_sees_pictures_as_evaluation_does(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(5):
        Image.fromarray(np.full((40, 90, 3), index, dtype=np.uint8)).save(pictures / f"{index}.png")
    chosen = calibration_pictures_in(pictures, 2, out=tmp_path / "out")
    assert [path.stem for path in chosen] == ["0", "2"]
    predictor = Predictor.load(checkpoints["zegclip"], checkpoints["clip"], device="cpu")
    vocabulary = predictor.vocabulary(LABELS)
    for mode, shape in (("whole", (1, 3, 40, 90)), ("slide", (1, 3, 32, 32))):
        evaluate = EvalConfig(mode=mode, short_side=None, crop_size=32, stride=24)
        images, vectors, penalties = calibration_inputs(chosen, vocabulary, evaluate)[1]
        assert images.shape == shape and (images == 2).all()
        assert vectors.shape == (4, 16) and penalties.tolist() == pytest.approx([0.1, 0, 0, 0])


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path: Path) -> None:
    for options, message in (
        ({"kind": "tflite"}, "'tflite' is unknown; give one of onnx, openvino, torch, folder"),
        ({"kind": "folder", "labels": LABELS}, "--labels needs a graph"),
        ({"kind": "torch", "calibrate": tmp_path}, "--calibrate needs --format onnx or openvino"),
        ({"model": "mini", "calibrate": tmp_path}, "no picture in"),
        ({"model": "mini", "calibrate": tmp_path / "nowhere"}, "there is no such file or folder"),
        ({}, "is not a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            export.run(**{"model": str(tmp_path / "gone"), "clip": None, "out": tmp_path / "out", **options})
    for package, extra in (("onnx", "export"), ("openvino", "openvino")):
        with pytest.raises(ValueError, match=rf"needs no_such_package.*cascade-clip-workflow\[{extra}\]"):
            require_packages(package, "no_such_package")
    with pytest.raises(ValueError, match="computes in float32.*not in bf16; export with --format openvino"):
        load_graph("onnx", tmp_path / "model.onnx", precision="bf16")
