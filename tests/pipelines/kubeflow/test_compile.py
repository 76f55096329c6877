"""The compiled pipelines: their YAML fits kfp's schemas and a summary of each pipeline."""

import ast
import re
from copy import deepcopy
from functools import cache, reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from components import ops
from components.cluster import trainjob
from components.cluster.names import DATA_FOLDER, SECRET
from components.ops.image import IMAGE, LIGHT_IMAGE
from pipelines.cli.kubeflow_options import Kind, PipelineName
from pipelines.graphs import defaults
from pipelines.kubeflow.catalogue import PIPELINES, compile_pipeline
from pipelines.kubeflow.resources import (
    RESOURCES,
    WAITING_MINUTES,
    images,
    local_resources,
    resources,
)
from tests.pipelines.kubeflow.summaries import COMMAND, GOLDEN, Documents, compiled, summary


@cache
def _compiled(pipeline: str = "zero_shot", **options: Any) -> Documents:
    """Compile once for several tests, which must not change the result."""
    return compiled(pipeline, **options)


def _executors(documents: Documents) -> dict[str, dict[str, Any]]:
    executors = documents[0]["deploymentSpec"]["executors"]
    return {name: one["container"] for name, one in executors.items() if "container" in one}


@pytest.mark.parametrize("pipeline", sorted(PIPELINES))
def test_a_pipeline_fits_its_summary(pipeline: str) -> None:
    page = summary({kind: _compiled(pipeline, kind=kind) for kind in RESOURCES})
    assert page == (GOLDEN / f"{pipeline}.txt").read_text(), f"if the change is meant: {COMMAND}"


@pytest.mark.parametrize("kind", sorted(RESOURCES))
@pytest.mark.parametrize("pipeline", sorted(PIPELINES))
def test_a_compiled_pipeline_fits_the_schemas_of_kfp(pipeline: str, kind: str) -> None:
    specification, platform = _compiled(pipeline, kind=kind)
    ParseDict(specification, PipelineSpec())
    parsed = ParseDict(platform, PlatformSpec())
    pods = parsed.platforms["kubernetes"].deployment_spec.executors
    assert set(pods) <= set(specification["deploymentSpec"]["executors"])
    for pod in pods.values():
        ParseDict(MessageToDict(pod), KubernetesExecutorConfig())


@pytest.mark.parametrize(
    ("document", "place"),
    [(0, ("root", "dag", "tasks", "close-run")), (1, ("platforms", "kubernetes", "deploymentSpec"))],
)
def test_a_field_that_the_schemas_lack_is_refused(document: int, place: tuple[str, ...]) -> None:
    extended = deepcopy(_compiled(kind="cpu")[document])
    reduce(getitem, place, extended)["retryPolicies"] = {"maxRetryCount": 1}
    with pytest.raises(ParseError, match="retryPolicies"):
        ParseDict(extended, (PipelineSpec, PlatformSpec)[document]())


def test_a_summary_shows_settings_without_a_sentence_too() -> None:
    documents = deepcopy(_compiled(kind="cpu"))
    pods = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    pods["exec-train"]["imagePullPolicy"] = "Always"
    _executors(documents)["exec-train"]["lifecycle"] = {"preStop": "none"}
    page = summary({"cpu": documents})
    assert '  imagePullPolicy "Always": train\n' in page
    assert '  lifecycle {"preStop": "none"}: train\n' in page


def test_the_commands_know_every_pipeline_and_kind() -> None:
    assert set(get_args(PipelineName)) == set(PIPELINES)
    assert set(get_args(Kind)) == set(RESOURCES)


def test_small_results_are_of_kinds_that_kubeflow_shows() -> None:
    components = _compiled()[0]["components"]
    kinds = {
        name: entry["artifactType"]["schemaTitle"]
        for component in components.values()
        for name, entry in component.get("outputDefinitions", {}).get("artifacts", {}).items()
    }
    assert kinds["scores"] == kinds["metrics"] == "system.Metrics"
    assert kinds["confusion"] == "system.ClassificationMetrics"
    assert kinds["page"] == "system.HTML"
    assert kinds["trained"] == kinds["self_trained"] == "system.Model"
    assert kinds["prepared"] == "system.Dataset"


