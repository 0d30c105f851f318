"""Custom resources as people use them: the real kubectl, a kopf operator, a Go program's leader election."""

import base64
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from house import House
from kubectls import Kubectl, newest_kubectl

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.fx.example.com}
spec:
  group: fx.example.com
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget, shortNames: [gd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.seen}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, maximum: 9, description: How large it is.}
              color: {type: string, default: red, enum: [red, blue]}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""

OPERATOR = """
import kopf

WHERE = ("fx.example.com", "v1", "gadgets")


@kopf.on.create(*WHERE)
@kopf.on.update(*WHERE, field="spec.size")
def seen(spec, body, patch, reason, **_):
    kopf.info(body, reason="Seen", message=f"size {spec['size']}")
    patch.status["seen"] = spec["size"]
    patch.status["conditions"] = [{"type": "Ready", "status": "True"}]


@kopf.on.resume(*WHERE)
def resumed(patch, **_):
    patch.status["resumed"] = True


@kopf.on.delete(*WHERE)
def gone(body, **_):
    kopf.info(body, reason="Gone", message="good bye")
"""


def gadget(size: int) -> str:
    spec = {"size": size}
    return json.dumps({"apiVersion": "fx.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": spec})


@contextmanager
def operator(directory: Path, config: Path) -> Iterator[None]:
    """Run the kopf operator as a process of its own; it ends with the block."""
    script = directory / "gadgets.py"  # NB: not `operator`, which Python itself imports
    script.write_text(OPERATOR)
    environment = {**os.environ, "KUBECONFIG": str(config), "HOME": str(directory)}
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", "default", "--quiet", str(script)]
    with (directory / "operator.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=directory)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def test_kubectl_and_a_kopf_operator_live_with_a_custom_resource_over_a_restart(house: House, tmp_path: Path) -> None:
    house.up()
    kubectl = Kubectl(newest_kubectl(), tmp_path, house.data / "kubeconfig")

    def seen(field: str, value: str) -> None:
        kubectl.quiet("wait", f"--for=jsonpath={{.status.{field}}}={value}", "gd/g", "--timeout=20s")

    kubectl.quiet("create", "-f", "-", stdin=DEFINITION)
    kubectl.quiet("wait", "--for=condition=Established", "crd/gadgets.fx.example.com", "--timeout=10s")
    assert "How large it is." in kubectl.quiet("explain", "gadgets.spec.size")
    with operator(tmp_path, house.data / "kubeconfig"):
        assert kubectl.quiet("apply", "-f", "-", stdin=gadget(3)) == "gadget.fx.example.com/g created\n"
        seen("seen", "3")
        assert kubectl.quiet("apply", "-f", "-", stdin=gadget(4)) == "gadget.fx.example.com/g configured\n"
        seen("seen", "4")
        kubectl.quiet("scale", "gd/g", "--replicas=5")
        seen("seen", "5")
        head, row = kubectl.quiet("get", "gadgets").splitlines()
        assert (head.split(), row.split()[:3]) == (["NAME", "SIZE", "READY", "AGE"], ["g", "5", "True"])
        kubectl.quiet("edit", "gd", "g", KUBE_EDITOR="sed -i 's/color: red/color: blue/'")
        refused = kubectl.run("apply", "-f", "-", stdin=gadget(10))
        assert "should be less than or equal to 9" in refused.stderr
        events = kubectl.quiet("get", "events", "-o", "jsonpath={.items[?(@.reason=='Seen')].message}")
        assert set(events.split()) >= {"3", "4", "5"}
    house.down()
    house.up()
    assert kubectl.quiet("get", "gd", "g", "-o", "jsonpath={.status.seen}") == "5", "served as soon as the API answers"
    with operator(tmp_path, house.data / "kubeconfig"):
        seen("resumed", "true")
        kubectl.quiet("delete", "gd", "g")
    events = kubectl.quiet("get", "events", "-o", "jsonpath={.items[*].reason}")
    assert "Gone" in events.split(), "the operator's finalizer held it"
    kubectl.quiet("delete", "crd", "gadgets.fx.example.com")
    assert "could not find the requested resource" in kubectl.run("get", "gadgets").stderr


# A Go program's leader election: client-go writes Leases as protobuf.


def field(number: int, value: bytes | str | int) -> bytes:
    """Return one protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made, value = made + bytes([value & 127 | 128]), value >> 7
    return made + bytes([value])


def lease(holder: str, version: str = "") -> bytes:
    """Return a Lease as client-go sends it: ObjectMeta, LeaseSpec, in the envelope `k8s\\0`."""
    metadata = field(1, "leader") + field(3, "default") + (field(6, version) if version else b"")
    moment = field(1, 1_795_000_000) + field(2, 500_000_000)
    spec = field(1, holder) + field(2, 15) + field(3, moment) + field(4, moment) + field(5, 0)
    kind = field(1, "coordination.k8s.io/v1") + field(2, "Lease")
    return b"k8s\0" + field(1, kind) + field(2, field(1, metadata) + field(2, spec)) + field(3, "") + field(4, "")


class Go:
    """A client-go program: the kubeconfig's certificate, protobuf bodies, whatever Accept gives back."""

    def __init__(self, config: Path, directory: Path) -> None:
        parsed = yaml.safe_load(config.read_text())
        cluster, user = parsed["clusters"][0]["cluster"], parsed["users"][0]["user"]
        self._context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        pair = directory / "pair.pem"
        parts = [base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")]
        pair.write_bytes(b"\n".join(parts))
        self._context.load_cert_chain(pair)
        self._host = cluster["server"].removeprefix("https://")

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        kind = "application/vnd.kubernetes.protobuf"
        headers = {"Accept": f"{kind},application/json", **({"Content-Type": kind} if body else {})}
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=20)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def test_a_go_program_elects_its_leader(house: House, tmp_path: Path) -> None:
    house.up()
    go = Go(house.data / "kubeconfig", tmp_path)
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    assert go.call("GET", f"{leases}/leader")[0] == 404
    status, made = go.call("POST", leases, lease("a"))
    assert (status, made["spec"]["holderIdentity"], made["spec"]["leaseDurationSeconds"]) == (201, "a", 15)
    assert made["spec"]["renewTime"].endswith(".500000Z")
    assert go.call("POST", leases, lease("b"))[0] == 409, "b comes too late"
    version = made["metadata"]["resourceVersion"]
    status, taken = go.call("PUT", f"{leases}/leader", lease("b", version))
    assert (status, taken["spec"]["holderIdentity"]) == (200, "b")
    assert go.call("PUT", f"{leases}/leader", lease("a", version))[0] == 409, "a has lost it"
