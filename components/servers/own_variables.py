"""Environment variables of this project's own, which take the place of those that libraries read.

Kubeflow runs its launcher in the container of each step. The launcher reads AWS_* variables: with the keys of our object
store it would store its own artifacts, where the cluster relies on roles. Kubeflow's MLflow plugin sets MLFLOW_* variables,
and a pod with two variables of one name does not start. So pods get ours under own names, and `adopt` renames them inside
the step's process, which the launcher does not see.
"""

import json
import os
from dataclasses import dataclass

from cascade_core.errors import UserError

PREFIX = "CASCADE_"
STORE = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
TRACKING = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
OWN = {f"{PREFIX}{name}": name for name in (*STORE, *TRACKING)}
"""The libraries' names by ours."""
OF_OTHERS = {
    "AWS_ACCESS_KEY_ID": ("AWS_SESSION_TOKEN", "AWS_PROFILE"),
    "MLFLOW_TRACKING_URI": (
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_AUTH",
        "MLFLOW_WORKSPACE",
    ),
}
"""What belongs to another account or server than ours, and must not be sent to ours."""

PLUGIN_VARIABLE = "KFP_MLFLOW_CONFIG"
"""Kubeflow's MLflow plugin puts its settings into each pod as JSON under this name."""
PLUGINS_RUN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
"""The plugin's run of a step: MLflow's module functions would log to it instead of the step's own run."""
SWITCH_VARIABLE, FROM_PLUGIN = "CASCADE_TRACKING", "plugin"
"""This value of the variable makes steps use the plugin's server; "off" disables tracking."""


@dataclass(frozen=True)
class Plugin:
    """What Kubeflow's MLflow plugin says to a pod: its server, and the run that it keeps for the pipeline's run."""

    endpoint: str
    run_id: str


def plugin() -> Plugin | None:
    """Return what Kubeflow's MLflow plugin says; None without one."""
    try:
        settings = json.loads(os.environ.get(PLUGIN_VARIABLE) or "null")
    except ValueError:
        return None
    if not isinstance(settings, dict) or not settings.get("endpoint"):
        return None
    return Plugin(str(settings["endpoint"]).rstrip("/"), str(settings.get("parentRunId") or ""))


def adopt() -> None:
    """Set the variables that libraries read from those of our own; without ours, theirs stay as they are.

    Raises:
        UserError: `CASCADE_TRACKING` asks for the server of Kubeflow's MLflow plugin, and there is no plugin.
    """
    theirs = plugin()
    for own, name in OWN.items():
        if not (value := os.environ.get(own)):
            continue
        if value != os.environ.get(name):
            for other in OF_OTHERS.get(name, ()):
                os.environ.pop(other, None)
        os.environ[name] = value
    if theirs is not None:
        for name in PLUGINS_RUN:
            os.environ.pop(name, None)
    if os.environ.get(SWITCH_VARIABLE) == FROM_PLUGIN:
        if theirs is None:
            raise UserError(
                "this step is to use the server of Kubeflow's MLflow plugin, but its pod has no "
                f"{PLUGIN_VARIABLE}; turn the plugin on, or submit without --resource all.tracking=plugin"
            )
        os.environ["MLFLOW_TRACKING_URI"] = theirs.endpoint