def test_no_step_has_the_name_of_its_pipeline() -> None:
    """kfp would take that step's inputs for the pipeline's when it loads the YAML."""
    for pipeline in PIPELINES:
        specification = _compiled(pipeline, kind="cpu")[0]
        assert f"comp-{specification['pipelineInfo']['name']}" not in specification["components"]


def test_no_data_are_imported_as_artifacts() -> None:
    for pipeline, kind in product(PIPELINES, RESOURCES):
        executors = _compiled(pipeline, kind=kind)[0]["deploymentSpec"]["executors"].values()
        assert not [one for one in executors if "importer" in one], (pipeline, kind)


def test_every_step_runs_in_our_images_and_installs_nothing() -> None:
    image = "registry.example/image:1-python3.11"
    containers = _executors(_compiled(kind="gpu", image=image))
    in_image = {name: one["image"] for name, one in containers.items()}
    light = {"exec-open-run", "exec-close-run", "exec-report", "exec-index-both", "exec-prune"}
    assert in_image == {name: f"{image}-light" if name in light else image for name in containers}
    on_processors = _executors(_compiled(kind="cpu", image=image, light_image="image@sha256:12"))
    assert {one["image"] for one in on_processors.values()} == {image, "image@sha256:12"}
    assert not [name for name, container in containers.items() if "pip install" in str(container["command"])]


def test_every_step_has_its_resources() -> None:
    containers = _executors(_compiled(kind="gpu"))
    with_gpu = {name for name, one in containers.items() if "accelerator" in one["resources"]}
    evaluations = {"exec-evaluate", *(f"exec-evaluate-{number}" for number in (2, 3, 4))}
    assert with_gpu == {"exec-train", "exec-self-train", "exec-profile", *evaluations}
    assert all(one["resources"]["resourceMemoryLimit"] for one in containers.values())


def test_a_row_of_the_table_is_in_the_yaml() -> None:
    pipeline, platform = _compiled(kind="gpu")
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    row = RESOURCES["gpu"]["train"]
    assert settings["activeDeadlineSeconds"] == str(row.minutes * 60)
    assert settings["emptyDirMounts"][0]["sizeLimit"] == row.shared_memory
    assert settings["nodeSelector"]["labels"] == {"nvidia.com/gpu.present": "true"}
    assert settings["pvcMount"][0]["mountPath"] == DATA_FOLDER
    assert [one["optional"] for one in settings["secretAsEnv"]] == [False, True]
    graphs = [one["dag"]["tasks"] for one in pipeline["components"].values() if "dag" in one]
    (tasks,) = (tasks for tasks in graphs if "train" in tasks)
    assert tasks["train"]["retryPolicy"]["maxRetryCount"] == row.retries
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())


def test_steps_with_artifacts_have_retries_checking_steps_none() -> None:
    checking = {"comp-prepare", "comp-prepare-target"}
    for pipeline in PIPELINES:
        components = _compiled(pipeline, kind="gpu")[0]["components"].values()
        dags = [one["dag"]["tasks"].values() for one in components if "dag" in one]
        for task in (task for tasks in dags for task in tasks):
            if "artifacts" in task.get("inputs", {}) and not _is_a_group(task):
                assert task["retryPolicy"]["maxRetryCount"] > 0, task["taskInfo"]["name"]
            if task["componentRef"]["name"] in checking:
                assert "retryPolicy" not in task


