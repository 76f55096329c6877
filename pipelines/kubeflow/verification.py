"""`cascade-clip pipeline verify`: does a cluster keep what the docs promise?

Three small runs are submitted to the server, one of them is cancelled, and what pods and server say is compared with what
the pipelines need. Then a pipeline of the project trains on the mini benchmark. Runs, version and schedule carry names of
their own and are removed at the end; nothing else is touched.
"""

import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from cascade_core.errors import UserError
from components.cluster.pod_probe import EXPERIMENT
from pipelines.kubeflow import schedules, trial_run
from pipelines.kubeflow.cluster import Connection, timed_name
from pipelines.kubeflow.cluster_objects import report_objects
from pipelines.kubeflow.findings import Finding, Verification, reports_in, terminate, why_not
from pipelines.kubeflow.resources import RESOURCES
from pipelines.kubeflow.submit import RunStatus, explain, status, submit
from pipelines.kubeflow.uploads import Uploaded, equal_version, upload
from pipelines.kubeflow.waiting import waits

POD_CHECKS = (
    "volume",
    "user",
    "cores",
    "launcher",
    "secret",
    "tracking server",
    "MLflow plugin",
    "object store",
    "TrainJobs",
    "image with torch",
    "artifacts",
    "benchmark on the volume",
)
FIRST = ("verify", "verify_retries", "verify_cancel")
"""These runs start at once; the training needs what the first of them draws."""
NEVER = "0 0 5 29 2 *"
"""A start time that is years away; the schedule is deleted within seconds."""
LINK_SECONDS = 10


def verify(
    cluster: Connection,
    packages: Mapping[str, Path],
    *,
    folder: str,
    minutes: float = 15.0,
    every: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Finding]:
    """Check a cluster with the compiled pipelines of `probe_pipelines`; `folder` is where pods mount the volume.

    Raises:
        UserError: the server refuses what every submission needs.
    """
    seen = Verification(cluster, every, minutes, sleep)
    seen.note("server", True, f"{cluster.host} answers as Kubeflow Pipelines")
    version = upload(cluster, packages["verify"], name="verify", version=timed_name(packages["verify"]))
    try:
        _check_version(seen, packages["verify"], version)
        _check_schedule(seen, packages["verify"])
        _check_page(seen)
        for check, holds, detail in report_objects(cluster.namespace, RESOURCES["cpu"].values()):
            seen.note(check, holds, detail)
        _check_runs(seen, packages, folder)
    finally:
        _clean_up(seen, version)
    return seen.findings


def _check_version(seen: Verification, package: Path, version: Uploaded) -> None:
    equal = equal_version(seen.cluster, package, name="verify")
    holds = equal is not None and equal.version_id == version.version_id
    seen.note("versions", holds, f"the uploaded version is called {version.name!r}")


def _check_schedule(seen: Verification, package: Path) -> None:
    name = timed_name(package)
    schedule = schedules.create(
        seen.cluster, package, parameters={}, experiment=EXPERIMENT, name=name, cron=NEVER
    )
    listed = [one.schedule_id for one in schedules.schedules(seen.cluster)]
    schedules.change(seen.cluster, schedule.schedule_id, "delete")
    seen.note("schedules", schedule.schedule_id in listed, "made, listed and deleted; none was waited for")


def _check_page(seen: Verification) -> None:
    """Look whether the address of the API also serves the web page, to which the printed links lead."""
    try:
        with urllib.request.urlopen(seen.cluster.host, timeout=LINK_SECONDS) as answer:
            is_page = "html" in answer.headers.get("Content-Type", "")
    except (OSError, ValueError) as error:
        seen.note(
            "links",
            None,
            f"{seen.cluster.host} serves no page here ({error}); the printed links may lead nowhere",
        )
        return
    detail = "the server's address is that of its page" if is_page else "the server's address serves no page"
    seen.note("links", True if is_page else None, detail)


