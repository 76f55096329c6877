"""Variables of our own: libraries read them inside a step, Kubeflow's launcher and MLflow plugin do not meet them."""

import json
import os

import pytest

from components.cluster.names import OPTIONAL_KEYS, REQUIRED_KEYS, variable_of
from components.servers.own_variables import (
    FROM_PLUGIN,
    OWN,
    PLUGIN_VARIABLE,
    SWITCH_VARIABLE,
    Plugin,
    adopt,
    plugin,
)

SETTINGS = {"endpoint": "http://mlflow:5000/", "parentRunId": "parent", "authType": "none"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what `adopt` sets, and start without variables of the machine."""
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})


def test_no_variable_of_the_secret_is_read_by_a_library() -> None:
    keys = (*REQUIRED_KEYS, *OPTIONAL_KEYS)
    variables = {variable_of(key) for key in keys}
    assert all(name.startswith("CASCADE_") for name in variables)
    assert set(OWN) == variables - set(keys)


def test_libraries_read_ours_inside_a_step() -> None:
    os.environ |= {"CASCADE_AWS_ACCESS_KEY_ID": "ours", "CASCADE_AWS_SECRET_ACCESS_KEY": "key"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SESSION_TOKEN": "theirs", "AWS_ROLE_ARN": "role"}
    adopt()
    read = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    assert read == {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "key", "AWS_ROLE_ARN": "role"}


def test_without_ours_the_libraries_names_stay() -> None:
    os.environ |= {"AWS_ACCESS_KEY_ID": "mine", "AWS_SESSION_TOKEN": "mine", "MLFLOW_RUN_ID": "mine"}
    os.environ["CASCADE_AWS_ACCESS_KEY_ID"] = ""  # an empty line of the file that made the secret
    before = dict(os.environ)
    adopt()
    assert os.environ == before


def test_the_plugins_login_is_not_sent_to_our_server() -> None:
    os.environ |= {PLUGIN_VARIABLE: json.dumps(SETTINGS), "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    os.environ |= {"MLFLOW_TRACKING_TOKEN": "theirs", "MLFLOW_RUN_ID": "step", "MLFLOW_EXPERIMENT_ID": "0"}
    os.environ["CASCADE_MLFLOW_TRACKING_URI"] = "https://tracking.example.org"
    adopt()
    read = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    assert read == {"MLFLOW_TRACKING_URI": "https://tracking.example.org"}
    assert plugin() == Plugin("http://mlflow:5000", "parent")


def test_the_plugins_login_stays_for_its_own_server() -> None:
    os.environ |= {
        PLUGIN_VARIABLE: json.dumps(SETTINGS),
        SWITCH_VARIABLE: FROM_PLUGIN,
        "MLFLOW_TRACKING_TOKEN": "theirs",
    }
    os.environ["MLFLOW_RUN_ID"] = "step"
    adopt()
    read = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    assert read == {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_TRACKING_TOKEN": "theirs"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"endpoint": ""}'])
def test_a_pod_without_the_plugin_is_refused_if_it_needs_one(text: str) -> None:
    os.environ |= {PLUGIN_VARIABLE: text, SWITCH_VARIABLE: FROM_PLUGIN}
    with pytest.raises(ValueError, match="its pod has no KFP_MLFLOW_CONFIG; turn the plugin on"):
        adopt()
