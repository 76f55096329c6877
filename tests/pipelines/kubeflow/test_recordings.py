"""The answers of a real Kubeflow Pipelines 2.17: our parsers read them, and the fake server answers in their shape."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp_server_api
import pytest

from pipelines.cli.run_lines import duration
from pipelines.kubeflow import schedules, uploads, waiting
from pipelines.kubeflow.argo_nodes import Node, node_id, nodes
from pipelines.kubeflow.cluster import Connection
from pipelines.kubeflow.reasons import exit_code, own_lines, reason_of
from pipelines.kubeflow.run_steps import Step, run_state, steps_of
from pipelines.kubeflow.specification import Specification, Stated
from pipelines.kubeflow.submit import submit
from tests.pipelines.kfp_nodes import Ran, Workflow
from tests.pipelines.kfp_server import PREFIX, Refused, Server

RECORDINGS = Path(__file__).parent / "recordings"
RUNS = sorted(path.stem for path in RECORDINGS.glob("run_*.json"))
NONE = Specification({}, {})
PIPELINE = frozenset({"pipeline_spec"})
SET_BY_US = frozenset({"description"})
"""A server leaves out an empty description, as those of the recordings were."""


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text())
    return content


def as_run(answer: Mapping[str, Any]) -> Any:
    """Read an answer as kfp's client does."""
    body = SimpleNamespace(data=json.dumps(answer))
    return kfp_server_api.ApiClient().deserialize(body, "V2beta1Run")


def steps(name: str, specification: Specification = NONE) -> dict[str, Step]:
    return {step.title: step for step in steps_of(as_run(recorded(name)["answer"]), specification)}


@pytest.mark.parametrize("name", RUNS)
def test_every_recorded_node_gets_its_place(name: str) -> None:
    tasks = as_run(recorded(name)["answer"]).run_details.task_details
    tree = nodes(tasks)
    assert len(tree) == sum(task.display_name is not None for task in tasks)
    (root,) = (node for node in tree.values() if node.name == node.node_id)
    assert all(node.name.startswith(root.name) for node in tree.values())
    assert all(node.node_id == node_id(root.name, node.name) for node in tree.values())


@pytest.mark.parametrize(
    ("name", "state", "states"),
    [
        ("run_cancelled", "CANCELED", "SUCCEEDED FAILED OMITTED SUCCEEDED"),
        ("run_deadline", "RUNNING", "SUCCEEDED SUCCEEDED RUNNING"),
        ("run_failed_in_loop", "FAILED", "FAILED FAILED"),
        ("run_failed_oom", "FAILED", "SUCCEEDED FAILED OMITTED SUCCEEDED"),
        ("run_failed_open_run", "FAILED", "FAILED OMITTED OMITTED SUCCEEDED"),
        ("run_image_missing", "RUNNING", "SUCCEEDED PENDING"),
        ("run_no_node", "RUNNING", "SUCCEEDED SUCCEEDED PENDING"),
        ("run_running", "RUNNING", "SUCCEEDED SUCCEEDED SUCCEEDED RUNNING RUNNING RUNNING RUNNING"),
        ("run_succeeded", "SUCCEEDED", " ".join(["SUCCEEDED"] * 13)),
    ],
)
def test_a_recorded_run_has_a_line_for_each_step(name: str, state: str, states: str) -> None:
    run = as_run(recorded(name)["answer"])
    assert run_state(run) == state
    assert [step.state for step in steps_of(run, NONE)] == states.split()


def test_iterations_are_named_by_recipe_and_seed() -> None:
    trainings = [title for title in steps("run_running") if title.startswith("train")]
    assert trainings == [
        f"train (mini_{method}, seed {seed})" for method in ("cascade_clip", "zegclip") for seed in (0, 1)
    ]
    assert list(steps("run_failed_in_loop")) == ["fails (iteration 0)", "fails (iteration 1)"]


