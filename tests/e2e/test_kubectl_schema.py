"""What kubectl does with OpenAPI, old and new: explain, validate, apply, diff, edit, dry runs.

Each version reads it in its own way (kube-api.md 3): 1.20 v2's protobuf, 1.27 and 1.28 that and v3, 1.29 and newer v3.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House
from tests.e2e.kubectls import OLD, USUAL, Kubectl, find_kubectl

USUAL_HERE = {OLD, "1.33"}
"""One of each way to read OpenAPI; the others run with the slow tests."""
VERSIONS = [v if v in USUAL_HERE else pytest.param(v, marks=pytest.mark.slow) for v in USUAL]
MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80, name: web}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: host
        command: [sleep, "1000"]
        ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]
        env: [{name: A, value: "1"}, {name: B, value: "1"}]
"""
STATEFUL_SET = MANIFEST.partition("---")[2]
CHANGED = MANIFEST.replace('{name: A, value: "1"}, ', "").replace('"1000"', '"2000"')
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
"""
EDITOR = """#!/bin/sh
sed -i 's/a: "1"/a: "2"/' "$1"
"""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    opened = House(directory / "data")
    opened.up()
    yield opened
    try:
        opened.down()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=VERSIONS)
def kubectl(request: pytest.FixtureRequest, house: House, tmp_path: Path) -> Kubectl:
    return Kubectl(find_kubectl(request.param), tmp_path, house.data / "kubeconfig")


def test_explain_tells_every_field_with_its_text(kubectl: Kubectl) -> None:
    text = kubectl.quiet("explain", "statefulset.spec.podManagementPolicy")
    assert "podManagementPolicy <string>" in text
    assert "podManagementPolicy controls how pods are created during initial scale up" in " ".join(text.split())
    tree = kubectl.quiet("explain", "sts", "--recursive")
    for field in ("volumeClaimTemplates", "readinessProbe", "topologySpreadConstraints", "observedGeneration"):
        assert field in tree
    assert "v1beta1" in kubectl.quiet("explain", "pdb", "--api-version=policy/v1beta1")


def test_a_manifest_is_created_changed_and_left_alone(kubectl: Kubectl) -> None:
    both = ("service/web {}\nstatefulset.apps/web {}\n").format
    apply, diff = ("apply", "-f", "-"), ("diff", "-f", "-")
    assert kubectl.quiet(*apply, stdin=MANIFEST) == both("created", "created")
    assert kubectl.quiet(*diff, stdin=MANIFEST) == ""
    shown = kubectl.run(*diff, stdin=CHANGED)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert '-        - "1000"' in shown.stdout
    assert '+        - "2000"' in shown.stdout
    assert (
        kubectl.quiet(*apply, "--dry-run=server", "-o", "name", stdin=CHANGED) == "service/web\nstatefulset.apps/web\n"
    )
    assert kubectl.quiet(*apply, stdin=CHANGED) == both("unchanged", "configured")
    assert kubectl.quiet(*apply, stdin=CHANGED) == both("unchanged", "unchanged")
    container = "{.spec.template.spec.containers[0]"
    found = kubectl.quiet(
        "get", "sts", "web", "-o", f"jsonpath={container}.env[*].name}} {container}.ports[*].protocol}}"
    )
    assert found == "B TCP UDP"
    assert "deleted" in kubectl.quiet("delete", "-f", "-", stdin=MANIFEST)


def test_a_misspelt_field_is_refused_and_a_field_that_an_old_version_does_not_need_is_not_missed(
    kubectl: Kubectl,
) -> None:
    refused = kubectl.run("create", "-f", "-", stdin=CONFIG_MAP.replace("data:", "dataa:"))
    assert refused.returncode == 1
    assert 'unknown field "dataa"' in refused.stderr
    refused = kubectl.run("apply", "-f", "-", stdin=STATEFUL_SET.replace("serviceName", "servicename"))
    assert refused.returncode == 1
    assert "servicename" in refused.stderr
    assert kubectl.run("get", "sts", "web").returncode == 1
    old = STATEFUL_SET.replace("apps/v1", "apps/v1beta1").replace("  selector: {matchLabels: {app: web}}\n", "")
    created = kubectl.run("create", "-f", "-", "--dry-run=server", "-o", "name", stdin=old)
    assert created.stdout == "statefulset.apps/web\n", created.stderr


def test_edit_replace_and_dry_runs_work(kubectl: Kubectl, tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text(EDITOR)
    editor.chmod(0o755)
    create = ("create", "-f", "-", "-o", "name")
    assert kubectl.quiet(*create, "--dry-run=server", stdin=CONFIG_MAP) == "configmap/settings\n"
    assert kubectl.quiet(*create, stdin=CONFIG_MAP) == "configmap/settings\n"
    assert kubectl.quiet("edit", "configmap", "settings", EDITOR=str(editor)) == "configmap/settings edited\n"
    assert kubectl.quiet("get", "configmap", "settings", "-o", "jsonpath={.data.a}") == "2"
    assert kubectl.quiet("replace", "-f", "-", stdin=CONFIG_MAP) == "configmap/settings replaced\n"
    assert kubectl.quiet("get", "configmap", "settings", "-o", "jsonpath={.data.a}") == "1"
    assert "deleted" in kubectl.quiet("delete", "-f", "-", stdin=CONFIG_MAP)