@pytest.mark.parametrize(
    "changes", [(), ("all.retries=3", "all.minutes=7"), ("train.nodes=2", "train.minutes=9000")]
)
def test_all_tries_of_a_step_fit_into_its_retry_span(changes: tuple[str, ...]) -> None:
    for pipeline, kind in product(PIPELINES, RESOURCES) if not changes else [("zero_shot", "gpu")]:
        documents = _compiled(pipeline, kind=kind, changes=changes)
        pods = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        components = documents[0]["components"]
        graphs = [documents[0]["root"]["dag"], *(one["dag"] for one in components.values() if "dag" in one)]
        for name, task in (item for graph in graphs for item in graph["tasks"].items()):
            if (policy := task.get("retryPolicy")) is None:
                continue
            deadline = int(
                pods[components[task["componentRef"]["name"]]["executorLabel"]]["activeDeadlineSeconds"]
            )
            tries = policy["maxRetryCount"] + 1
            pauses = sum(30 * 2**number for number in range(tries - 1))
            span = int(policy["backoffMaxDuration"].removesuffix("s"))
            assert span >= tries * deadline + pauses + 24 * 3600, (pipeline, name)


def _is_a_group(task: dict[str, Any]) -> bool:
    return task["componentRef"]["name"].startswith(("comp-for-loop", "comp-condition", "comp-exit-handler"))


def test_a_step_gets_its_image_and_patience_as_variables() -> None:
    without_patience = {"exec-refuse-regression", "exec-refuse-regression-2", "exec-index-both"}
    without_patience |= {"exec-index-champion"}
    for name, one in _executors(_compiled("benchmark", kind="gpu", changes=("train.patience=9",))).items():
        seconds = {"exec-train": 540, "exec-open-run": 120}.get(name, 300)
        patience = (
            [{"name": "CASCADE_PATIENCE", "value": str(seconds)}] if name not in without_patience else []
        )
        cores = {"name": "CASCADE_CORES", "value": str(int(float(one["resources"]["resourceCpuLimit"])))}
        folder = {"name": "CASCADE_TRAININGS_VOLUME", "value": f"{DATA_FOLDER}/trainings"}
        volume = [folder] if name.startswith(("exec-train", "exec-self-train", "exec-prune")) else []
        assert one["env"] == [{"name": "CASCADE_IMAGE", "value": one["image"]}, cores, *volume, *patience]


def test_local_steps_have_no_retries_waiting_volume_or_image() -> None:
    rows = local_resources().values()
    assert {(row.retries, row.patience, row.tag_image, row.on_volume) for row in rows} == {
        (0, 0, False, False)
    }
    assert local_resources().keys() == RESOURCES["cpu"].keys()


def test_an_unknown_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown pipeline 'none'; known are zero_shot, inductive"):
        compile_pipeline("none", tmp_path / "pipeline.yaml")


def test_every_step_of_a_loop_says_what_it_works_on() -> None:
    """Kubeflow's page numbers iterations; the input parameters of a step distinguish them."""
    for pipeline in PIPELINES:
        for name, component in _compiled(pipeline, kind="cpu")[0]["components"].items():
            if not name.startswith("comp-for-loop"):
                continue
            for task in component["dag"]["tasks"].values():
                labels = set(task["inputs"].get("parameters", {}))
                wanted = {"cross_dataset": "target", "predict": "shard"}.get(pipeline, "recipe")
                assert wanted in labels, (pipeline, task["taskInfo"]["name"])


