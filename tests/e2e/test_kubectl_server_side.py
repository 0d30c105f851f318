"""The real kubectl, and the Python client, apply on the server: conflicts, force, scale, diff, and coming over from
client-side apply."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from tests.e2e.house import House
from tests.e2e.kubectls import find_kubectl

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: web, port: 80}]
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
      - {name: web, image: host, command: [sleep, '1'], ports: [{containerPort: 80, name: web}]}
"""


class Kubectl:
    """One kubectl on one house, with a home and a manifest of its own."""

    def __init__(self, program: Path, house: House, home: Path) -> None:
        self.program, self.config, self.home = program, house.data / "kubeconfig", home

    def run(self, *words: str, manifest: str | None = None) -> tuple[int, str]:
        """Return (exit code, standard output and errors together)."""
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "KUBECONFIG": str(self.config)}
        command = [str(self.program), *words, *(["-f", "-"] if manifest else [])]
        done = subprocess.run(
            command,
            env=environment,
            input=manifest,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def owners(self, name: str) -> list[list[str]]:
        """Return (manager, operation, subresource) of everybody who owns something of the StatefulSet."""
        _, text = self.run("get", "statefulset", name, "--show-managed-fields", "-o", "json")
        entries = json.loads(text)["metadata"].get("managedFields", [])
        return sorted([e["manager"], e["operation"], e.get("subresource", "")] for e in entries)


@pytest.mark.parametrize("version", ["1.33", pytest.param("1.27", marks=pytest.mark.slow)])
def test_kubectl_applies_on_the_server(house: House, tmp_path: Path, version: str) -> None:
    kubectl = Kubectl(find_kubectl(version), house, tmp_path)
    house.up()
    apply = ("apply", "--server-side", "--validate=false")
    done = "service/web serverside-applied\nstatefulset.apps/web serverside-applied\n"
    assert kubectl.run(*apply, manifest=MANIFEST) == (0, done)
    _, before = kubectl.run("get", "statefulset,service", "web", "-o", "yaml", "--show-managed-fields")
    assert kubectl.run(*apply, manifest=MANIFEST) == (0, done)
    assert kubectl.run("get", "statefulset,service", "web", "-o", "yaml", "--show-managed-fields") == (0, before)

    other = MANIFEST.replace("'1'", "'2'")
    code, text = kubectl.run(*apply, "--field-manager=other", manifest=other)
    why = 'conflict with "kubectl": .spec.template.spec.containers[name="web"].command'
    assert (code, f"Apply failed with 1 conflict: {why}" in text) == (1, True)
    assert kubectl.run("diff", "--server-side", "--force-conflicts", manifest=MANIFEST) == (0, "")
    code, text = kubectl.run("diff", "--server-side", "--force-conflicts", manifest=other)
    assert (code, '-        - "1"\n+        - "2"\n' in text) == (1, True)
    dry = done.replace("serverside-applied", "serverside-applied (server dry run)")
    assert kubectl.run(*apply, "--dry-run=server", "--force-conflicts", manifest=other) == (0, dry)
    assert kubectl.owners("web") == [["kubectl", "Apply", ""]]
    assert kubectl.run(*apply, "--field-manager=other", "--force-conflicts", manifest=other) == (0, done)

    assert kubectl.run("scale", "statefulset", "web", "--current-replicas=0", "--replicas=1")[0] == 0
    code, text = kubectl.run(*apply, "--force-conflicts=false", manifest=other)
    assert (code, 'with subresource "scale" using apps/v1: .spec.replicas' in text) == (1, True)

    assert kubectl.run("delete", "--wait=false", manifest=MANIFEST)[0] == 0
    renamed = MANIFEST.replace("{name: web}", "{name: old}")
    assert kubectl.run("apply", "--validate=false", manifest=renamed)[0] == 0
    assert kubectl.owners("old") == [["kubectl-client-side-apply", "Update", ""]]
    assert kubectl.run(*apply, manifest=renamed)[0] == 0
    assert kubectl.owners("old") == [["kubectl", "Apply", ""], ["kubectl-last-applied", "Apply", ""]]


def test_the_python_client_applies_on_the_server(house: House) -> None:
    house.up()
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    with kubernetes.config.new_client_from_config(str(house.data / "kubeconfig")) as api:
        maps = kubernetes.dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

        def apply(value: str, manager: str, **more: Any) -> Any:
            body = {**config, "data": {"a": value}}
            return maps.server_side_apply(body=body, namespace="default", field_manager=manager, **more)

        assert apply("1", "one").metadata.managedFields[0].operation == "Apply"
        with pytest.raises(kubernetes.dynamic.exceptions.ConflictError) as caught:
            apply("2", "two")
        assert json.loads(caught.value.body)["details"]["causes"][0]["field"] == ".data.a"
        assert apply("2", "two", force_conflicts=True).data.a == "2"
