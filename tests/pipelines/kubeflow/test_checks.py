"""Checks of the pipelines' parameters before submission."""

import json
from pathlib import Path
from typing import Any

import pytest

from cascade_core.errors import UserError
from pipelines.kubeflow import (
    ablation,
    benchmark,
    catalogue,
    checks,
    cross_dataset,
    local_run,
    predict,
    zero_shot,
)
from pipelines.kubeflow.local_run import run_local
from pipelines.kubeflow.loop_items import loop_items
from pipelines.kubeflow.resources import names_registry

TARGET = {"raw": "/data/voc", "protocol": "voc12-20", "image_sets": '{"val": "val"}', "split": "val"}


def test_right_parameters_pass() -> None:
    zero_shot.check_parameters({"raw": "/data", "clip": "/clip"})
    ablation.check_parameters({"raw": "/data", "clip": "/clip"})
    cross_dataset.check_parameters({"checkpoint": "/c", "clip": "/clip", "targets": [TARGET]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raw": "gs://bucket/voc"}, r"targets\[0\].raw is 'gs://bucket/voc'; steps read folders and s3://"),
        ({"raw": " "}, r"targets\[0\].raw is empty"),
        ({"protocol": "voc"}, "unknown protocol 'voc'"),
        ({"split": "test"}, "parameter split is 'test'; image_sets has val"),
        ({"image_sets": "val"}, "image_sets: Invalid JSON: .*; its value is 'val'"),
        ({"image_sets": "[1]"}, "image_sets: Input should be a valid dictionary"),
        ({"image_sets": {"val": "val"}}, r"targets\[0\]: image_sets: Input should be a valid string"),
        (
            {"limit": "3"},
            r"targets\[0\]: limit: Extra inputs .* a target is a mapping of raw, protocol, image_sets, split, background",
        ),
        (
            {"background": "sky"},
            r"targets\[0\].background: background 'sky': .* allowed are dropped, threshold=0.3",
        ),
        ({"background": 0.3}, r"targets\[0\]: background: Input should be a valid string"),
        (
            {"protocol": "context60"},
            r"targets\[0\].background: protocol 'context60' counts background as a class",
        ),
        (
            {"protocol": "ade20k-150", "background": "threshold=0.3"},
            r"targets\[0\].background: label set 'ade20k150' has no raw id for background; use .* 'dropped'",
        ),
    ],
)
def test_a_wrong_target_is_refused_with_its_position(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cross_dataset.check_parameters({"targets": [{**TARGET, **change}]})


def test_a_targets_own_background_wins() -> None:
    context, ade = {**TARGET, "protocol": "context60"}, {**TARGET, "protocol": "ade20k-150"}
    parameters = {"targets": [context, {**ade, "background": "dropped"}], "background": "prompts=sky, wall"}
    cross_dataset.check_parameters(parameters)
    with pytest.raises(ValueError, match=r"targets\[1\].background: label set 'ade20k150'"):
        cross_dataset.check_parameters({**parameters, "targets": [context, ade]})


def test_an_empty_list_of_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="targets is empty"):
        cross_dataset.check_parameters({"targets": []})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": []}, "seeds is"),
        ({"seeds": [0, "1"]}, "expected whole numbers"),
        ({"seeds": [1, 1]}, "seeds is .* name each once"),
        ({"recipes": ["mini_zegclip", "mini_zegclip"]}, "recipes is .* name each once"),
        ({"recipes": ["mini"]}, "mini"),
        (
            {"overrides": '{"seed": 5}'},
            "override 'seed': seed is stated by --seed .a pipeline's parameter seed",
        ),
        ({"clip": "https://there/clip"}, "clip is 'https://there/clip'; steps read folders and s3://"),
    ],
)
def test_a_grid_that_cannot_run_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ablation.check_parameters(values)


