"""The command that looks at this machine and what commands need: `cascade-clip doctor`."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from pipelines.cli.kubeflow_options import HOST_VARIABLES, NAMESPACE_VARIABLE, TOKEN_VARIABLE
from pipelines.cli.printing import Json, print_json

if TYPE_CHECKING:
    from components.doctor.finding import Finding


def doctor(as_json: Json = False) -> None:
    """Check Python, torch, weights, data, servers and disks, and say what to mend.

    Changes nothing. Of servers, it asks those alone that the environment names: MLFLOW_TRACKING_URI, AWS_ENDPOINT_URL,
    KFP_ENDPOINT. Exits with 3 if there is a problem.
    """
    from components.servers.addresses import masked

    findings = []
    for check in _checks():
        for raw in check():
            finding = replace(raw, sentence=masked(raw.sentence), mend=masked(raw.mend))
            findings.append(finding)
            if not as_json:
                _print(finding)
    counts = Counter(finding.state for finding in findings)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print(f"{counts['problem']} problems, {counts['note']} notes")
    if counts["problem"]:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _checks() -> tuple[Callable[[], Iterator["Finding"]], ...]:
    from components.doctor import assets, machine, servers

    return (
        machine.python,
        machine.packages,
        machine.device,
        machine.memory,
        machine.disks,
        assets.weights,
        assets.data,
        servers.tracking,
        servers.object_store,
        _kubeflow,
    )


def _kubeflow() -> Iterator["Finding"]:
    """Ask Kubeflow for its health, if the environment names a server."""
    from cascade_core.runtime.extras import install_command
    from components.doctor.finding import Finding

    host = next(filter(None, map(os.environ.get, HOST_VARIABLES)), None)
    if host is None:
        yield Finding(
            "kubeflow", "note", f"{HOST_VARIABLES[0]} names no server; pipelines run here by run-local"
        )
        return
    if find_spec("kfp") is None:
        yield Finding("kubeflow", "problem", "kfp is not installed", install_command("pipeline"))
        return
    from pipelines.kubeflow.cluster import connect

    try:
        connection = connect(
            host, namespace=os.environ.get(NAMESPACE_VARIABLE), token=os.environ.get(TOKEN_VARIABLE)
        )
    except UserError as error:
        yield Finding.of_error("kubeflow", error)
        return
    where = f", namespace {connection.namespace}" if connection.namespace else ""
    yield Finding("kubeflow", "ok", f"{connection.host} answers{where}")


def _print(finding: "Finding") -> None:
    print(f"{finding.state:<8} {finding.subject:<13} {finding.sentence}")
    if finding.mend:
        print(f"{'':<22} mend: {finding.mend}")