def test_the_compiled_pipeline_gives_order_names_and_limits() -> None:
    container = {"image": "image:1", "resources": {"resourceCpuRequest": "2", "resourceMemoryRequest": "4Gi"}}
    tasks: dict[str, Any] = {
        "grid": {"componentRef": {"name": "comp-grid"}, "dependentTasks": ["open-run", "prepare"]},
        "open-run": {"componentRef": {"name": "comp-open-run"}},
        "prepare": {
            "componentRef": {"name": "comp-prepare"},
            "taskInfo": {"name": "prepare data"},
            "dependentTasks": ["open-run"],
        },
    }
    leaves = {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in tasks}
    group = {"exit-handler-1": {"componentRef": {"name": "comp-exit-handler-1"}}}
    pipeline = {
        "root": {"dag": {"tasks": group}},
        "components": {"comp-exit-handler-1": {"dag": {"tasks": tasks}}, **leaves},
        "deploymentSpec": {"executors": {"exec-prepare": {"container": container}}},
    }
    settings = {"activeDeadlineSeconds": "7200", "nodeSelector": {"labels": {"zone": "a"}}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-prepare": settings}}}}}
    stated = [step.stated for step in steps("run_running", Specification(pipeline, platform)).values()]
    assert [one.name for one in stated[:3]] == ["open-run", "prepare data", "grid"]
    assert (stated[1].minutes, stated[1].image) == (120, "image:1")
    assert stated[1].requests == "2 CPU, 4Gi memory, a node with zone=a"


def test_the_logs_say_why_a_step_failed() -> None:
    memory, error = ((RECORDINGS / f"log_failed_{name}.txt").read_text() for name in ("oom", "exception"))
    assert (exit_code(memory), own_lines(memory)) == (137, [])
    (sentence,) = own_lines(error)
    assert exit_code(error) == 1 and sentence.startswith("ValueError: Kubernetes, create TrainJob train-mini")
    prepare = steps("run_failed_oom")["prepare"]
    assert reason_of(prepare, memory)[0].startswith("killed for lack of memory (exit status 137)")
    assert "--resource prepare.memory=" in reason_of(prepare, memory)[0]
    assert reason_of(prepare, error) == ["exit status 1", sentence]
    assert reason_of(prepare, None) == ["failed; the server has no log of it, its page may"]


def test_a_step_of_the_length_of_its_limit_ran_into_it() -> None:
    began = datetime(2026, 11, 28, 20, tzinfo=UTC)
    stated = Stated("train", (), minutes=1)
    step = Step("train", "", "FAILED", began, began + timedelta(seconds=92), "node", False, stated)
    assert reason_of(step, None)[0].startswith("ran into its time limit of 1 min")
    assert duration(step) == "1 m 32 s"


@pytest.mark.parametrize(
    ("name", "title", "node"),
    [("run_no_node", "train (mini_zegclip)", 162481962), ("run_image_missing", "prepare", 514110590)],
)
def test_a_pod_that_does_not_start_is_reported(
    name: str, title: str, node: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    step = steps(name)[title]
    assert step.node.endswith(f"-{node}") and step.started is not None
    assert not waiting.waits(step, now=step.started + timedelta(minutes=2))
    assert waiting.waits(step, now=step.started + timedelta(minutes=4))
    sentence = waiting.waited_for("run-1", step, None)
    assert "kubectl describe pods --namespace kubeflow --selector pipeline/runid=run-1" in sentence


# The fake server.


def fake_error(server: Server, request: str, body: Any) -> tuple[int, dict[str, Any]]:
    method, path = request.split()
    with pytest.raises(Refused) as refused:
        server.answer(method, path, {}, body)
    return refused.value.status, refused.value.body()


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("error_*.json")))
def test_the_fake_server_refuses_as_the_real_one(server: Server, name: str) -> None:
    real = recorded(name)
    server.answer("POST", "/experiments", {}, {"display_name": "live"})
    (experiment_id,) = server.experiments
    body = real["body"] and {**real["body"], "experiment_id": experiment_id}
    if "terminate" in name:
        server.runs[real["request"].split("/")[-1].split(":")[0]] = {"state": "SUCCEEDED"}
    if "cron" in name:
        body |= {"pipeline_spec": {}, "trigger": {"cron_schedule": {"cron": "61 * * * *"}}}
        del body["pipeline_version_reference"]
    status, answer = fake_error(server, real["request"].replace(PREFIX, ""), body)
    assert (status, answer["code"]) == (real["status"], real["answer"]["code"])
    if "cron" not in name:  # the messages of the parser of cron expressions are its own
        assert answer == real["answer"]
    assert answer.keys() == real["answer"].keys()