def test_a_missing_folder_fails_before_any_step(tmp_path: Path) -> None:
    parameters = {"checkpoint": str(tmp_path), "clip": str(tmp_path), "targets": [TARGET]}
    with pytest.raises(ValueError, match=r"targets\[0\].raw: folder /data/voc does not exist"):
        run_local("cross_dataset", json.loads(json.dumps(parameters)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pods_take_absolute_places_and_clips_by_name() -> None:
    checks.check_absolute({"raw": "/data", "clip": "ViT-B-16", "protocol": "mini-18-6", "split": "val"})
    checks.check_absolute({"raw": "s3://bucket/voc", "clip": "/clip", "targets": [TARGET]})
    with pytest.raises(ValueError, match=r"parameter targets\[0\].raw is 'voc', a path on this machine"):
        checks.check_absolute({"targets": [{**TARGET, "raw": "voc"}]})


LIST = {"pictures": "/data/photos", "model": "models:/pets@champion", "labels": "zebra", "out": "s3://b/out"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pictures": ""}, "parameter pictures is empty"),
        ({"out": "gs://b/out"}, "parameter out is 'gs://b/out'; steps read folders and s3://"),
        ({"model": ""}, "parameter model is empty"),
        ({"clip": "https://there"}, "clip is 'https://there'"),
        ({"labels": " "}, "parameter labels is empty; give names by commas"),
        ({"labels": '"zebra'}, "parameter labels .* is not a list of names separated by commas"),
        ({"labels": "zebra, zebra"}, "zebra"),
        ({"labels": "gs://b/pets.yaml"}, "labels is 'gs://b/pets.yaml'"),
        ({"background": "sky"}, "background 'sky': .* allowed are dropped"),
        ({"scales": "1,big"}, "parameter scales '1,big' are not numbers"),
        ({"scales": ","}, "parameter scales is empty"),
        ({"shards": 0}, "parameter shards is 0; give a whole number of at least 1"),
        ({"batch": -1}, "parameter batch is -1; give a whole number of at least 0"),
        ({"short_side": -1}, "parameter short_side is -1"),
        ({"precision": "auto"}, "parameter precision is 'auto'; give fp32 or bf16, because auto depends"),
        ({"seen_penalty": "high"}, "parameter seen_penalty is 'high'; give a number from 0 to 1"),
        ({"seen_penalty": "1.5"}, "parameter seen_penalty is '1.5'"),
        ({"seen_penalty": "nan"}, "parameter seen_penalty is 'nan'"),
    ],
)
def test_a_list_to_predict_with_wrong_parameters_is_refused(values: dict[str, Any], message: str) -> None:
    predict.check_parameters(LIST)
    predict.check_parameters({**LIST, "labels": "/data/pets.yaml", "clip": "", "background": "dropped"})
    predict.check_parameters({**LIST, "precision": "bf16", "short_side": 512, "seen_penalty": "0"})
    with pytest.raises(ValueError, match=message):
        predict.check_parameters({**LIST, **values})


def test_an_iteration_is_named_by_its_shard() -> None:
    assert loop_items(predict.NAME, {"shards": 2.0}) == ["shard 0/2", "shard 1/2"]


def test_pods_take_absolute_lists_models_and_results() -> None:
    checks.check_absolute({**LIST, "clip": ""})
    checks.check_absolute({**LIST, "model": "mini"})
    for name, value in (
        ("pictures", "photos"),
        ("out", "out"),
        ("model", "my/model"),
        ("labels", "pets.yaml"),
    ):
        with pytest.raises(ValueError, match=f"parameter {name} is '{value}', a path on this machine"):
            checks.check_absolute({**LIST, name: value})


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("cascade-clip:1", False),
        ("team/cascade-clip:1", False),
        ("localhost/cascade-clip", True),
        ("registry:5000/cascade-clip:1", True),
        ("ghcr.io/team/cascade-clip@sha256:ab", True),
    ],
)
def test_an_images_name_says_whether_it_has_a_registry(image: str, named: bool) -> None:
    assert names_registry(image) == named


def test_any_recipe_trains_on_a_label_file() -> None:
    own = {"raw": "/data", "clip": "/clip", "protocol": "s3://bucket/pets.yaml"}
    zero_shot.check_parameters(own)
    ablation.check_parameters(own)
    target = {**TARGET, "protocol": "/data/pets.yaml"}
    cross_dataset.check_parameters({"checkpoint": "/c", "clip": "/clip", "targets": [target]})
    with pytest.raises(ValueError, match="parameter protocol is 'gs://bucket/pets.yaml'; steps read folders"):
        zero_shot.check_parameters({**own, "protocol": "gs://bucket/pets.yaml"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folders": "{}"}, "parameter folders: images: Field required"),
        ({"folders": '{"images": "i", "maps": "/m"}'}, "folders: maps: '/m' is no path below data.raw"),
        ({"protocol": "mini-18-6"}, "protocol is 'mini-18-6'; folders need the path of a label file"),
        ({"split": "test"}, "parameter split is 'test'; folders have train, val"),
    ],
)
def test_wrong_folders_are_refused(values: dict[str, Any], message: str) -> None:
    folders = '{"images": "images", "maps": "maps", "hold_out": {"val": 0.2}}'
    own = {"raw": "/data", "clip": "/clip", "protocol": "/data/pets.yaml", "folders": folders, "split": "val"}
    zero_shot.check_parameters(own)
    with pytest.raises(ValueError, match=message):
        zero_shot.check_parameters({**own, **values})


