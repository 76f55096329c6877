"""A released checkpoint becomes one of ours, which every later step takes."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.clip.weights import load_text_tower
from cascade_core.engines.check import TOLERANCE
from cascade_core.predictor import Predictor
from cascade_core.released.weights import CLASS_WEIGHT_BUFFER, TEXT_PREFIX, our_name
from cascade_core.runtime.files import read_json
from components.artifacts.manifest import read_step_manifest
from components.steps import convert, evaluate, export, profile, register
from tests.components.conftest import Folders, write_earlier
from tests.released import released_shapes, small_released, write_released

ZEG, CASCADE = "zeg_voc", "cascade_voc"
STATED = {"protocol": "mini-18-6", "setting": "inductive"}


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    return {name: small_released(name, num_fed=18) for name in (ZEG, CASCADE)}


@pytest.mark.parametrize("name", [ZEG, CASCADE])
def test_every_weight_arrives_and_the_optimiser_stays_behind(
    name: str, states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    file = write_released(tmp_path / "iter.pth", states[name], prefix="module.")
    done = convert.run(checkpoint=file, out=tmp_path / "out", **STATED)
    weights = load_file(done.final / "model.safetensors")
    released = {
        our_name(key): tensor
        for key, tensor in states[name].items()
        if not key.startswith(TEXT_PREFIX) and key != CLASS_WEIGHT_BUFFER
    }
    assert weights.keys() == released.keys()
    assert all(torch.equal(weights[key], tensor) for key, tensor in released.items())
    assert sorted(path.name for path in done.final.iterdir()) == ["manifest.json", "model.safetensors"]
    manifest = load_segmentor(done.final)[1]
    assert (manifest.config.method, manifest.setting) == (
        {ZEG: "zegclip", CASCADE: "cascade_clip"}[name],
        "inductive",
    )
    assert manifest.provenance["converted_from"] == "iter.pth"
    assert read_step_manifest(tmp_path / "out").parameters == STATED


def test_the_text_tower_comes_along_where_it_is_there(
    states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    file = write_released(tmp_path / "iter.pth", states[ZEG])
    done = convert.run(checkpoint=file, out=tmp_path / "out", **STATED)
    assert done.text_tower is not None
    text, _ = load_text_tower(done.text_tower)
    assert torch.equal(text.token_embedding.weight, states[ZEG]["text_encoder.token_embedding.weight"])
    without = {key: tensor for key, tensor in states[ZEG].items() if not key.startswith(TEXT_PREFIX)}
    again = convert.run(
        checkpoint=write_released(tmp_path / "bare.pth", without), out=tmp_path / "out", **STATED
    )
    assert again.text_tower is None
    assert not (tmp_path / "out" / convert.TEXT_TOWER).exists()


# The authors' configurations state four workers, more than a small machine has.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")
def test_every_step_takes_a_converted_model(
    folders: Folders, states: dict[str, dict[str, Tensor]], store: Path, tmp_path: Path
) -> None:
    import mlflow

    file = write_released(tmp_path / "iter.pth", states[CASCADE])
    done = convert.run(checkpoint=file, out=tmp_path / "out", **STATED)
    assert done.text_tower is not None
    scored = evaluate.run(
        **folders.steps, checkpoint=done.final, split="test", limit=1, out=tmp_path / "evaluation"
    )
    assert (scored.method, scored.seen_penalty) == ("cascade_clip", 0.1)
    cost = profile.run(checkpoints=(done.final,), text=folders.text, out=tmp_path / "profile").cost
    assert cost.trainable_params > 0
    registered = register.run(
        checkpoint=done.final,
        clip=done.text_tower,
        evaluation=tmp_path / "evaluation",
        profile=tmp_path / "profile",
        out=tmp_path / "registered",
    )
    assert (registered.name, registered.champion) == ("mini-18-6-cascade_clip", True)
    picture, labels = (
        np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype=np.uint8),
        ["a dog", "犬, 猫"],
    )
    ours = Predictor.load(done.final, done.text_tower, device=torch.device("cpu")).predict(picture, labels)
    loaded = mlflow.pyfunc.load_model(f"models:/{registered.name}@champion").unwrap_python_model().predictor
    assert np.array_equal(loaded.predict(picture, labels).label_map, ours.label_map)
    exported = export.run(
        model=str(done.final), clip=done.text_tower, out=tmp_path / "exported", kind="folder"
    )
    exported_model = Predictor.load(exported.file, device="cpu")
    assert np.array_equal(exported_model.predict(picture, labels).label_map, ours.label_map)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_converted_model_exports_as_a_graph(
    kind: str, states: dict[str, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # traced, a height is a symbol and no int
    file = write_released(tmp_path / "iter.pth", states[CASCADE])
    done = convert.run(checkpoint=file, out=tmp_path / "out", **STATED)
    exported = export.run(
        model=str(done.final), clip=done.text_tower, out=tmp_path / "graph", kind=kind, labels=["dog", "sofa"]
    )
    assert exported.difference is not None and exported.difference <= TOLERANCE


def test_an_unsuitable_file_is_named_and_leaves_the_old_folder(
    states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    write_earlier(tmp_path / "out", "convert")
    lacking = {key: tensor for key, tensor in states[ZEG].items() if key != "backbone.ln_pre.bias"}
    for content, message in (
        (states[ZEG], r"iter\.pth: the checkpoint is zegclip .*--protocol"),
        (lacking, r"iter\.pth: checkpoint does not fit: missing backbone\.ln_pre\.bias"),
        ({"conv.weight": torch.ones(1)}, r"iter\.pth: unknown checkpoint layout"),
    ):
        stated = STATED if content is lacking else {}
        with pytest.raises(ValueError, match=message):
            convert.run(
                checkpoint=write_released(tmp_path / "iter.pth", content), out=tmp_path / "out", **stated
            )
    assert (tmp_path / "out" / "kept").read_text() == "earlier"


@pytest.mark.slow
def test_a_full_size_checkpoint_gets_the_published_recipe(tmp_path: Path) -> None:
    buffer = torch.randn(49408 * 512, generator=torch.Generator().manual_seed(0))
    state = {
        key: buffer[: tensor.numel()].view(tensor.shape).clone()
        for key, tensor in released_shapes("cascade_voc").items()
    }
    done = convert.run(checkpoint=write_released(tmp_path / "iter_20000.pth", state), out=tmp_path / "out")
    content = read_json(done.final / "manifest.json")
    assert (content["config"]["recipe"], content["setting"]) == ("cascade_voc12", "inductive")
    assert content["unseen"] == ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]
    segmentor, _ = load_segmentor(done.final)
    assert sum(parameter.numel() for parameter in segmentor.trunk.visual.parameters()) > 86e6
    assert done.text_tower is not None
    assert load_text_tower(done.text_tower)[0].text_projection.shape == (512, 512)