def _check_runs(seen: Verification, packages: Mapping[str, Path], folder: str) -> None:
    values: dict[str, dict[str, str]] = {"verify": {"folder": folder}}
    started = {}
    for name in FIRST:
        run = submit(seen.cluster, packages[name], parameters=values.get(name, {}), experiment=EXPERIMENT)
        seen.runs.append(run.run_id)
        started[name] = run.run_id
    ended: dict[str, RunStatus] = {}
    terminated = False
    while len(ended) < len(started):
        for name, run_id in started.items():
            if name in ended:
                continue
            run = status(seen.cluster, run_id)
            if (
                name == "verify_cancel"
                and not terminated
                and any(one.state == "RUNNING" for one in run.steps)
            ):
                terminate(seen.cluster, run_id)
                terminated = True
            if run.finished or any(waits(step) for step in run.steps):
                ended[name] = run
        if not seen.wait():
            break
    _judge_cancelled(seen, ended.get("verify_cancel"))
    _judge_retries(seen, ended.get("verify_retries"))
    looked = ended.get("verify")
    _judge_pods(seen, looked)
    trial_run.check(seen, packages, folder, looked)


def _judge_cancelled(seen: Verification, run: RunStatus | None) -> None:
    if run is None or not run.finished:
        seen.note("cancel", None, why_not(seen, run))
    else:
        seen.note("cancel", run.state == "CANCELED", f"a cancelled run ended as {run.state}")


def _judge_retries(seen: Verification, run: RunStatus | None) -> None:
    """Read the retry policy off the tries of a step that always fails and has one retry."""
    if run is None or not run.finished or not run.steps:
        seen.note("retry policy", None, why_not(seen, run))
        return
    tries = run.steps[0].tries
    detail = "an exit code is retried (OnFailure or Always)"
    if tries < 2:
        detail = "an exit code is not retried (OnError): only what Kubernetes breaks is; docs/deploy.md says how to set it"
    seen.note("retry policy", True, f"{tries} tries of a step with one retry: {detail}")


def _judge_pods(seen: Verification, run: RunStatus | None) -> None:
    steps = {step.name: step for step in run.steps} if run else {}
    reports = {}
    for step in steps.values():
        for report in reports_in(seen.cluster.log_of(run.run_id, step.node) if run else None):
            reports[report["check"]] = report
    for check in POD_CHECKS:
        if check in reports:
            seen.note(check, reports[check]["holds"], reports[check]["detail"])
    missing = [check for check in POD_CHECKS if check not in reports]
    if not missing:
        return
    failed = next((step for step in steps.values() if step.state == "FAILED"), None)
    if run and failed:
        seen.note(f"step {failed.name}", False, "; ".join(explain(seen.cluster, run.run_id, failed)))
    for check in missing:
        seen.note(check, None, why_not(seen, run))


def _clean_up(seen: Verification, version: Uploaded) -> None:
    """Remove what this verification made; what the server does not remove is named."""
    cluster, left = seen.cluster, []
    removals: list[tuple[str, Callable[[], object]]] = []
    for run_id in seen.runs:
        if not status(cluster, run_id).finished:
            terminate(cluster, run_id)
        removals.append((f"run {run_id}", lambda run_id=run_id: cluster.client.delete_run(run_id)))  # type: ignore[misc]
    pipeline, ours = version.pipeline_id, version.version_id
    removals.append(
        (f"version {version.name}", lambda: cluster.client.delete_pipeline_version(pipeline, ours))
    )
    if version.new_pipeline:
        removals.append(("pipeline verify", lambda: cluster.client.delete_pipeline(pipeline)))
    for what, remove in removals:
        try:
            cluster.call(remove, about=what)
        except UserError as error:
            left.append(str(error))
    if left:
        seen.note("clean-up", False, f"remove by hand: {'; '.join(left)}")
    else:
        seen.note(
            "clean-up",
            True,
            f"runs and version are removed; the experiment {EXPERIMENT!r} stays, and is empty",
        )
