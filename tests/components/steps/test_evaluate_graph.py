"""An evaluation of an exported graph: the model's scores, its engine in the results, and what it refuses."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.manifest import MODEL_FILE, load_manifest
from cascade_core.clip.weights import load_clip
from cascade_core.configs.mini_recipes import mini_zegclip
from cascade_core.engines.graph import Exportable
from cascade_core.inference import precision
from cascade_core.runtime.files import read_json, sha256, write_json
from components.evaluation.job import Request, evaluation_job
from components.exported import graph_folder
from components.registry.decisions import read_scored
from components.results.names import SCORES, SCORES_FILE
from components.results.picture_counts import read_counts
from components.steps import evaluate, export
from tests.components.conftest import Folders
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def model(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "final"
    write_tiny_checkpoint(folder, load_clip(folders.clip)[0], mini_zegclip())
    return folder


@pytest.fixture
def graph(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes a folder of `export`; torch's module stands in for the graph's engine, as it is quick."""
    segmentor, manifest = load_segmentor(model)

    def write(**changes: Any) -> Path:
        folder = tmp_path / "graph"
        facts = {
            "format": "openvino",
            "precision": "float32",
            "weights": f"{sha256(model / MODEL_FILE)[:16]}-ab",
        }
        folder.mkdir()
        write_json(folder / "export.json", facts | changes)
        return folder

    outputs = Exportable(segmentor, manifest.config).outputs
    monkeypatch.setattr(graph_folder, "load_graph", lambda *_, **__: outputs)
    return write


def test_a_graph_scores_as_its_model_and_results_name_the_engine(
    graph: Callable[..., Path],
    folders: Folders,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = {**folders.steps, "checkpoint": model, "split": "val"}
    plain = evaluate.run(**common, out=tmp_path / "plain")
    done = evaluate.run(**common, graph=graph(precision="int8"), precision="bf16", out=tmp_path / "out")
    assert (plain.engine, plain.precision) == ("torch", "fp32")
    assert (done.engine, done.precision) == ("openvino", "int8 and bf16")
    assert read_json(tmp_path / "out" / SCORES_FILE) == asdict(done)
    for name in SCORES:
        assert getattr(done, name) == pytest.approx(getattr(plain, name), abs=1e-3)
    counts = [read_counts(tmp_path / folder) for folder in ("plain", "out")]
    assert counts[0] is not None and counts[1] is not None and counts[0].comparable(counts[1])
    done.show()
    assert "by openvino in int8 and bf16: pAcc" in capsys.readouterr().out
    assert read_scored(tmp_path / "plain").hiou == plain.hiou
    with pytest.raises(ValueError, match="scores a graph in openvino.*evaluate that without --graph"):
        read_scored(tmp_path / "out")


@pytest.mark.parametrize(("kind", "expected"), [("onnx", "fp32"), ("openvino", "bf16")])
def test_auto_takes_bf16_only_where_the_format_has_it(
    graph: Callable[..., Path], model: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: str
) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: True)
    folder = graph(format=kind)
    assert graph_folder.engine_of(folder, model, load_manifest(model), "auto").precision == expected


def test_a_graph_of_another_model_or_none_is_refused(
    graph: Callable[..., Path], folders: Folders, model: Path, tmp_path: Path
) -> None:
    common = {**folders.steps, "checkpoint": model, "split": "val", "out": tmp_path / "out"}
    with pytest.raises(ValueError, match="was exported from other weights than those of checkpoint"):
        evaluate.run(**common, graph=graph(weights="0123-ab"))
    (tmp_path / "graph" / "export.json").write_text("{}")
    with pytest.raises(ValueError, match=r"export.json: format: .*; export the graph again"):
        evaluate.run(**common, graph=tmp_path / "graph")
    with pytest.raises(ValueError, match="holds no export.json: it is no folder of a graph"):
        evaluate.run(**common, graph=model)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "precision", "tolerance"),
    [
        ("torch", {}, None, 1e-3),
        ("onnx", {}, None, 1e-3),
        ("openvino", {}, "bf16", 0.05),
        ("onnx", {"calibrate": Path("examples")}, None, 0.05),
    ],
)
def test_every_format_is_evaluated(
    kind: export.Format,
    options: dict[str, Any],
    precision: Any,
    tolerance: float,
    folders: Folders,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra openvino")
    with monkeypatch.context() as patched:
        # While a graph is traced, a height is a symbol and no int.
        patched.setattr(jaxtyping.config, "jaxtyping_disable", True)
        export.run(model=str(model), clip=folders.clip, out=tmp_path / "graph", kind=kind, **options)
    common = {**folders.steps, "checkpoint": model, "split": "val"}
    plain = evaluate.run(**common, out=tmp_path / "plain")
    done = evaluate.run(**common, graph=tmp_path / "graph", precision=precision, out=tmp_path / "out")
    assert done.pAcc == pytest.approx(plain.pAcc, abs=tolerance)


def test_a_graph_refuses_settings_of_the_checkpoints_model(tmp_path: Path) -> None:
    folders = {"checkpoint": tmp_path / "model", "graph": tmp_path / "graph"}
    with pytest.raises(ValueError, match="--patch-cosine and --inference-map would change the checkpoint's"):
        evaluation_job(folders, Request("val", patch_cosine=1.0, inference_map="scores"))
