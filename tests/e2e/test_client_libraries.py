"""Programs that know only Kubernetes: the Python client in all its forms, and kr8s, against a real daemon over TLS.

kopf has a file of its own; exec and port-forward of both clients are in `test_streams`, the in-Pod configuration in
`test_kubectl_access`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils, watch
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError

from tests.e2e.house import House, until

MANIFESTS = Path(__file__).parent / "manifests"
EVERY_KIND = list(yaml.safe_load_all((MANIFESTS / "every_kind.yaml").read_text()))
REFUSED = {
    "AppsV1Api": ("deployment", "replica_set", "daemon_set"),
    "BatchV1Api": ("job", "cron_job"),
    "CoreV1Api": ("replication_controller",),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[House]:
    """One house for all of this file."""
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    house = House(directory / "data")
    try:
        house.up()
        yield house
    finally:
        house.down()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def api(shared: House) -> Iterator[client.ApiClient]:
    """The Python client with our kubeconfig."""
    config.load_kube_config(str(shared.data / "kubeconfig"))
    with client.ApiClient() as opened:
        yield opened
        opened.rest_client.pool_manager.clear()


def snake(kind: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()


class Typed:
    """The typed methods of one kind."""

    def __init__(self, api: client.ApiClient, api_version: str, kind: str) -> None:
        group, _, version = api_version.rpartition("/")
        name = "".join(part.capitalize() for part in group.removesuffix(".k8s.io").split(".")) or "Core"
        self.methods = getattr(client, f"{name}{version.capitalize()}Api")(api)
        self.suffix = snake(kind)
        self.is_namespaced = hasattr(self.methods, f"create_namespaced_{self.suffix}")

    def __call__(self, verb: str, *words: Any, **more: Any) -> Any:
        if self.is_namespaced:
            more["namespace"] = "default"
            return getattr(self.methods, f"{verb}_namespaced_{self.suffix}")(*words, **more)
        return getattr(self.methods, f"{verb}_{self.suffix}")(*words, **more)


@pytest.mark.parametrize("body", EVERY_KIND, ids=lambda b: f"{b['apiVersion'].replace('/', '.')}.{b['kind']}")
def test_the_typed_client_makes_changes_and_deletes_each_kind(api: client.ApiClient, body: dict[str, Any]) -> None:
    call, name = Typed(api, body["apiVersion"], body["kind"]), body["metadata"]["name"]
    made = call("create", body=body)
    try:
        assert made.metadata.uid
        assert call("read", name).metadata.uid == made.metadata.uid
        labelled = call("patch", name, body={"metadata": {"labels": {"from": "lib"}}})
        assert labelled.metadata.labels["from"] == "lib"
        pointed = call("patch", name, body=[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}])
        assert pointed.metadata.annotations["a"] == "b"
        found = call("list", label_selector="from=lib", field_selector=f"metadata.name={name}").items
        assert [f.metadata.name for f in found] == [name]

        def replaced() -> bool:
            newest = call("read", name)
            newest.metadata.annotations["c"] = "d"
            try:
                return bool(call("replace", name, body=newest).metadata.annotations["c"] == "d")
            except client.ApiException as error:  # a controller was quicker: its status write came between
                if error.status != 409:
                    raise
                return False

        until(replaced)
    finally:
        call("delete", name, grace_period_seconds=0, propagation_policy="Background")

    def is_gone() -> bool:
        try:
            call("read", name)
        except client.ApiException as error:
            return bool(error.status == 404)
        return False

    until(is_gone, why=f"{name} is gone")


def test_what_is_not_run_here_is_listed_as_empty_and_refused_with_advice(api: client.ApiClient) -> None:
    for methods, kinds in REFUSED.items():
        for kind in kinds:
            assert getattr(getattr(client, methods)(api), f"list_namespaced_{kind}")("default").items == []
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "host"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    with pytest.raises(client.ApiException) as caught:
        client.AppsV1Api(api).create_namespaced_deployment("default", {"metadata": {"name": "d"}, "spec": spec})
    assert caught.value.status == 422
    assert "StatefulSet" in caught.value.body


def a_set(name: str, replicas: int) -> dict[str, Any]:
    body = next(b for b in EVERY_KIND if b["kind"] == "StatefulSet")
    selector = {"app": name}
    template = {**body["spec"]["template"], "metadata": {"labels": selector}}
    spec = {**body["spec"], "replicas": replicas, "selector": {"matchLabels": selector}, "template": template}
    return {**body, "metadata": {"name": name}, "spec": spec}


def test_scale_and_status_are_read_and_written_beside_the_object(api: client.ApiClient) -> None:
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    apps.create_namespaced_stateful_set("default", a_set("scaled", 1))
    until(lambda: apps.read_namespaced_stateful_set_status("scaled", "default").status.ready_replicas == 1)
    assert apps.patch_namespaced_stateful_set_scale("scaled", "default", {"spec": {"replicas": 2}}).spec.replicas == 2
    until(lambda: apps.read_namespaced_stateful_set_scale("scaled", "default").status.replicas == 2)
    scale = apps.read_namespaced_stateful_set_scale("scaled", "default")
    assert scale.status.selector == "app=scaled"
    scale.spec.replicas = 0
    apps.replace_namespaced_stateful_set_scale("scaled", "default", scale)
    until(lambda: core.list_namespaced_pod("default", label_selector="app=scaled").items == [])
    apps.delete_namespaced_stateful_set("scaled", "default")

    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}}
    stored = core.create_namespaced_resource_quota("default", quota)
    stored.status = client.V1ResourceQuotaStatus(hard={"pods": "2"}, used={"pods": "1"})
    stored.spec.hard["pods"] = "9"
    written = core.replace_namespaced_resource_quota_status("q", "default", stored)
    assert (written.spec.hard, written.status.used) == ({"pods": "2"}, {"pods": "1"})
    patched = core.patch_namespaced_resource_quota_status("q", "default", {"status": {"used": {"pods": "2"}}})
    assert patched.status.used == {"pods": "2"}
    core.delete_namespaced_resource_quota("q", "default")


def test_the_dynamic_client_finds_kinds_by_discovery(api: client.ApiClient, tmp_path: Path) -> None:
    dynamic = DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "1"}}
    version = maps.create(body=body, namespace="default").metadata.resourceVersion
    with pytest.raises(ConflictError):
        maps.create(body=body, namespace="default")
    merge = "application/merge-patch+json"
    assert maps.patch(body={"data": {"b": "2"}}, name="dynamic", namespace="default", content_type=merge).data.b == "2"
    applied = {**body, "data": {"a": "1", "c": "3"}}
    found = maps.server_side_apply(body=applied, name="dynamic", namespace="default", field_manager="lib")
    assert dict(found.data) == {"a": "1", "b": "2", "c": "3"}
    events = maps.watch(namespace="default", name="dynamic", resource_version=version, timeout=1)
    assert [event["type"] for event in events] == ["MODIFIED", "MODIFIED"]
    maps.delete(name="dynamic", namespace="default")
    with pytest.raises(NotFoundError):
        maps.get(name="dynamic", namespace="default")
    sets = dynamic.resources.get(api_version="apps/v1", kind="StatefulSet")
    sets.create(body=a_set("dynamic", 0), namespace="default")
    assert sets.scale.patch(body={"spec": {"replicas": 0}}, name="dynamic", namespace="default").status.replicas == 0
    assert [item.metadata.name for item in sets.get(namespace="default", label_selector="").items] == ["dynamic"]
    sets.delete(name="dynamic", namespace="default")


def test_manifests_are_created_as_they_stand(api: client.ApiClient) -> None:
    documents = [b for b in EVERY_KIND if b["kind"] in {"ConfigMap", "Service", "StatefulSet", "Role"}]
    made = utils.create_from_yaml(api, yaml_objects=documents, namespace="default")
    assert [found[0].kind for found in made] == ["Service", "ConfigMap", "StatefulSet", "Role"]
    with pytest.raises(utils.FailToCreateError) as caught:
        utils.create_from_yaml(api, yaml_objects=documents[:1], namespace="default")
    assert "already exists" in str(caught.value)
    for body in documents:
        Typed(api, body["apiVersion"], body["kind"])("delete", body["metadata"]["name"])


def test_a_watch_is_taken_up_where_it_stopped_and_an_old_place_is_410(api: client.ApiClient) -> None:
    core, watcher = client.CoreV1Api(api), watch.Watch()
    start = core.list_namespaced_config_map("default").metadata.resource_version
    for n in range(6):
        core.create_namespaced_config_map("default", {"metadata": {"name": f"seen-{n}"}})
    seen = []
    for event in watcher.stream(core.list_namespaced_config_map, "default", resource_version=start, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            watcher.stop()
    for n in range(6):
        core.delete_namespaced_config_map(f"seen-{n}", "default")
    place = watcher.resource_version
    for event in watcher.stream(core.list_namespaced_config_map, "default", resource_version=place, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 12:
            watcher.stop()
    added = [("ADDED", f"seen-{n}") for n in range(6)]
    assert seen == [*added, *(("DELETED", name) for _, name in added)]
    with pytest.raises(client.ApiException) as caught:
        next(iter(watcher.stream(core.list_namespaced_config_map, "default", resource_version="1", timeout_seconds=5)))
    assert caught.value.status == 410


WEB = a_set("kr", 1)
WEB["spec"]["template"]["spec"]["containers"] = [
    {
        "name": "main",
        "image": "host",
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "command": ["sh", "-c", "echo begun; exec python3 -m http.server 8080 --bind $POD_IP"],
        "readinessProbe": {"tcpSocket": {"port": 8080}},
    }
]
WITH_KR8S = """
import json, sys, urllib.request
import kr8s
from kr8s.objects import ConfigMap, Pod, Service, StatefulSet
api = kr8s.api()
told = {"version": api.version()["gitVersion"], "me": api.whoami()}
body = json.load(sys.stdin)
sts = StatefulSet(body)
sts.create()
Pod.get("kr-0", timeout=10).wait("condition=Ready", timeout=20)
sts.scale(2)
pod = Pod.get("kr-1", timeout=10)
pod.wait("condition=Ready", timeout=20)
told["pods"] = sorted(p.name for p in kr8s.get("pods", label_selector={"app": "kr"}))
told["exec"] = pod.exec(["sh", "-c", "echo hi; echo err >&2"]).stdout.decode()
told["logs"] = list(pod.logs())
pod.label({"a": "b"})
pod.annotate({"c": "d"})
pod.refresh()
told["changed"] = [pod.labels["a"], pod.annotations["c"]]
with pod.portforward(8080) as port:
    told["forwarded"] = [urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status]