@pytest.mark.parametrize(("name", "doubled"), [("run_succeeded", True), ("run_running", False)])
def test_the_fake_server_lists_the_nodes_of_a_real_one(name: str, doubled: bool) -> None:
    real = as_run(recorded(name)["answer"])
    tree = nodes(real.run_details.task_details)
    (root,) = (node for node in tree.values() if node.name == node.node_id)
    workflow = Workflow(root.name, doubled).add(ran_again(tree))
    answer = {**recorded(name)["answer"], "run_details": {"task_details": workflow.task_details()}}
    real_names = Counter(task.display_name for task in real.run_details.task_details if task.display_name)
    assert Counter(entry["display_name"] for entry in answer["run_details"]["task_details"]) == real_names
    again = steps_of(as_run(answer), NONE)
    assert {(step.title, step.node) for step in again} == {
        (step.title, step.node) for step in steps_of(real, NONE)
    }
    keys = {frozenset(task) for task in recorded(name)["answer"]["run_details"]["task_details"]}
    assert {frozenset(task) for task in answer["run_details"]["task_details"]} <= keys


def ran_again(tree: Mapping[str, Node]) -> list[Ran]:
    """Return the steps of a recorded run as the fake server keeps them."""
    steps_ = []
    for node in sorted(tree.values(), key=lambda node: node.started or datetime.max.replace(tzinfo=UTC)):
        if not node.name.endswith(".executor"):
            continue
        name = re.sub(r"\(\d+\)(?=\.|$)", "", node.name.removesuffix(".executor"))
        place = re.sub(r"\.iteration-iterations\((\d+):\d+\)\.iteration-item", r"-iteration-\1", name)
        parts = place.split(".")[2:]
        exits = "onExit" in parts
        steps_.append(
            Ran(
                place=(parts[-1],) if exits else tuple(parts),
                exits=exits,
                retries=int(f"{node.name}(0)" in tree),
                state=node.state,
                started=node.started.timestamp() if node.started else 0.0,
                ended=node.ended.timestamp() if node.ended else None,
            )
        )
    return steps_


@pytest.mark.parametrize(
    ("recording", "path"),
    [("healthz", "/healthz"), ("pipelines", "/pipelines"), ("experiments", "/experiments"),
     ("recurring_runs", "/recurringruns"), ("pipeline_versions", None)],
)  # fmt: skip
def test_the_fake_servers_lists_have_the_real_fields(
    cluster: Connection, server: Server, tiny: Path, recording: str, path: str | None
) -> None:
    stored = uploads.upload(cluster, tiny, name="tiny", version="0.1.0")
    values = {"text": "ab", "expected": "abab"}
    schedules.create(cluster, tiny, parameters=values, experiment="e", name="n", cron="0 0 3 * * *")
    for schedule in server.schedules.values():
        schedule["pipeline_spec"] = schedule.pop("pipeline_version_reference")
    path = path or f"/pipelines/{stored.pipeline_id}/versions"
    fits(server.answer("GET", path, {}, None), recorded(recording)["answer"], optional={"description"})


def test_the_fake_servers_run_has_the_real_fields(cluster: Connection, server: Server, tiny: Path) -> None:
    run = submit(cluster, tiny, parameters={"text": "a", "expected": "b"}, experiment="e")
    answer = server.answer("GET", f"/runs/{run.run_id}", {}, None)
    fits(answer, recorded("run_failed_oom")["answer"], optional={"run_details"}, extra=PIPELINE)


def fits(answer: Any, real: Any, *, optional: set[str], extra: frozenset[str] = frozenset()) -> None:
    """Check that an answer has the fields of a recorded one, each of its type."""
    if isinstance(real, Mapping) and "parameters" not in real:
        assert not real.keys() - answer.keys() - optional
        assert not answer.keys() - real.keys() - extra - SET_BY_US
        for name in real.keys() & answer.keys():
            fits(answer[name], real[name], optional=optional)
    elif isinstance(real, list):
        for entry in answer:
            fits(entry, real[0], optional=optional)
    elif not isinstance(answer, Mapping):  # recordings leave compiled pipelines out
        assert type(answer) is type(real)