def test_bodies_only_call_steps() -> None:
    trees = [ast.parse(path.read_text()) for path in Path(ops.__file__).parent.glob("*.py")]
    functions = [
        node
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    assert {function.name for function in functions} == set(RESOURCES["cpu"])
    statements = {
        function.name: [node for node in function.body if not isinstance(node, ast.Import | ast.ImportFrom)]
        for function in functions
    }
    assert max(len(body) for body in statements.values()) <= 9


def test_steps_with_the_secret_read_it_before_all_else() -> None:
    """`run_component` does so for the generated components."""
    without = {name for name, row in RESOURCES["cpu"].items() if not row.secret}
    for path in Path(ops.__file__).parent.glob("*.py"):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.decorator_list:
                first = next(
                    node for node in function.body[1:] if not isinstance(node, ast.ImportFrom | ast.Import)
                )
                begins = ast.unparse(first).startswith(("enter()", f"run_component('{function.name}'"))
                assert begins or function.name in without, function.name


def test_a_step_may_take_the_tracking_server_of_kubeflows_plugin() -> None:
    documents = _compiled(kind="gpu", changes=("all.tracking=plugin",))
    assert {"name": "CASCADE_TRACKING", "value": "plugin"} in _executors(documents)["exec-train"]["env"]
    settings = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    (secret,) = settings["secretAsEnv"]
    assert secret["optional"] and not [
        one for one in secret["keyToEnv"] if "MLFLOW_TRACKING" in one["secretKey"]
    ]
    with pytest.raises(
        ValueError, match="train runs on 2 nodes, which Kubeflow's MLflow plugin does not know"
    ):
        resources("gpu", ["all.tracking=plugin", "train.nodes=2"])


def test_kinds_give_the_same_steps() -> None:
    assert set(RESOURCES["cpu"]) == set(RESOURCES["gpu"])


def test_unknown_resources_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown resources 'tpu'; known are cpu, gpu"):
        resources("tpu")


def test_a_compiled_pipelines_name_ends_in_yaml(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pipeline\.txt: a compiled pipeline is YAML"):
        compile_pipeline("zero_shot", tmp_path / "pipeline.txt")
    assert not list(tmp_path.iterdir())


def test_pipelines_default_to_the_parameter_file() -> None:
    parameters = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    benchmark = parameters["benchmark"]
    assert {"split": defaults.GATE_SPLIT, **yaml.safe_load(defaults.MARGINS)} == parameters["gate"]
    assert yaml.safe_load(defaults.THRESHOLDS) == benchmark["thresholds"]
    assert (benchmark["seeds"], list(parameters["recipes"].values())) == (defaults.SEEDS, defaults.RECIPES)
    assert yaml.safe_load(defaults.IMAGE_SETS) == parameters["data"]["image_sets"]
    for section in (parameters, benchmark):
        assert section["self_training"] == defaults.SELF_TRAINING
    assert (parameters["protocol"], parameters["evaluate"]["split"]) == (defaults.PROTOCOL, defaults.SPLIT)


def test_the_exit_handler_closes_the_run_after_any_failure() -> None:
    for pipeline in PIPELINES:
        tasks = _compiled(pipeline, kind="cpu")[0]["root"]["dag"]["tasks"]
        handler, closing = sorted(tasks, key=lambda name: not name.startswith("exit-handler"))
        assert tasks[closing]["componentRef"]["name"] == "comp-close-run"
        assert tasks[closing]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
        assert tasks[closing]["dependentTasks"] == [handler]


def _settings(documents: Documents, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a step's container requests, and its Kubernetes settings."""
    platform = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return _executors(documents)[name]["resources"], platform[name]


def test_resource_options_change_the_yaml() -> None:
    changes = (
        "train.gpu.count=4",
        "train.memory=64Gi",
        "all.gpu.resource=amd.com/gpu",
        "all.gpu.labels={zone: a}",
    )
    documents = _compiled(kind="gpu", changes=changes)
    train, where = _settings(documents, "exec-train")
    assert train["accelerator"]["resourceCount"] == "4" and train["resourceMemoryLimit"] == "64Gi"
    assert train["accelerator"]["resourceType"] == "amd.com/gpu"
    assert where["nodeSelector"]["labels"] == {"zone": "a"}
    assert [one["key"] for one in where["tolerations"]] == ["amd.com/gpu"]
    evaluate, _ = _settings(documents, "exec-evaluate")
    assert evaluate["accelerator"] == {
        "count": "1", "resourceCount": "1", "type": "amd.com/gpu", "resourceType": "amd.com/gpu",
    }  # fmt: skip
    assert "nvidia" not in yaml.safe_dump_all(documents)


def test_a_training_on_several_nodes_waits_in_a_light_pod() -> None:
    documents = _compiled(
        kind="gpu",
        image="image:1",
        changes=("train.nodes=2", "train.gpu.count=8", "train.runtime=ours", "train.queue=team"),
    )
    pod, where = _settings(documents, "exec-train")
    assert "accelerator" not in pod and "nodeSelector" not in where
    assert _executors(documents)["exec-train"]["image"] == "image:1-light"
    row = RESOURCES["gpu"]["train"]
    assert where["activeDeadlineSeconds"] == str((row.minutes + WAITING_MINUTES) * 60)
    graphs = [one["dag"]["tasks"] for one in documents[0]["components"].values() if "dag" in one]
    (tasks,) = (tasks for tasks in graphs if "train" in tasks)
    given = tasks["train"]["inputs"]["parameters"]["nodes"]["runtimeValue"]["constant"]
    nodes = trainjob.Nodes.model_validate_json(given)
    assert (nodes.nodes, nodes.gpus, nodes.memory, nodes.image) == (2, 8, row.memory, "image:1")
    assert (nodes.runtime, nodes.queue) == ("ours", "team")
    assert (str(nodes.volumes[0].folder), nodes.secret) == (DATA_FOLDER, SECRET)
    assert "nodes" not in tasks["self-train"]["inputs"]["parameters"]


def test_kueues_label_is_on_the_pods_of_a_step_with_a_queue() -> None:
    """Several nodes have it on the TrainJob, and not on the pod that waits for them."""
    label = {"labels": {"kueue.x-k8s.io/queue-name": "team"}}
    documents = _compiled("predict", kind="gpu", changes=("predict.queue=team", "predict.parallelism=3"))
    pods = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name: pod["podMetadata"] for name, pod in pods.items() if "podMetadata" in pod} == {
        "exec-predict": label
    }
    (loop,) = (
        task
        for component in documents[0]["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "iteratorPolicy" in task
    )
    assert loop["iteratorPolicy"] == {"parallelismLimit": 3}
    for changes in (("train.queue=team",), ("train.queue=team", "train.nodes=2")):
        _, train = _settings(_compiled(kind="gpu", changes=changes), "exec-train")
        assert train.get("podMetadata") == (label if len(changes) == 1 else None)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train", "is not STEP.FIELD=VALUE; an example is"),
        ("train=4", "is not STEP.FIELD=VALUE"),
        ("trian.cpu=4", "no step 'trian'; there are all, open_run"),
        ("train.cores=4", "no field 'cores'; there are cpu, memory, minutes"),
        ("train.gpu.model=H100", "no field 'gpu.model'; there are count, resource, labels"),
        ("train.gpu.count=0", "greater than 0.*got 0"),
        ("train.memory=lots", "should match pattern.*got 'lots'"),
        ("train.cpu=[", "is not a YAML value"),
        ("register.gpu.count=2", "register has no GPU; take --kind gpu, or another step"),
        ("train.image=light", "no field 'image'; there are cpu, memory, minutes"),
        ("train.parallelism=2", "a parallelism is for the step predict only"),
        ("predict.parallelism=0", "greater than 0.*got 0"),
        ("evaluate.nodes=2", "several nodes are for the steps train and self_train only"),
    ],
)
def test_a_wrong_resource_option_is_refused(item: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"--resource {re.escape(repr(item))}.*{message}"):
        resources("gpu", [item])


def test_a_number_becomes_text_if_the_field_is_text() -> None:
    assert resources("cpu", ["train.cpu=4"])["train"].cpu == "4"


def test_images_come_in_pairs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CASCADE_COMMIT", "ab" * 20)
    assert images(None, None) == (f"{IMAGE}-abababababab", f"{IMAGE}-abababababab-light")
    assert images(IMAGE, None) == (IMAGE, LIGHT_IMAGE) and not caplog.messages
    monkeypatch.setenv("CASCADE_COMMIT", f"{'ab' * 20}-dirty")
    assert images(None, None)[0].endswith("-dirty")
    assert "nodes keep the image that they have pulled" in caplog.text
    assert images("host:5000/image:1", None) == ("host:5000/image:1", "host:5000/image:1-light")
    for untagged in ("image@sha256:12", "host:5000/image"):
        with pytest.raises(ValueError, match=f"image '{untagged}' has no tag"):
            images(untagged, None)
        assert images(untagged, "other") == (untagged, "other")
