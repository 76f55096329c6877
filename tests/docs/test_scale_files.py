"""The files of docs/scale.md for schedulers: known fields, names of the project, and calls that the command line takes."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from components.cluster.names import DATA_CLAIM, DATA_FOLDER, SECRET
from components.cluster.trainjob import QUEUE_LABEL
from components.registry.registered_model import AREA_TYPES, MAX_ROWS, SIGNATURE
from tests.cli_commands import command_at
from tests.document_blocks import ROOT, blocks

BLOCKS = list(blocks(ROOT / "docs/scale.md"))
MANIFESTS = {
    content["kind"]: content for b in BLOCKS if b.kind == "yaml" for content in [yaml.safe_load(b.text)]
}
RAY_FIELDS = {
    "spec": {"entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes", "submissionMode"},
    "rayClusterSpec": {"headGroupSpec", "rayVersion", "workerGroupSpecs"},
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "template"},
}
"""Fields of KubeRay's ray.io/v1 (rayjob_types.go, raycluster_types.go), as far as the page needs them."""


def text_with(mark: str) -> str:
    (text,) = [block.text for block in BLOCKS if mark in block.text and block.kind == "text"]
    return text


def known(kind: str, content: Any) -> bool:
    """Return whether Kubernetes' model of a kind keeps all of `content`; it drops unknown fields, and raises at wrong types."""
    api = client.ApiClient()
    return bool(api.sanitize_for_serialization(api._ApiClient__deserialize(content, kind)) == content)


def parsed(call: str, **variables: str) -> dict[str, Any]:
    """Return the options of a call of `cascade-clip predict` in a shell with these variables."""
    for name, value in variables.items():
        call = call.replace(f"${name}", value)
    program, command, *words = shlex.split(call[call.index("cascade-clip") :].replace("\\\n", " "))
    assert (program, command) == ("cascade-clip", "predict") and "$" not in call
    return dict(command_at("predict").make_context("predict", words).params)


def check_pod(pod: dict[str, Any]) -> None:
    (volume,), (container,) = pod["volumes"], pod["containers"]
    assert volume["persistentVolumeClaim"]["claimName"] == DATA_CLAIM
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": DATA_FOLDER}]


def test_the_array_of_slurm_labels_every_shard() -> None:
    script = text_with("#SBATCH")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", script, re.M))
    assert options.keys() == {"job-name", "array", "gpus-per-task", "cpus-per-task", "mem", "time", "requeue"}
    first, last = map(int, options["array"].split("-"))
    count = last - first + 1
    call = parsed(script, SLURM_ARRAY_TASK_ID=str(last), SLURM_ARRAY_TASK_COUNT=str(count))
    assert first == 0 and call["shard"] == f"{last}/{count}"


def test_the_indexed_job_labels_every_shard() -> None:
    job = MANIFESTS["Job"]
    assert known("V1Job", job) and QUEUE_LABEL in job["metadata"]["labels"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never"
    check_pod(pod)
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": SECRET}}]
    call = parsed(container["args"][0], JOB_COMPLETION_INDEX="3")
    assert call["shard"] == f"3/{spec['completions']}" and call["out"].startswith(DATA_FOLDER)


def test_the_job_of_ray_has_known_fields_and_pods() -> None:
    job = MANIFESTS["RayJob"]
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert job["apiVersion"] == "ray.io/v1" and QUEUE_LABEL in job["metadata"]["labels"]
    assert known("V1ObjectMeta", job["metadata"])
    assert spec["shutdownAfterJobFinishes"] is True  # Kueue asks for it.
    call = parsed(spec["entrypoint"])
    assert (call["engine"], call["shard"]) == ("ray", "0/1")
    groups = [("headGroupSpec", cluster["headGroupSpec"])]
    groups += [("workerGroupSpecs", group) for group in cluster["workerGroupSpecs"]]
    for name, content in [("spec", spec), ("rayClusterSpec", cluster), *groups]:
        assert content.keys() == RAY_FIELDS[name], name
    for _, group in groups:
        assert known("V1PodTemplateSpec", group["template"])
        check_pod(group["template"]["spec"])
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    needs = yaml.safe_load(
        re.search(r'"(ray\[data\][^"]*)"', Path(ROOT, "pyproject.toml").read_text("utf-8"))[1]
    )
    assert cluster["rayVersion"].rpartition(".")[0] in needs


def test_sparks_function_asks_for_what_the_model_answers() -> None:
    script = text_with("spark_udf")
    ast.parse(script)
    fields = dict(re.findall(r"(\w+): (bigint|string|double)", script))
    kinds = {"long": "bigint", "string": "string", "double": "double"}
    assert fields == {name: kinds[kind] for name, kind in AREA_TYPES.items()}
    answer = {column.name for column in SIGNATURE.outputs.inputs}
    assert set(re.search(r'result_type=f"(\w+) double, (\w+) array', script).groups()) <= answer
    assert set(re.findall(r'alias\("(image|labels)"\)', script)) == {
        column.name for column in SIGNATURE.inputs.inputs
    }
    assert int(re.search(r'maxRecordsPerBatch", "(\d+)"', script)[1]) <= MAX_ROWS


def test_a_wrong_field_is_seen() -> None:
    job = MANIFESTS["Job"]
    assert not known("V1Job", {**job, "spec": {**job["spec"], "completionmode": "Indexed"}})
    with pytest.raises(Exception, match="No such option"):
        parsed("cascade-clip predict --shards 0/2")
