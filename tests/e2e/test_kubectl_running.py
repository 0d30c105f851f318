"""Every command of kubectl that moves processes, old and new: scale, rollout, logs, exec, run, wait, delete, drain."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.resident import BEFORE, WEB, Resident

SERVER = """
apiVersion: v1
kind: Service
metadata: {name: talk, labels: {app: talk}}
spec: {selector: {app: talk}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: talk}
spec:
  serviceName: talk
  selector: {matchLabels: {app: talk}}
  template:
    metadata: {labels: {app: talk}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: host
        stdin: true
        command: [sh, -c, 'busybox httpd -p $POD_IP:8080 -h /etc; while read line; do echo "heard $line"; done']
        env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
        ports: [{containerPort: 8080}]
"""
FILE = ("-f", "-")
LINES = "line 0\nline 1\nline 2\nline 3\n"
FORCED = "arning: Immediate deletion does not wait for confirmation that the running resource has been terminated."


@pytest.fixture(scope="module", params=[*BEFORE, "newest"])
def kubectl(resident: Callable[[str], Resident], request: pytest.FixtureRequest) -> Iterator[Resident]:
    """A kubectl that finds `web` with two ready replicas and `talk` with one."""
    given = resident(request.param)
    for manifest in (SERVER, WEB):
        given.quiet("apply", *FILE, stdin=manifest)
    given.await_web()
    yield given
    for manifest in (SERVER, WEB):
        given.quiet("delete", *FILE, "--ignore-not-found", stdin=manifest)


def uid(kubectl: Resident, what: str) -> str:
    return kubectl.quiet("get", what, "-o", "jsonpath={.metadata.uid}")


def test_scale_takes_preconditions_and_files(kubectl: Resident, tmp_path: Path) -> None:
    scale, scaled = ("scale", "sts/web"), "statefulset.apps/web scaled\n"
    assert kubectl.quiet(*scale, "--replicas=3") == scaled
    assert kubectl.quiet(*scale, "--current-replicas=3", "--replicas=2") == scaled
    assert kubectl.refusal(*scale, "--current-replicas=7", "--replicas=2") == (
        "error: Expected replicas to be 7, was 2\n"
    )
    both, only_set = tmp_path / "both.yaml", tmp_path / "set.yaml"
    both.write_text(WEB)
    only_set.write_text(WEB.partition("---")[2])
    assert kubectl.quiet("scale", "-f", str(only_set), "--replicas=2") == scaled
    with_service = kubectl.run("scale", "-f", str(both), "--replicas=2")
    missing = "Error from server (NotFound): the server could not find the requested resource\n"
    assert (with_service.returncode, with_service.stderr) == (1, missing)
    told = kubectl.refusal("scale", "sts", "nope", "--replicas=1")
    assert told.startswith(("error: no objects passed to scale", "Error from server (NotFound): statefulsets.apps"))
    kubectl.await_web()


def test_a_rollout_is_followed_undone_and_repeated(kubectl: Resident) -> None:
    kubectl.quiet("set", "env", "sts/web", "FOO=bar")
    done = kubectl.quiet("rollout", "status", "sts/web", "--timeout=30s")
    assert done.endswith("partitioned roll out complete: 2 new pods have been updated...\n")
    history = kubectl.quiet("rollout", "history", "sts/web")
    assert history.startswith("statefulset.apps/web \nREVISION  CHANGE-CAUSE\n")
    revisions = re.findall(r"^(\d+) +<none>$", history, re.MULTILINE)
    told = kubectl.quiet("rollout", "history", "sts/web", f"--revision={revisions[-1]}")
    assert told.startswith(f"statefulset.apps/web with revision #{revisions[-1]}\nPod Template:\n  Labels:\tapp=web\n")
    assert re.search(r"Environment:\n +FOO:\tbar\n", told)
    assert kubectl.refusal("rollout", "history", "sts/web", "--revision=99") == (
        "error: unable to find the specified revision\n"
    )
    assert kubectl.quiet("rollout", "undo", "sts/web") == "statefulset.apps/web rolled back\n"
    kubectl.await_web()
    assert kubectl.quiet("set", "env", "sts/web", "--list") == "# StatefulSet web, container main\n"
    undo = ("rollout", "undo", "sts/web", f"--to-revision={revisions[-1]}")
    assert kubectl.quiet(*undo, "--dry-run=server") == "statefulset.apps/web rolled back (server dry run)\n"
    before = uid(kubectl, "pod/web-0")
    assert kubectl.quiet("rollout", "restart", "sts/web") == "statefulset.apps/web restarted\n"
    kubectl.await_web()
    assert uid(kubectl, "pod/web-0") != before
    assert kubectl.refusal("rollout", "pause", "sts/web") == (
        'error: statefulsets.apps "web" pausing is not supported\n'
    )


def test_logs_are_shown_in_every_way(kubectl: Resident) -> None:
    assert kubectl.quiet("logs", "web-0") == LINES
    assert kubectl.quiet("logs", "web-0", "-c", "main", "--tail=2", "--since=1h") == "line 2\nline 3\n"
    stamped = kubectl.quiet("logs", "web-0", "--timestamps", "--tail=1")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 3\n", stamped)
    bounded = kubectl.quiet(
        "logs", "web-0", "--all-containers", "--since-time=2024-01-01T00:00:00Z", "--limit-bytes=10"
    )
    assert bounded == LINES[:10]
    prefixed = kubectl.quiet("logs", "-l", "app=web", "--prefix", "--tail=1")
    assert sorted(prefixed.splitlines()) == ["[pod/web-0/main] line 3", "[pod/web-1/main] line 3"]
    of_set = kubectl.run("logs", "sts/web")
    assert of_set.stdout == LINES
    assert re.fullmatch(r"Found 2 pods, using pod/web-[01]\n", of_set.stderr)
    assert kubectl.refusal("logs", "web-0", "--previous") == (
        'Error from server (BadRequest): previous terminated container "main" in pod "web-0" not found\n'
    )
    assert kubectl.refusal("logs", "web-0", "-c", "nope") == "error: container nope is not valid for pod web-0\n"
    assert 'pods "nope" not found' in kubectl.refusal("logs", "nope")
    assert kubectl.refusal("logs", "-f", "-l", "app=web", "--max-log-requests=1") == (
        "error: you are attempting to follow 2 log streams, but maximum allowed concurrency is 1, use "
        "--max-log-requests to increase the limit\n"
    )
    if kubectl.number >= 32:
        of_all = kubectl.quiet("logs", "sts/web", "--all-pods", "--tail=1")
        assert sorted(of_all.splitlines()) == sorted(prefixed.splitlines())
    with kubectl.following("logs", "-f", "web-1") as follower:
        follower.until("line 3")


def test_exec_and_cp_reach_into_a_pod(kubectl: Resident, tmp_path: Path) -> None:
    done = kubectl.run("exec", "web-0", "--", "sh", "-c", "echo hi; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "hi\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    assert kubectl.quiet("exec", "-i", "sts/web", "-c", "main", "--", "cat", stdin="input\n") == "input\n"
    assert kubectl.refusal("exec", "nope", "--", "ls") == 'Error from server (NotFound): pods "nope" not found\n'
    (tmp_path / "sent").write_text("bytes\n")
    assert kubectl.quiet("cp", str(tmp_path / "sent"), "web-0:/tmp/" + tmp_path.name) == ""
    kubectl.out("cp", f"{kubectl.namespace}/web-0:/tmp/{tmp_path.name}", str(tmp_path / "back"), "-c", "main")
    assert (tmp_path / "back").read_text() == "bytes\n"
    kubectl.quiet("exec", "web-0", "--", "rm", "/tmp/" + tmp_path.name)


def test_attach_talks_with_the_process_itself(kubectl: Resident) -> None:
    with kubectl.following("attach", "-i", "talk-0") as attached:
        assert attached.process.stdin is not None
        attached.process.stdin.write("one\n")
        attached.process.stdin.flush()
        attached.until("heard one")


@pytest.mark.parametrize("target", ["pod/talk-0", "svc/talk", "sts/talk"])
def test_ports_are_forwarded(kubectl: Resident, target: str) -> None:
    port = "80" if target.startswith("svc") else "8080"
    with kubectl.following("port-forward", target, f":{port}") as forwarded:
        line = forwarded.until("Forwarding from 127.0.0.1:")
        address = line.split()[2]
        assert line == f"Forwarding from {address} -> 8080\n"
        with urllib.request.urlopen(f"http://{address}/hostname", timeout=20) as answer:
            assert answer.read() == b"talk-0\n"


def test_pods_are_run_waited_for_and_removed(kubectl: Resident) -> None:
    run = ("run", "one", "--image=busybox", "--restart=Never", "--", "echo", "hello")
    assert kubectl.quiet(*run) == "pod/one created\n"
    assert kubectl.refusal(*run) == 'Error from server (AlreadyExists): pods "one" already exists\n'
    # By a selector: of one Pod by its name kubectl leaves out what happens between its GET and its WATCH.
    with kubectl.following("get", "pods", "--field-selector=metadata.name=one", "-w") as watch:
        watch.until("Completed")
    assert kubectl.quiet("logs", "-f", "one") == "hello\n"
    assert kubectl.quiet("delete", "pod", "one") == 'pod "one" deleted\n'
    done = kubectl.run("run", "two", "--image=host", "--restart=Never", "--rm", "-i", "--", "sh", "-c", "cat; exit 4",
                       stdin="input\n")  # fmt: skip
    assert done.returncode == 4
    assert done.stdout.startswith("input\n")
    assert 'pod "two" deleted' in done.stdout + done.stderr


def test_wait_sees_conditions_fields_ends_and_beginnings(kubectl: Resident) -> None:
    both = "pod/web-0 condition met\npod/web-1 condition met\n"
    assert kubectl.quiet("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=10s") == both
    assert kubectl.refusal("wait", "--for=condition=Nope", "pod/web-0", "--timeout=1s") == (
        "error: timed out waiting for the condition on pods/web-0\n"
    )
    if kubectl.is_old:
        assert kubectl.refusal("wait", "--for=delete", "pod/nope") == "error: no matching resources found\n"
        return
    assert kubectl.quiet("wait", "--for=delete", "pod/nope") == ""
    ready = "--for=jsonpath={.status.readyReplicas}=2"
    assert kubectl.quiet("wait", ready, "sts/web", "--timeout=10s") == "statefulset.apps/web condition met\n"
    if kubectl.number < 31:
        return
    assert kubectl.quiet("wait", "--for=create", "pod/web-0") == "pod/web-0 condition met\n"
    with kubectl.following("wait", "--for=create", "cm/later", "--timeout=20s") as waiting:
        kubectl.quiet("create", "cm", "later")
        waiting.until("configmap/later condition met")


def test_debug_adds_a_container_or_copies_the_pod(kubectl: Resident) -> None:
    if not kubectl.is_old:  # 1.20 knows it as `alpha debug`, by a form of the subresource that is gone
        added = kubectl.run("debug", "web-0", "--image=busybox", "--attach=false", "-c", "tools", "--profile=general")
        assert (added.returncode, added.stdout) == (0, ""), added.stderr
        names = kubectl.quiet("get", "pod", "web-0", "-o", "jsonpath={.spec.ephemeralContainers[*].name}")
        assert names == "tools"
    words = ("--image=host", "--copy-to=web-copy", "-c", "extra", "--attach=false")
    copied = kubectl.run("debug", "web-1", *words, "--", "sleep", "1000")
    assert copied.returncode == 0, copied.stderr
    kubectl.quiet("wait", "--for=condition=Ready", "pod/web-copy", "--timeout=20s")
    assert kubectl.quiet("exec", "web-copy", "-c", "extra", "--", "echo", "in") == "in\n"
    kubectl.quiet("delete", "pod", "web-copy", "--now", "--wait=false")


def test_pods_and_services_are_exposed_and_sets_are_not(kubectl: Resident) -> None:
    assert kubectl.quiet("expose", "pod", "web-0", "--port=80", "--name=of-pod") == "service/of-pod exposed\n"
    assert kubectl.quiet("expose", "svc", "web", "--port=81", "--name=of-service") == "service/of-service exposed\n"
    assert kubectl.refusal("expose", "sts", "web", "--port=80") == "error: cannot expose a StatefulSet.apps\n"
    kubectl.quiet("delete", "svc", "of-pod", "of-service")


def test_pods_are_deleted_in_every_form(kubectl: Resident) -> None:
    before = uid(kubectl, "pod/web-0")
    assert kubectl.quiet("delete", "pod", "web-0") == 'pod "web-0" deleted\n'
    kubectl.await_web()
    assert uid(kubectl, "pod/web-0") != before
    forced = kubectl.run("delete", "pod", "web-1", "--grace-period=0", "--force")
    assert (forced.returncode, forced.stdout) == (0, 'pod "web-1" force deleted\n')
    assert FORCED in forced.stderr
    kubectl.await_web()
    assert kubectl.quiet("delete", "pod", "web-1", "--now", "--wait=false") == 'pod "web-1" deleted\n'
    assert kubectl.quiet("delete", "pod", "web-0", "--dry-run=server") == 'pod "web-0" deleted (server dry run)\n'
    kubectl.quiet("wait", "--for=condition=Ready", "pod/web-0", "--timeout=20s")
    deleted = kubectl.quiet("delete", "pods", "-l", "app=web", "--grace-period=1")
    assert 'pod "web-0" deleted\n' in deleted
    kubectl.await_web()


def test_sets_are_deleted_with_their_pods_before_or_without_them(kubectl: Resident) -> None:
    only_set = WEB.partition("---")[2]
    deleted, created = 'statefulset.apps "web" deleted\n', "statefulset.apps/web created\n"
    before = uid(kubectl, "pod/web-0")
    assert kubectl.quiet("delete", "sts", "web", "--cascade=orphan") == deleted
    assert uid(kubectl, "pod/web-0") == before
    assert kubectl.quiet("apply", *FILE, stdin=only_set) == created
    kubectl.await_web()
    assert kubectl.quiet("delete", "sts", "web", "--cascade=foreground") == deleted
    assert kubectl.quiet("get", "pods", "-l", "app=web", "--ignore-not-found") == ""
    assert kubectl.quiet("apply", *FILE, stdin=only_set) == created
    kubectl.await_web()
    assert kubectl.quiet("delete", "sts", "web", "--cascade=background", "--wait=false") == deleted
    if not kubectl.is_old:
        kubectl.quiet("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=20s")
    claims = kubectl.quiet("get", "pvc", "-l", "app=web", "-o", "name").split()
    assert "persistentvolumeclaim/www-web-1" in claims
    said = [f'{kind} "{name}" deleted' for kind, _, name in (claim.partition("/") for claim in claims)]
    assert kubectl.quiet("delete", "pvc", "-l", "app=web").splitlines() == said
    kubectl.quiet("apply", *FILE, stdin=WEB)
    kubectl.await_web()


def test_a_namespace_goes_with_all_that_is_in_it(kubectl: Resident) -> None:
    name = f"passing-{kubectl.namespace}"
    assert kubectl.quiet("create", "namespace", name) == f"namespace/{name} created\n"
    kubectl.quiet("-n", name, "create", "cm", "content")
    kubectl.quiet("-n", name, "run", "sleeper", "--image=host", "--", "sleep", "1000")
    assert kubectl.quiet("delete", "namespace", name) == f'namespace "{name}" deleted\n'
    assert f'namespaces "{name}" not found' in kubectl.refusal("get", "namespace", name)


def test_the_node_is_cordoned_tainted_and_drained(kubectl: Resident) -> None:
    node = kubectl.quiet("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    before = uid(kubectl, "pod/web-0")
    try:
        assert kubectl.quiet("cordon", node) == f"node/{node} cordoned\n"
        assert kubectl.quiet("cordon", node) == f"node/{node} already cordoned\n"
        assert kubectl.table("get", "nodes")[1][1] == "Ready,SchedulingDisabled"
        drain = ("drain", node, "--ignore-daemonsets", "--force", "--pod-selector=app=web")
        if not kubectl.is_old:  # 1.20 asks for CustomResourceDefinitions in a version that is gone since 1.22
            dry = kubectl.quiet(*drain, "--dry-run=server")
            assert f"evicting pod {kubectl.namespace}/web-0 (server dry run)" in dry
            assert uid(kubectl, "pod/web-0") == before
        drained = kubectl.run(*drain, "--timeout=30s")
        assert drained.returncode == 0, drained.stderr
        assert "pod/web-1 evicted\n" in drained.stdout
        assert re.search(f"node/{node} (drained|evicted)\n$", drained.stdout)
    finally:
        assert kubectl.quiet("uncordon", node) == f"node/{node} uncordoned\n"
    assert kubectl.quiet("uncordon", node) == f"node/{node} already uncordoned\n"
    kubectl.await_web()
    assert uid(kubectl, "pod/web-0") != before
    assert kubectl.quiet("taint", "node", node, "a=b:PreferNoSchedule") == f"node/{node} tainted\n"
    assert kubectl.refusal("taint", "node", node, "a=b:PreferNoSchedule") == (
        f"error: node {node} already has a taint(s) with same effect(s) and --overwrite is false\n"
    )
    assert kubectl.quiet("taint", "node", node, "a-") == f"node/{node} untainted\n"
