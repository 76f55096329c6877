"""The Kubernetes objects of docs/deploy.md: every field is one of Kubernetes' API, and the names are those of the steps."""

import re
from typing import Any

import pytest
import yaml
from kubernetes import client

from components.cluster.names import DATA_CLAIM, DATA_FOLDER, OPTIONAL_KEYS, REQUIRED_KEYS, SECRET
from pipelines.graphs.project import Cluster
from tests.document_blocks import ROOT

BLOCK = re.compile(r"^   ```yaml\n(.*?)^   ```", re.S | re.M)
CONTENTS = [yaml.safe_load(text) for text in BLOCK.findall((ROOT / "docs/deploy.md").read_text("utf-8"))]
OBJECTS = {content["kind"]: content for content in CONTENTS if "kind" in content}


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "Secret", "Pod"])
def test_kubernetes_knows_every_field(kind: str) -> None:
    api = client.ApiClient()
    # The client drops unknown fields and raises at wrong types.
    kept = api.sanitize_for_serialization(api._ApiClient__deserialize(OBJECTS[kind], f"V1{kind}"))
    assert kept == OBJECTS[kind]


def test_the_names_are_those_that_the_steps_expect() -> None:
    claim, secret, pod = (OBJECTS[kind] for kind in ("PersistentVolumeClaim", "Secret", "Pod"))
    assert claim["metadata"]["name"] == DATA_CLAIM and secret["metadata"]["name"] == SECRET
    assert set(REQUIRED_KEYS) <= set(secret["stringData"]) <= {*REQUIRED_KEYS, *OPTIONAL_KEYS}
    volume: dict[str, Any] = pod["spec"]["volumes"][0]
    (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == DATA_CLAIM
    assert (mount["name"], mount["mountPath"]) == (volume["name"], DATA_FOLDER)


def test_the_places_are_keys_of_a_projects_settings() -> None:
    (section,) = [content["cluster"] for content in CONTENTS if "cluster" in content]
    assert Cluster.model_validate(section).folder == section["folder"]
