"""The exit handler: it ends the pipeline's run in MLflow whatever else fails."""

from types import SimpleNamespace
from typing import Any

import pytest

from cascade_core.errors import UserError
from components.launching import nodes
from components.ops import runs
from components.tracking import kubeflow_run


def test_a_run_is_ended_though_its_trainjobs_cannot_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[dict[str, Any]] = []

    def refused(run_ids: list[str]) -> None:
        raise UserError("this account may not list trainjobs there")

    monkeypatch.setattr(kubeflow_run, "run_ids", lambda **ids: ["a1"])
    monkeypatch.setattr(kubeflow_run, "close", lambda **ending: closed.append(ending))
    monkeypatch.setattr(nodes, "remove_jobs", refused)
    status = SimpleNamespace(state="FAILED", error_message=None)
    with pytest.raises(UserError, match="may not list trainjobs"):
        runs.close_run.python_func(protocol="mini-18-6", kfp_run="k1", trainjobs=True, status=status)
    assert closed == [{"kfp_run": "k1", "protocol": "mini-18-6", "state": "FAILED", "error": None}]
