"""Commands for runs, uploads and schedules, with kfp's own client and a server that executes pipelines."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from cascade_core.configs.ablations import cells_of
from pipelines.cli.app import app
from pipelines.cli.kubeflow_options import PackageChoice, RunParameters
from pipelines.graphs.defaults import SEEDS
from pipelines.kubeflow import run_texts, schedules, submit, uploads
from pipelines.kubeflow.catalogue import pipeline_items
from pipelines.kubeflow.cluster import Connection
from pipelines.kubeflow.submit import follow
from tests.pipelines.kfp_server import Fault, Server

GOOD = ("-p", "text=ab", "-p", "expected=ababab", "-p", "times=3")
BAD = ("-p", "text=ab", "-p", "expected=x")
pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(autouse=True)
def _commands_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Poll fast, clear the environment's settings, and restore logging, which commands configure."""
    monkeypatch.setattr("pipelines.cli.pipeline.POLL_SECONDS", 0.1)
    for name in ("KFP_NAMESPACE", "KFP_EXISTING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def command(server: Server, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["pipeline", *arguments], env={"KFP_ENDPOINT": server.host})


@pytest.mark.parametrize("package", ["tiny", "tiny_with_kubernetes"])
def test_a_run_is_submitted_followed_and_succeeds(
    server: Server, package: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(package)
    done = command(server, "submit", "--package", str(path), *GOOD, "--wait")
    assert done.exit_code == 0, done.output
    (run_id,) = server.runs
    assert done.stdout == f"{run_id}\n"
    lines = done.stderr.splitlines()
    assert any(re.match(r"SUCCEEDED  check +\d+ s$", line) for line in lines), lines
    assert lines[-1].startswith("SUCCEEDED  tiny")
    (written,) = (server.root / run_id).rglob("check/written")
    assert written.read_text() == "ababab"
    (body,) = (body for method, path, body in server.requests if (method, path[-5:]) == ("POST", "/runs"))
    nested = set(body["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    assert nested == (package == "tiny_with_kubernetes")
    assert body["runtime_config"]["parameters"] == {"text": "ab", "expected": "ababab", "times": 3}


def test_a_failed_run_says_why_and_exits_with_3(server: Server, tiny: Path) -> None:
    done = command(server, "submit", "--package", str(tiny), *BAD, "--wait")
    assert done.exit_code == 3, done.output
    (run_id,) = server.runs
    again = command(server, "status", run_id)
    assert again.exit_code == 3
    write, check, error, run = again.stdout.splitlines()
    assert re.match(r"SUCCEEDED  write +\d+ s$", write)
    assert re.match(r"FAILED     check +\d+ s  exit status 1$", check)
    assert error == "           | ValueError: note is 'abab', expected 'x'"
    assert run.startswith("FAILED     tiny") and run.endswith(f"/#/runs/details/{run_id}")
    assert error in done.stderr.splitlines()
    (server.root / run_id / "logs" / "check").unlink()
    assert "  failed; the server has no log of it" in command(server, "status", run_id).stdout
    run = json.loads(command(server, "status", run_id, "--json").stdout)
    assert (run["run_id"], run["state"]) == (run_id, "FAILED")
    assert any("the server has no log of it" in note for step in run["steps"] for note in step["notes"])


def test_a_terminated_run_is_called_cancelled(server: Server, tiny_exit: Path) -> None:
    submitted = command(server, "submit", "--package", str(tiny_exit), "--description", "mine")
    assert submitted.exit_code == 0
    (run_id,) = server.runs
    assert server.runs[run_id]["description"] == "mine"
    _until(lambda: bool(list((server.root / run_id).rglob("mark"))))
    server.answer("POST", f"/runs/{run_id}:terminate", {}, None)
    done = command(server, "status", run_id, "--wait")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1].startswith("CANCELED   tiny_exit")
    assert server.runs[run_id]["state"] == "FAILED"
    assert [file.read_text() for file in (server.root / run_id).rglob("close/heard")] == ["RUNNING"]
    server.answer("POST", f"/runs/{run_id}:retry", {}, None)
    assert command(server, "status", run_id, "--wait").exit_code == 0
    assert len(list((server.root / run_id).rglob("close/heard"))) == 1, "the exit handler ran again"


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_cancelled_run_ends_the_waiting(cluster: Connection, server: Server) -> None:
    server.runs["r"] = {"run_id": "r", "display_name": "r", "state": "RUNNING"}
    seen = follow(cluster, "r", sleep=lambda _: server.runs["r"].update(state="CANCELED"))
    assert [one.state for one in seen] == ["RUNNING", "CANCELED"]


def test_waiting_survives_a_restart_but_no_expired_token(cluster: Connection, server: Server) -> None:
    server.runs["r"] = {"run_id": "r", "display_name": "r", "state": "RUNNING"}
    server.faults += [Fault("GET", "/runs/r", 502), Fault("GET", "/runs/r", "reset")]
    seen = follow(cluster, "r", sleep=lambda _: server.faults.append(Fault("GET", "/runs/r", 401)))
    assert next(seen).state == "RUNNING"
    with pytest.raises(ValueError, match=r"run 'r': token missing, wrong or expired \(401\)"):
        next(seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("-p", "text=a"),
            "expected: Field required; the pipeline takes (text, expected, times|expected, text, times), each as",
        ),
        (
            ("-p", "text=a", "-p", "expected=a", "-p", "times=many"),
            "times: Input should be a valid integer.*got 'many'",
        ),
        (
            ("-p", "text=a", "-p", "expected=a", "-p", "times=true"),
            "times: Input should be a valid integer.*got True",
        ),
        (
            ("-p", "nope=1", *GOOD),
            "nope: Extra inputs are not permitted",
        ),
        (("-p", "text"), "--parameter 'text' is not NAME=VALUE"),
        (("-p", "text=a", *GOOD), "names 'text' twice"),
        (("-p", "times=[", "-p", "text=a"), r"'\[' is not a YAML value"),
        (("--experiment", " ", *GOOD), "the experiment's name is empty"),
        (("--no-cache", *GOOD), "--no-cache: the pipeline has no parameter reuse_trainings"),
    ],
)
def test_wrong_parameters_are_refused_before_submission(
    server: Server, tiny: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = command(server, "submit", "--package", str(tiny), *arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)
    assert not server.runs and not server.experiments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", 'recipes=["mini_zegclipp"]'), "mini_zegclipp"),
        (("-p", "recipes=[]"), "parameter recipes is empty"),
        (("--set", "train.iteration=3"), "train.iteration"),
        (("--set", "train.iterations=3", "-p", "overrides={}"), "given twice"),
        (("-p", "protocol=voc12-15-5"), "trains protocol 'mini-18-6'"),
        (
            ("-p", 'recipes=["mini_zegclip", "mini_naclip"]'),
            "recipe 'mini_naclip' is training-free, and this pipeline continues each training",
        ),
        (("-p", "protocol=mini"), "unknown protocol 'mini'"),
        (("-p", "image_sets=train"), "parameter image_sets: Invalid JSON"),
        (("-p", "split=valid"), "parameter split is 'valid'; image_sets has train, val, test"),
        (("-p", "self_training=oracel"), "self_training is 'oracel'; known are oracle, strict"),
        (
            ("--pipeline", "ablation", "-p", f"seeds={list(range(250))}", "-p", 'recipes=["mini_zegclip"]'),
            "has 250 iterations, and the step that gathers their results takes at most 211",
        ),
        (("--kind", "gpu", "--resource", "train.gpu.count=3"), "train.batch_size=8, the batch over all"),
        (
            ("-p", "raw=data/voc"),
            "parameter raw is 'data/voc', a path on this machine; give the absolute path",
        ),
        (("-p", "clip=data/clip"), "such as /data/clip, or an s3:// address"),
        (("-p", "protocol=pets.yaml"), "parameter protocol is 'pets.yaml', a path on this machine"),
    ],
)
def test_our_pipelines_parameters_are_checked_offline(
    server: Server, arguments: tuple[str, ...], message: str
) -> None:
    places = [
        word
        for name, place in {"raw": "/data", "clip": "/clip"}.items()
        if not any(argument.startswith(f"{name}=") for argument in arguments)
        for word in ("-p", f"{name}={place}")
    ]
    done = command(server, "submit", *places, *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert not server.requests


def test_no_cache_sets_the_pipelines_parameter(tmp_path: Path) -> None:
    package = tmp_path / "pipeline.yaml"
    parameters = {"reuse_trainings": {"parameterType": "BOOLEAN", "defaultValue": True}}
    package.write_text(yaml.safe_dump({"root": {"inputDefinitions": {"parameters": parameters}}}))
    choice = PackageChoice(package=package)
    assert RunParameters().checked(package, choice) == {}
    assert RunParameters(no_cache=True).checked(package, choice) == {"reuse_trainings": False}


def test_a_theme_among_recipes_is_submitted_as_its_cells() -> None:
    choice = PackageChoice("ablation")
    stated = ["raw=/data", "clip=/clip", 'recipes=["mini_cascade_clip:sigma"]']
    with choice.file() as path:
        values = RunParameters(parameter=stated).checked(path, choice)
        assert values["recipes"] == cells_of(["mini_cascade_clip:sigma"])
        assert pipeline_items("ablation", values) == 5 * len(SEEDS)
        with pytest.raises(ValueError, match="theme of ablations"):
            RunParameters(parameter=[*stated[:2], "recipes=['mini_zegclip:x']"]).checked(path, choice)


@pytest.mark.parametrize("content", [None, "a: [", "a: 1", "- 1", ""])
def test_a_file_that_is_not_a_pipeline_is_refused(
    server: Server, tmp_path: Path, content: str | None
) -> None:
    package = tmp_path / "no.yaml"
    if content is not None:
        package.write_text(content)
    done = command(server, "submit", "--package", str(package))
    assert done.exit_code == 2
    assert "is not a compiled pipeline" in done.stderr or "cannot be read" in done.stderr


def test_uploads_create_a_pipeline_and_then_versions(server: Server, tiny: Path) -> None:
    for version in ("one", "two"):
        done = command(server, "upload", "--package", str(tiny), "--name", "ours", "--version", version)
        assert done.exit_code == 0, done.output
    (pipeline,) = server.pipelines.values()
    assert done.stdout.split()[0] == pipeline["pipeline_id"]
    assert [one["display_name"] for one in server.versions.values()] == ["one", "two"]
    expected = yaml.safe_load(tiny.read_text())["root"]
    assert all(one["pipeline_spec"]["root"] == expected for one in server.versions.values())
    again = command(server, "upload", "--package", str(tiny), "--name", "ours", "--version", "two")
    assert again.exit_code == 2 and "has a version 'two' already" in again.stderr


def test_a_schedule_goes_through_all_its_commands(server: Server, tiny: Path) -> None:
    made = command(
        server,
        "schedule",
        "create",
        "--package",
        str(tiny),
        *GOOD,
        "--name",
        "nightly",
        "--cron",
        "0 3 * * *",
    )
    assert made.exit_code == 0, made.output
    (schedule_id,) = server.schedules
    assert made.stdout == f"{schedule_id}\n"
    assert server.schedules[schedule_id]["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert server.schedules[schedule_id]["no_catchup"] is True
    for verb, state in (("pause", "paused"), ("resume", "active")):
        assert command(server, "schedule", verb, schedule_id).exit_code == 0
        line = command(server, "schedule", "list").stdout
        assert line.split() == [schedule_id, state, "0", "0", "3", "*", "*", "*", "nightly"]
    (listed,) = json.loads(command(server, "schedule", "list", "--json").stdout)
    assert (listed["schedule_id"], listed["enabled"]) == (schedule_id, True)
    assert command(server, "schedule", "delete", schedule_id).exit_code == 0
    empty = command(server, "schedule", "list")
    assert empty.stdout == "" and empty.stderr.startswith("no schedules;")


def test_a_schedule_starts_runs_that_succeed(
    cluster: Connection, server: Server, tiny_with_kubernetes: Path
) -> None:
    parameters = {"text": "ab", "expected": "abab"}
    made = schedules.create(
        cluster, tiny_with_kubernetes, parameters=parameters, experiment="e", name="n", cron="0 * * * * *"
    )
    *_, last = follow(cluster, server.fire(made.schedule_id), every=0.1)
    assert last.succeeded, last


def test_runs_and_schedules_name_an_equal_version(
    cluster: Connection, server: Server, tiny_with_kubernetes: Path, tiny: Path
) -> None:
    name = tiny_with_kubernetes.stem
    stored = uploads.upload(cluster, tiny_with_kubernetes, name=name, version="0.1.0")
    uploads.upload(cluster, tiny, name=name, version="0.2.0")
    parameters = {"text": "ab", "expected": "abab"}
    run = submit.submit(cluster, tiny_with_kubernetes, parameters=parameters, experiment="e")
    made = schedules.create(
        cluster, tiny_with_kubernetes, parameters=parameters, experiment="e", name="n", cron="0 * * * * *"
    )
    reference = {"pipeline_id": stored.pipeline_id, "pipeline_version_id": stored.version_id}
    for entry in (server.runs[run.run_id], server.schedules[made.schedule_id]):
        assert entry["pipeline_version_reference"] == reference and "pipeline_spec" not in entry
        # The page shows the parameters of the request only, so it states those with defaults, too.
        assert entry["runtime_config"]["parameters"] == {**parameters, "times": 2}
        sentences = r"Write a text, and check it\. Submitted by cascade-clip-workflow .*\. Chosen: text=ab, expected=abab\."
        assert re.fullmatch(sentences, entry["description"]), entry["description"]
    assert [one["description"] for one in server.pipelines.values()] == ["Write a text, and check it."]
    *_, last = submit.follow(cluster, run.run_id, every=0.1)
    assert [step.stated.minutes for step in last.steps] == [None, 1], last


@pytest.mark.parametrize("kind", [503, "lost"])
def test_a_schedule_whose_answer_was_lost_is_unique(
    cluster: Connection, server: Server, tiny: Path, kind: int | str
) -> None:
    server.faults.append(Fault("POST", "/recurringruns", kind))
    parameters = {"text": "ab", "expected": "abab"}
    made = schedules.create(
        cluster, tiny, parameters=parameters, experiment="e", name="n", cron="0 0 3 * * *"
    )
    assert list(server.schedules) == [made.schedule_id]
    with pytest.raises(ValueError, match="schedule 'n' exists already"):
        schedules.create(cluster, tiny, parameters=parameters, experiment="e", name="n", cron="0 0 3 * * *")


@pytest.mark.parametrize("verb", ["pause", "resume", "delete"])
def test_an_unknown_schedule_is_refused(server: Server, verb: str) -> None:
    done = command(server, "schedule", verb, "nope")
    assert done.exit_code == 2
    assert "schedule 'nope': the server does not know it (404)" in done.stderr


def test_a_wrong_cron_expression_is_refused_offline(server: Server, tiny: Path) -> None:
    done = command(
        server, "schedule", "create", "--package", str(tiny), *GOOD, "--name", "n", "--cron", "0 25 * * *"
    )
    assert done.exit_code == 2 and "hour is '25'" in done.stderr
    assert not server.requests


def test_every_page_of_schedules_is_listed(cluster: Connection, server: Server) -> None:
    server.page_size = 2
    for number in range(5):
        server.schedules[str(number)] = {
            "recurring_run_id": str(number),
            "display_name": f"s{number}",
            "status": "ENABLED",
            "trigger": {"cron_schedule": {"cron": "0 0 3 * * *"}},
        }
    assert [one.name for one in schedules.schedules(cluster)] == ["s0", "s1", "s2", "s3", "s4"]


def test_without_a_host_the_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["pipeline", "status", "some-run"])
    assert done.exit_code == 2
    assert "--host" in done.stderr


def test_the_help_text_hides_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "s3cr3t")
    text = CliRunner().invoke(app, ["pipeline", "submit", "--help"]).output
    assert "KFP_EXISTING_TOKEN" in " ".join(text.split()) and "s3cr3t" not in text


def test_parameters_arrive_as_json(server: Server, tiny: Path) -> None:
    command(server, "submit", "--package", str(tiny), *BAD, "--name", "n")
    (run,) = server.runs.values()
    expected = {"parameters": {"text": "ab", "expected": "x", "times": 2}}
    assert json.loads(json.dumps(run["runtime_config"])) == expected


def test_a_long_description_is_cut_and_shows_no_password(tiny: Path) -> None:
    values = {"raw": "s3://bucket/data", "uri": "http://me:s3cret@host/x", "recipes": ["r"] * 200}
    text = run_texts.run_description(tiny, values)
    assert len(text) == run_texts.LENGTH and text.endswith("...") and "s3cret" not in text