def test_a_missing_label_file_fails_before_any_step(tmp_path: Path) -> None:
    parameters = {"raw": str(tmp_path), "clip": str(tmp_path), "protocol": f"{tmp_path}/pets.yaml"}
    with pytest.raises(ValueError, match=r"protocol: label file .*pets\.yaml does not exist"):
        run_local("zero_shot", parameters, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"models": "both"}, "parameter models is 'both'; known are train, champions"),
        ({"models": "champions", "seeds": [1]}, "as they were trained; leave out seeds"),
        ({"thresholds": '{"max_drop_points": {}}'}, "parameter thresholds: max_slowdown_share"),
    ],
)
def test_a_benchmark_with_wrong_parameters_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark.check_parameters(values)


def test_a_benchmark_of_champions_needs_no_seeds() -> None:
    benchmark.check_parameters({"models": "champions", "recipes": ["mini_zegclip"]})


PLACES = {"raw": "/data", "clip": "/clip"}


@pytest.mark.parametrize("pipeline", ["zero_shot", "ablation"])
def test_a_limit_of_0_takes_all_and_a_negative_one_is_refused(pipeline: str) -> None:
    catalogue.check_submission(pipeline, {**PLACES, "limit": 0})
    with pytest.raises(UserError, match="parameter limit is -1; give the number of pictures, or 0 for all"):
        catalogue.check_submission(pipeline, {**PLACES, "limit": -1})
    with pytest.raises(UserError, match="parameter keep is -1; give the number of old results"):
        catalogue.check_submission(pipeline, {**PLACES, "keep": -1})


@pytest.mark.parametrize(
    ("pipeline", "changes", "values", "message"),
    [
        ("zero_shot", ["train.gpu.count=3"], {}, "recipe 'mini_zegclip', step train .*: train.batch_size=8, .* 3 "),
        ("zero_shot", ["train.nodes=3"], {"overrides": '{"train.batch_size": 6}'}, None),
        ("zero_shot", ["train.nodes=2", "train.gpu.count=2"], {"overrides": '{"train.batch_size": 6}'}, " 4 "),
        ("zero_shot", ["self_train.nodes=3"], {}, "step self_train .*: self_train.batch_size=8"),
        ("ablation", ["all.gpu.count=3"], {"overrides": '{"train.batch_size": 6}'}, None),
        ("benchmark", ["train.gpu.count=3"], {}, "step train"),
        ("benchmark", ["train.gpu.count=3"], {"models": "champions"}, None),
        ("cross_dataset", ["all.gpu.count=3"], {"targets": [TARGET]}, None),
    ],
)  # fmt: skip
def test_a_batch_that_gpus_cannot_share_is_refused(
    pipeline: str, changes: list[str], values: dict[str, Any], message: str | None
) -> None:
    def check() -> None:
        catalogue.check_submission(pipeline, {**PLACES, **values}, kind="gpu", changes=changes)

    if message is None:
        check()
        return
    with pytest.raises(ValueError, match=message):
        check()


@pytest.mark.parametrize("sentence", ["the loss is nan at step 2", None])
def test_a_local_run_ends_with_the_sentence_of_its_step(
    sentence: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = "Pipeline \x1b[95m'zero-shot'\x1b[0m failed. Inner task failed: 'train' inside 'loop'."

    @local_run._refusals_reported()
    def run() -> None:
        print("    cascade_core.errors.UserError: " + sentence if sentence else "    KeyError: 'x'")
        raise RuntimeError(failed)

    with pytest.raises((UserError, RuntimeError)) as caught:
        run()
    assert str(caught.value).startswith(f"step train stopped: {sentence}" if sentence else "Pipeline")
    assert "Error" in capsys.readouterr().out