service = Service({"metadata": {"name": "kr"}, "spec": {"selector": {"app": "kr"}, "ports": [{"port": 8080}]}})
service.create()
with service.portforward(8080) as port:
    told["forwarded"].append(urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status)
cm = ConfigMap({"metadata": {"name": "kr"}, "data": {"a": "1"}})
cm.create()
cm.patch({"data": {"b": "2"}})
told["data"] = dict(ConfigMap.get("kr").data)
try:
    ConfigMap.get("nope", timeout=0.2)
except kr8s.NotFoundError:
    told["absent"] = True
told["seen"] = []
for event, obj in api.watch("configmaps", namespace="default"):
    if obj.name == "kr":
        told["seen"].append(event)
        if event == "ADDED":
            cm.delete()
        else:
            break
for o in (sts, service):
    o.delete()
sts.wait("delete", timeout=20)
told["exists"] = cm.exists()
print(json.dumps(told))
"""


def test_a_program_with_kr8s_does_its_daily_work(shared: House, tmp_path: Path) -> None:
    """In a process of its own, where every warning is an error but the one that any cluster newer than kr8s gets."""
    too_new = "ignore:Kubernetes version v1.37.0:UserWarning"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", too_new, "-W", "ignore::ResourceWarning", "-c", WITH_KR8S],
        env={**os.environ, "KUBECONFIG": str(shared.data / "kubeconfig"), "HOME": str(tmp_path)},
        input=json.dumps(WEB), text=True, capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("version").startswith("v1.37.0+localset.")
    assert told == {
        "me": "localset-admin",
        "pods": ["kr-0", "kr-1"],
        "exec": "hi\n",
        "logs": ["begun"],
        "changed": ["b", "d"],
        "forwarded": [200, 200],
        "data": {"a": "1", "b": "2"},
        "absent": True,
        "seen": ["ADDED", "DELETED"],
        "exists": False,
    }
