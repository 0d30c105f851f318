"""Every command of kubectl that only reads, old and new, before real Pods."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectls import OLD
from tests.e2e.resident import BEFORE, WEB, Resident

LIVING = "{.metadata.name}={.status.phase} "


@pytest.fixture(scope="module", params=[OLD, *BEFORE[1:], "newest"])
def kubectl(resident: Callable[[str], Resident], request: pytest.FixtureRequest) -> Resident:
    """A kubectl that finds `web` with two ready replicas."""
    given = resident(request.param)
    given.quiet("apply", "-f", "-", stdin=WEB)
    given.await_web()
    return given


def test_the_server_tells_its_version_address_and_kinds(kubectl: Resident) -> None:
    done = kubectl.run("version")
    assert done.returncode == 0
    assert re.search('Server Version: (version.Info.* GitVersion:")?v1.37.0.localset', done.stdout)
    skew = "WARNING: version difference between client .* exceeds the supported minor version skew of .*\n"
    assert re.fullmatch("" if kubectl.is_old else skew, done.stderr)
    assert json.loads(kubectl.out("version", "-o", "json"))["serverVersion"]["platform"].startswith("linux/amd64")
    assert "is running at https://127.0.0.1:" in re.sub(r"\x1b\[[0-9;]*m", "", kubectl.quiet("cluster-info"))
    assert {"v1", "apps/v1", "policy/v1", "batch/v1"} <= set(kubectl.quiet("api-versions").split())
    header, *rows = kubectl.table("api-resources")
    assert header == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    assert ["statefulsets", "sts", "apps/v1", "true", "StatefulSet"] in rows
    assert kubectl.quiet("api-resources", "--api-group=apps", "--verbs=list", "-o", "name").split() == [
        f"{plural}.apps"
        for plural in ("controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets")
    ]
    assert "VERBS" in kubectl.quiet("api-resources", "-o", "wide", "--namespaced=false")


def test_everything_is_dumped(kubectl: Resident, tmp_path: Path) -> None:
    words = ("cluster-info", "dump", "--namespaces", kubectl.namespace, "--output-directory", str(tmp_path))
    assert kubectl.quiet(*words) == f"Cluster info dumped to {tmp_path}\n"
    assert len(json.loads((tmp_path / "nodes.json").read_text())["items"]) == 1
    folder = tmp_path / kubectl.namespace
    for name in ("replication-controllers", "services", "daemonsets", "deployments", "replicasets", "pods", "events"):
        assert (folder / f"{name}.json").exists()
    assert "line 3\n" in (folder / "web-0" / "logs.txt").read_text()


def test_explain_knows_fields_and_trees(kubectl: Resident) -> None:
    assert "serviceName" in kubectl.quiet("explain", "statefulset.spec")
    assert "podManagementPolicy" in kubectl.quiet("explain", "sts", "--recursive")


def test_tables_are_those_of_a_cluster(kubectl: Resident) -> None:
    sts = ["NAME", "READY", "AGE"]
    assert kubectl.table("get", "sts") == [sts, ["web", "2/2", "AGE"]]
    wide = [[*sts, "CONTAINERS", "IMAGES"], ["web", "2/2", "AGE", "main", "host"]]
    assert kubectl.table("get", "sts", "-o", "wide") == wide
    pods = ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    two = [[name, "1/1", "Running", "0", "AGE"] for name in ("web-0", "web-1")]
    for words in (
        ("-l", "app=web"), ("-l", "app in (web),!nope"), ("--field-selector", "status.phase=Running"),
        ("--sort-by=.metadata.name",), ("--chunk-size=1",), ("web-0", "web-1"),
    ):  # fmt: skip
        assert kubectl.table("get", "pods", *words) == [pods, *two], words
    assert kubectl.table("get", "pods", "--no-headers") == two
    assert ["NAMESPACE", *pods] == kubectl.table("get", "pods", "-A")[0]
    assert [kubectl.namespace, *two[0]] in kubectl.table("get", "pods", "-A", "--sort-by=.metadata.creationTimestamp")
    labelled = kubectl.table("get", "pod", "web-1", "--show-labels", "-L", "app")
    assert [labelled[0][-2:], labelled[1][-2]] == [["APP", "LABELS"], "web"]
    assert "statefulset.kubernetes.io/pod-name=web-1" in labelled[1][-1]
    header, row, _ = kubectl.table("get", "pods", "-o", "wide")
    assert header == [*pods, "IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    assert row[5].startswith(("127.", "10."))


def test_several_kinds_are_shown_at_once(kubectl: Resident) -> None:
    everything = kubectl.quiet("get", "all")
    assert re.findall(r"^\w+[\w.]*/[\w-]+", everything, re.MULTILINE) == [
        "pod/web-0", "pod/web-1", "service/web", "statefulset.apps/web",
    ]  # fmt: skip
    assert "statefulset.apps/web" in kubectl.quiet("get", "all", "-A")
    kinds = (
        "pods,pvc,pv,svc,ep,endpointslices,controllerrevisions,cm,secrets,sa,pdb,sc,nodes,ns,roles,ing,netpol,leases"
    )
    shown = kubectl.quiet("get", kinds, "-o", "wide")
    for name in (
        "pod/web-0", "persistentvolumeclaim/www-web-1", "endpoints/web", "configmap/kube-root-ca.crt",
        "serviceaccount/default", "storageclass.storage.k8s.io/standard (default)", f"namespace/{kubectl.namespace}",
    ):  # fmt: skip
        assert name in shown
    assert re.search(r"endpointslice\.discovery\.k8s\.io/web-\w{5}\s+IPv4\s+8080\s+1(27|0)\.", shown)
    assert re.search(r"controllerrevision\.apps/web-\w+\s+statefulset\.apps/web\s+1\s", shown)
    assert re.findall(r"^\S+/web", kubectl.quiet("get", "sts/web", "svc/web"), re.MULTILINE) == [
        "statefulset.apps/web", "service/web",
    ]  # fmt: skip


def test_every_output_format_is_served(kubectl: Resident) -> None:
    text = kubectl.quiet("get", "sts", "web", "-o", "yaml")
    assert text.startswith("apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  annotations:\n")
    listed = json.loads(kubectl.quiet("get", "pods", "-o", "json"))
    assert (listed["kind"], len(listed["items"])) == ("List", 2)
    assert kubectl.quiet("get", "pods", "-o", "name") == "pod/web-0\npod/web-1\n"
    assert kubectl.quiet("get", "sts", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    assert kubectl.quiet("get", "pods", "-o", "jsonpath={range .items[*]}" + LIVING + "{end}") == (
        "web-0=Running web-1=Running "
    )
    assert kubectl.quiet("get", "sts", "web", "-o", "go-template={{.spec.serviceName}}") == "web"
    columns = "custom-columns=N:.metadata.name,P:.status.phase"
    assert kubectl.table("get", "pods", "-o", columns) == [["N", "P"], ["web-0", "Running"], ["web-1", "Running"]]
    if not kubectl.is_old:
        assert kubectl.table("get", "sts", "web", "--subresource=scale") == [["NAME", "AGE"], ["web", "AGE"]]
        status = kubectl.quiet("get", "sts", "web", "--subresource=status", "-o", "jsonpath={.status.replicas}")
        assert status == "2"
        assert "managedFields" not in text
        assert "managedFields" in kubectl.quiet("get", "sts", "web", "-o", "yaml", "--show-managed-fields")


def test_what_is_not_there_is_said_in_the_words_of_a_cluster(kubectl: Resident) -> None:
    assert kubectl.refusal("get", "sts", "nope") == (
        'Error from server (NotFound): statefulsets.apps "nope" not found\n'
    )
    assert kubectl.refusal("get", "foos") == 'error: the server doesn\'t have a resource type "foos"\n'
    assert kubectl.quiet("get", "pod", "nope", "--ignore-not-found") == ""
    empty = kubectl.run("-n", "nonesuch", "get", "pods")
    assert (empty.returncode, empty.stderr) == (0, "No resources found in nonesuch namespace.\n")
    assert kubectl.refusal("get", "pods", "--field-selector", "spec.foo=x") == (
        'Error from server (BadRequest): Unable to find "/v1, Resource=pods" that match label selector "", '
        'field selector "spec.foo=x": field label not supported: spec.foo\n'
    )


def test_a_watch_shows_what_there_is_and_then_each_change(kubectl: Resident) -> None:
    with (
        kubectl.following("get", "pods", "-l", "app=web", "-w", "--output-watch-events") as all_of_them,
        kubectl.following("get", "pod", "web-1", "-w") as one,
        kubectl.following("get", "pods", "--watch-only", "-o", "name") as only_changes,
        kubectl.following("get", "pods", "-w", "-o", "jsonpath={.metadata.labels.seen}{'\\n'}") as seen,
    ):
        all_of_them.until(r"^ADDED +web-1 +1/1 +Running +0")
        one.until(r"^web-1 +1/1 +Running +0")
        seen.until("^$")
        kubectl.quiet("label", "pod", "web-1", "seen=yes")
        kubectl.quiet("label", "pod", "web-1", "seen-")
        all_of_them.until(r"^MODIFIED +web-1 ")
        while not only_changes.has_printed():  # nothing tells when it has begun
            kubectl.quiet("annotate", "pod", "web-1", f"changed={time.monotonic()}", "--overwrite")
        only_changes.until("^pod/web-1$")
        one.until(r"^web-1 +1/1 +Running +0")
        seen.until("^yes$")


def test_describe_tells_of_each_kind(kubectl: Resident) -> None:
    node = kubectl.quiet("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    for words, found in {
        "sts web": r"Pods Status: +2 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "sts we": r"Name: +web\n",
        "pod web-0": r"Controlled By: +StatefulSet/web(?s:.*)Successfully assigned \S+/web-0 to ",
        "svc web": r"Endpoints: +1(?:27|0)\.\S+:8080,1(?:27|0)\.\S+:8080\n",
        "pvc www-web-0": r"Used By: +web-0\n",
        "pv": rf"Claim: +{kubectl.namespace}/www-web-0\n",
        "ep web": r"web +8080 +TCP",
        "controllerrevisions": r"Revision: +1\n",
        "cm": r"BEGIN CERTIFICATE",
        "sa default": r"Image pull secrets: +<none>",
        "sc standard": r"IsDefaultClass: +Yes",
        f"ns {kubectl.namespace}": r"Status: +Active\n\nNo resource quota.\n\nNo LimitRange resource.",
        f"node {node}": rf"{kubectl.namespace} +web-0 +0 \(0%\)",
        **({} if kubectl.is_old else {"endpointslices": r"TargetRef: +Pod/web-0"}),
    }.items():
        assert re.search(found, kubectl.quiet("describe", *words.split())), words


def test_describing_a_pod_and_its_node_shows_every_line_of_a_cluster(kubectl: Resident) -> None:
    pod = kubectl.quiet("describe", "pod", "web-0")
    for line in (
        r"Priority: +0\n", r"Status: +Running\n", r"QoS Class: +BestEffort\n", r"  Ready +True ",
        r"Tolerations: +node.kubernetes.io/not-ready:NoExecute op=Exists for 300s\n +node.kubernetes.io/unreachable",
    ):  # fmt: skip
        assert re.search(line, pod), (line, pod)
    assert re.search(r"RenewTime: +\w", kubectl.quiet("describe", "node"))


def test_events_are_listed_sorted_and_followed(kubectl: Resident) -> None:
    header = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    created = ["Normal", "SuccessfulCreate", "statefulset/web", "create Pod web-0 in StatefulSet web successful"]
    table = kubectl.table("get", "events", "--sort-by=.lastTimestamp")
    assert (table[0], created in [row[1:] for row in table]) == (header, True)
    only = kubectl.table("get", "events", "--field-selector", "involvedObject.kind=StatefulSet")
    assert {row[3] for row in only[1:]} == {"statefulset/web"}
    if kubectl.is_old:  # the command came later
        return
    table = kubectl.table("events", "--for", "sts/web")
    assert (table[0], {row[3] for row in table[1:]}) == (header, {"StatefulSet/web"})
    assert kubectl.run("events", "--types=Warning").stdout == ""
    with kubectl.following("events", "--watch") as watch:
        watch.until("create Pod web-1 in StatefulSet web successful")
        kubectl.quiet("run", "eventful", "--image=host", "--restart=Never", "--", "true")
        watch.until("Pod/eventful +Successfully assigned")
    kubectl.quiet("delete", "pod", "eventful", "--now")


def test_use_is_measured(kubectl: Resident) -> None:
    assert kubectl.table("top", "pods")[0] == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    row = kubectl.table("top", "pod", "web-0", "--containers")[1]
    assert row[:2] == ["web-0", "main"]
    assert row[3].endswith("Mi")
    assert "%" in kubectl.quiet("top", "nodes")
    assert "web-1" in kubectl.quiet("top", "pod", "-l", "app=web", "--sort-by=memory")


def test_rights_are_told(kubectl: Resident) -> None:
    assert kubectl.quiet("auth", "can-i", "create", "pods") == "yes\n"
    assert ["*.*", "[]", "[]", "[*]"] in kubectl.table("auth", "can-i", "--list")
    denied = kubectl.run("auth", "can-i", "create", "pods", "--as=bob")
    assert (denied.returncode, denied.stdout.split(" - ")[0].strip()) == (1, "no")
    assert kubectl.refusal("get", "pods", "--as=bob") == (
        'Error from server (Forbidden): pods is forbidden: User "bob" cannot list resource "pods" in API group "" '
        f'in the namespace "{kubectl.namespace}"\n'
    )
    if not kubectl.is_old:
        assert "system:masters" in kubectl.quiet("auth", "whoami")


def test_paths_are_read_as_they_are(kubectl: Resident) -> None:
    assert kubectl.quiet("get", "--raw", "/healthz") == "ok"
    path = f"/apis/apps/v1/namespaces/{kubectl.namespace}/statefulsets?limit=1"
    assert json.loads(kubectl.quiet("get", "--raw", path))["kind"] == "StatefulSetList"
    assert "not find the requested resource" in kubectl.refusal("get", "--raw", "/apis/nope")
