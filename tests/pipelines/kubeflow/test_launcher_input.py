"""How many runs one report can gather: the launcher's input, in the form that a server was seen to pass."""

import json
from pathlib import Path
from typing import Any

import pytest

from cascade_core.errors import UserError
from pipelines.kubeflow import ablation, benchmark, catalogue, cross_dataset, predict, zero_shot
from pipelines.kubeflow.catalogue import ARGUMENT_BYTES, PIPELINES, check_submission, most_items
from tests.pipelines.kubeflow.summaries import compiled

LOG = Path(__file__).with_name("recordings") / "log_failed_exception.txt"
PLACES = {"raw": "/data", "clip": "/clip"}
TARGET = {"raw": "/data", "protocol": "mini-18-6", "image_sets": '{"val": "val"}', "split": "val"}
RUNS = 200
NAMES = {
    "zero_shot": zero_shot.NAME,
    "inductive": zero_shot.INDUCTIVE,
    "cross_dataset": cross_dataset.NAME,
    "ablation": ablation.NAME,
    "benchmark": benchmark.NAME,
    "predict": predict.NAME,
}


def executor_input() -> dict[str, Any]:
    """Return what the launcher passed to a step on a cluster, as the step's log holds it."""
    _, _, text = LOG.read_text(encoding="utf-8").partition("Got executor_input:")
    content, _ = json.JSONDecoder().raw_decode(text.lstrip())
    assert isinstance(content, dict)
    return content


def gathering_input(pipeline: str, items: int) -> str:
    """Return the input of the step that gathers indices; artifacts without metadata of ours look as that of `splits`."""
    content = executor_input()
    artifact = content["inputs"]["artifacts"]["splits"]["artifacts"][0]
    address = artifact["uri"].replace("zero-shot-segmentation", NAMES[pipeline])
    index = {
        **artifact,
        "name": "123456",
        "uri": address.replace("/prepare/", "/evaluate-target/").replace("splits", "index"),
        "metadata": {**artifact["metadata"], "display_name": "index"},
    }
    content["inputs"]["artifacts"] = {"runs": {"artifacts": [index] * items}}
    return json.dumps(content)


def test_a_report_can_gather_200_runs() -> None:
    for pipeline in PIPELINES:
        for items in (RUNS, most_items()):
            assert len(gathering_input(pipeline, items)) < ARGUMENT_BYTES, pipeline
    assert most_items() >= RUNS


@pytest.mark.slow
def test_only_one_list_of_artifacts_without_metadata_is_gathered() -> None:
    """Otherwise the number of bytes per run is another."""
    for pipeline in PIPELINES:
        components = compiled(pipeline, kind="cpu")[0]["components"]
        for name, component in components.items():
            artifacts = component.get("inputDefinitions", {}).get("artifacts", {})
            lists = [key for key, entry in artifacts.items() if entry.get("isArtifactList")]
            assert lists in ([], ["runs"]) or "dag" in component, (pipeline, name)


def test_more_shards_than_one_argument_holds_are_refused() -> None:
    values = {"pictures": "/data/photos", "model": "mini", "labels": "zebra", "out": "s3://bucket/out"}
    check_submission("predict", {**values, "shards": RUNS})
    with pytest.raises(
        UserError, match=f"loop has 300 iterations, .* takes at most {most_items()}.* fewer shards"
    ):
        check_submission("predict", {**values, "shards": 300})


@pytest.mark.parametrize(
    ("pipeline", "values"),
    [
        ("ablation", {"recipes": ["mini_zegclip"], "seeds": list(range(RUNS))}),
        ("benchmark", {"recipes": ["mini_zegclip", "mini_cascade_clip"], "seeds": list(range(RUNS // 2))}),
        ("cross_dataset", {"checkpoint": "/c", "targets": [TARGET] * RUNS}),
    ],
)
def test_more_runs_than_one_argument_holds_are_refused(pipeline: str, values: dict[str, Any]) -> None:
    check_submission(pipeline, {**PLACES, **values})
    name = "targets" if "targets" in values else "seeds"
    many = {**values, name: [TARGET] * 300 if name == "targets" else list(range(300))}
    with pytest.raises(UserError, match=f"loop has .* iterations, .* takes at most {most_items()}"):
        check_submission(pipeline, {**PLACES, **many})


def test_parameters_longer_than_one_argument_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ARGUMENT_BYTES", 5000)
    monkeypatch.setattr(catalogue, "most_items", lambda: 100)
    values = {**PLACES, "checkpoint": "/c", "targets": [TARGET] * 9}
    with pytest.raises(UserError, match="parameters take .* bytes, .* pass 904 .* the longest is targets"):
        check_submission("cross_dataset", values)
